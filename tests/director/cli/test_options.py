"""Options as getopt_long takes them; every message was read off doveadm 2.3."""

from __future__ import annotations

import pytest

from director.cli.options import OptionRefused, Parameter, parse_arguments

MAP = (
    Parameter(name="socket-path", letters="a"),
    Parameter(name="users-file", letters="f"),
    Parameter(name="hash-map", letters="h", is_flag=True),
    Parameter(name="user-map", letters="u", is_flag=True),
    Parameter(name="host", is_positional=True),
    Parameter(name="help", is_flag=True, is_ours=True),
)
MOVE = (Parameter(name="user", is_positional=True), Parameter(name="host", is_positional=True))


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["-a", "/s", "h"], {"socket-path": "/s", "host": "h"}),
        (["h", "-a/s"], {"socket-path": "/s", "host": "h"}),
        (["-uh", "x"], {"user-map": "", "hash-map": "", "host": "x"}),
        (["-hf", "/dev/null", "5"], {"hash-map": "", "users-file": "/dev/null", "host": "5"}),
        (["-ufoo", "x"], {"user-map": "", "users-file": "oo", "host": "x"}),
        (["--sock", "/s"], {"socket-path": "/s"}),
        (["--socket-path=/s=t"], {"socket-path": "/s=t"}),
        (["--s="], {"socket-path": ""}),
        (["--user-m", "x"], {"user-map": "", "host": "x"}),
        (["--host", "x"], {"host": "x"}),
        (["--", "-x"], {"host": "-x"}),
        (["-"], {"host": "-"}),
        (["-f", "-"], {"users-file": "-"}),
        (["-a", "--", "x"], {"socket-path": "--", "host": "x"}),
        (["--help"], {"help": ""}),
        ([], {}),
    ],
)
def test_words_become_parameters(words: list[str], values: dict[str, str]) -> None:
    arguments = parse_arguments("map", MAP, words)

    assert (arguments.values, arguments.extraneous) == (values, ())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-x"], "map: invalid option -- 'x'"),
        (["-ux"], "map: invalid option -- 'x'"),
        (["---"], "map: unrecognized option '---'"),
        (["--nosuch=5"], "map: unrecognized option '--nosuch=5'"),
        (["-a"], "map: option requires an argument -- 'a'"),
        (["--users-file"], "map: option '--users-file' requires an argument"),
        (["--user-map=x"], "map: option '--user-map' doesn't allow an argument"),
        (
            ["--user", "x"],
            "map: option '--user' is ambiguous; possibilities: '--users-file' '--user-map'",
        ),
    ],
)
def test_a_wrong_option_is_refused_in_getopt_s_words(words: list[str], message: str) -> None:
    with pytest.raises(OptionRefused) as refusal:
        parse_arguments("map", MAP, words)

    assert str(refusal.value) == message


def test_options_take_their_place_before_the_remaining_words_do() -> None:
    arguments = parse_arguments("move", MOVE, ["u1", "--user", "u2", "h"])

    assert arguments.values == {"user": "u2", "host": "u1"}
    assert arguments.extraneous == ("h",)


def test_our_additions_never_make_an_abbreviation_ambiguous() -> None:
    ours = Parameter(name="sort", is_ours=True)

    assert parse_arguments("map", (*MAP, ours), ["--s", "/x"]).get("socket-path") == "/x"
    assert parse_arguments("map", (*MAP, ours), ["--so", "/x"]).get("sort") is None
    assert parse_arguments("map", (*MAP, ours), ["--sor", "ip"]).get("sort") == "ip"


def test_the_last_of_several_values_counts() -> None:
    assert parse_arguments("map", MAP, ["-f", "x", "-f", "y"]).get("users-file") == "y"
