"""From a command line to an exit status: global options, unknown words, the order of checks."""

from __future__ import annotations

from pathlib import Path

import pytest

from director.cli.administration import help_of, usage_of
from director.cli.verbs import BY_WORDS
from tests.director.cli.conftest import Director
from tests.director.cli.outcome import Outcome
from tests.director.cli.scripted_server import ScriptedServer

HOSTS = b"1.2.3.4\t100\t5\tt1\tU\t0\n5.6.7.8\t1\t2\t\tD\t1700000000\n\n"


@pytest.mark.parametrize(
    "words", [(), ("nosuch",), ("stat",), ("ring",), ("ring", "nosuch"), ("-v",), ("-h", "x")]
)
def test_without_a_known_verb_all_usages_are_shown(director: Director, words: list[str]) -> None:
    outcome = director(*words)

    assert (outcome.status, outcome.stdout) == (64, "")
    assert outcome.stderr.splitlines()[:2] == [
        "usage: director [-Dv] [-f <formatter>] <command> [<args>]",
        "  add          [-a <director socket path>] [-t <tag>] <host> [<vhost count>]",
    ]
    assert "  ring         add|remove|status" in outcome.stderr.splitlines()
    assert "  serve        [--help]" in outcome.stderr.splitlines()


@pytest.mark.parametrize(
    "words", [("serve",), ("-v", "demo"), ("--help",), ("--version",), ("-h",)]
)
def test_what_is_not_administrative_is_left_to_others(director: Director, words: list[str]) -> None:
    assert director(*words) == Outcome(None, "", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-x", "status"], "director: invalid option -- 'x'"),
        (["-f"], "director: option requires an argument -- 'f'"),
        (["--verbose", "status"], "director: invalid option -- '-'"),
        (["-i", "name", "status"], "director: there are no instances to choose from -- 'i'"),
    ],
)
def test_a_wrong_global_option_has_a_status_of_its_own(
    director: Director, words: list[str], message: str
) -> None:
    assert director(*words) == Outcome(89, "", message + "\n")


@pytest.mark.parametrize("words", [["status"], ["add"], ["nosuch"], []])
def test_an_unknown_format_is_refused_before_anything_else(
    director: Director, words: list[str]
) -> None:
    outcome = director("-c", "/nonexistent", "-f", "nosuch", *words)

    assert outcome == Outcome(75, "", "director: Fatal: Unknown print formatter: nosuch\n")


def test_a_configuration_that_is_not_there_is_fatal(director: Director) -> None:
    outcome = director("-c", "/nonexistent", "nosuch")

    assert outcome == Outcome(
        75,
        "",
        "Fatal: Error reading configuration: stat(/nonexistent) failed: "
        "No such file or directory\n",
    )


@pytest.mark.parametrize(
    ("words", "stdout", "message"),
    [
        (["status", "a", "b", "c"], "", "Error: Extraneous arguments found: c"),
        (["-f", "json", "status", "a", "b", "c"], "[]", "Error: Extraneous arguments found: c"),
        (["-f", "tab", "ring", "status", "-x"], "\n", "status: invalid option -- 'x'"),
        (["-f", "tab", "-h", "up", "-x"], "", "up: invalid option -- 'x'"),
        (["-f", "json", "add"], "", f"director add {BY_WORDS['add'].usage}"),
        (["ring", "remove"], "", f"director ring remove {BY_WORDS['ring remove'].usage}"),
    ],
)
def test_wrong_usage_is_64_whatever_was_printed(
    director: Director, words: list[str], stdout: str, message: str
) -> None:
    assert director(*words) == Outcome(64, stdout, message + "\n")


def test_global_options_come_together_or_apart(director: Director, tmp_path: Path) -> None:
    with ScriptedServer(tmp_path, {b"HOST-LIST": HOSTS}) as server:
        together = director("-vhftab", "status", "-a", str(server.path))
        apart = director("-v", "-h", "-f", "tab", "--", "status", "-a", str(server.path))

    assert (
        together
        == apart
        == Outcome(
            0, "1.2.3.4\tt1\t100\tup\t-\t5\n5.6.7.8\t\t1\tdown\t2023-11-14 22:13:20\t2\n", ""
        )
    )


def test_the_socket_may_be_named_before_the_verb_too(director: Director, tmp_path: Path) -> None:
    with ScriptedServer(tmp_path, {b"HOST-LIST": HOSTS}) as server:
        outcome = director("-a", str(server.path), "-f", "json", "status")
        nearer = director("-a", "/nonexistent/x", "status", "-a", str(server.path))

    assert outcome.stdout.startswith('[{"mail server ip":"1.2.3.4"')
    assert nearer.status == 0


def test_debugging_puts_the_time_before_every_message(director: Director, tmp_path: Path) -> None:
    with ScriptedServer(tmp_path, {}) as server:
        outcome = director("-D", "up", "1.2.3.4", "-a", str(server.path))

    lines = [line[16:] for line in outcome.stderr.splitlines()]
    assert lines == [f"Debug: connected to {server.path}", "Info: 1.2.3.4: up"]


def test_a_format_without_text_is_fatal_once_there_is_a_row(
    director: Director, tmp_path: Path
) -> None:
    with ScriptedServer(tmp_path, {b"HOST-LIST": HOSTS}) as server:
        outcome = director("-f", "formatted", "status", "-a", str(server.path))

    assert outcome == Outcome(
        75, "", "Fatal: formatted formatter cannot be used without a format.\n"
    )


def test_help_names_every_option_of_a_verb(director: Director) -> None:
    outcome = director("flush", "--help")

    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.stdout == help_of(BY_WORDS["flush"])
    assert outcome.stdout.startswith(f"usage: {usage_of(BY_WORDS['flush'])}\n")
    for name in ("-a, --socket-path", "-F, --force-flush", "--max-parallel", "--progress"):
        assert name in outcome.stdout


def test_the_configuration_may_be_named_behind_the_verb(director: Director, tmp_path: Path) -> None:
    file = tmp_path / "director.conf"
    file.write_text(f"base_dir = {tmp_path}\n")
    with ScriptedServer(tmp_path, {b"HOST-LIST": HOSTS}):
        before = director("-c", str(file), "status")
        behind = director("status", "-c", str(file))

    assert before.status == 0
    assert behind == before
