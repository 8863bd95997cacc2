"""Dovecot's configuration syntax: what `doveconf` 2.3 reads is what we read.

Where an expected value looks odd, `tests/interop/test_doveconf.py` has asked the real program.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director.config import ConfigError, assign, extend, parse_file, parse_text
from ring.limits import CONFIG_FILE_BYTES_MAX, INCLUDE_DEPTH_MAX

DEFAULTS = {"base_dir": "/run/dovecot", "a": "", "b": ""}


def values(text: str) -> dict[str, str]:
    """Return the top-level settings of a configuration, expanded."""
    config = parse_text(text, "t.conf", DEFAULTS, {"HOME": "/root"})
    return {name: config.text(value) for name, value in config.root.values.items()}


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        values(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = b", "b"),
        ("a=b", "b"),
        ("\t a\t=\tb\tc\t", "b\tc"),
        ("a =", ""),
        ("a = #b", ""),
        ("a = b # c", "b"),
        ("a = b#c", "b"),
        ("a = b\\# c", "b"),
        ('a = "b #c"', "b #c"),
        ('a = "b" # c', "b"),
        ('a = "b" #c"', "b"),
        ('a = "b\\"" #c"', 'b"'),
        ("a = 'b #c'", "b #c"),
        ("a = it's #b", "it's #b"),
        ('a = "it\'s" #b', "it's"),
        ('a = "b \\"q\\" \\\\ \\n x"', 'b "q" \\ n x'),
        ("a = ' b '", " b "),
        ('a = "', ""),
        ('a = "x" "y"', 'x" "y'),
        ('a = "x\\"', "x"),
        ('a = "unclosed', '"unclosed'),
        ('a = x "y" z', 'x "y" z'),
        ('a = "x" z', '"x" z'),
        ('a = x "b #c', 'x "b #c'),
        ("a = b = c", "b = c"),
        ("a = {", "{"),
        ("a = b \\\n c\\\nd   \\\n   e", "b c d e"),
        ('a = "b \\\n   c"', "b c"),
        ("a = b \\\n # c", "b"),
        ("a = b # c \\\nx = d", "b"),
        ("# c \\\na = b", "b"),
        ("a = b \\\n", "b"),
        ("a = b\r\n", "b"),
        ("a = b\na = c", "c"),
        ("a = %Lu %{user | lower} 100%", "%Lu %{user | lower} 100%"),
    ],
)
def test_value_is_read_as_doveconf_reads_it(text: str, expected: str) -> None:
    assert expected == values(text)["a"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1\na = $a 2", "1 2"),
        ("a = $a x", " x"),
        ("a = $base_dir", "/run/dovecot"),
        ("base_dir = /x\na = $base_dir y", "/x y"),
        ("base_dir = /x\na = $SET:base_dir", "/x"),
        ("a = x$base_dir/y", "x$base_dir/y"),
        ('a = "$base_dir"', "$base_dir"),
        ("a = $ENV:HOME $ENV:NONE.", "/root "),
        ("b = 1\na = $b\nb = 2", "1"),
        ("a = $b\nb = $a", ""),
        ("a = $z\nz = 5", "5"),
    ],
)
def test_variable_is_the_setting_so_far_or_its_default(text: str, expected: str) -> None:
    assert expected == values(text)["a"]


def test_unknown_variable_hurts_only_who_reads_it() -> None:
    config = parse_text("a = x\nmail_plugins = $mail_plugins quota", "t.conf", DEFAULTS, {})

    assert config.text(config.root.values["a"]) == "x"
    with pytest.raises(ConfigError, match=r"t.conf:2:16: got the unknown variable \$mail_plugins"):
        config.text(config.root.values["mail_plugins"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b", "t.conf:1:3: got 'b' after 'a', expected '=' or '{'"),
        ("a", "t.conf:1:1: got the end of the line after 'a', expected '=' or '{'"),
        ("\n = b", "t.conf:2:2: got '=', expected the name of a setting before it"),
        ("{", "t.conf:1:1: got '{', expected the name of a setting"),
        ("x\n{\n}", "t.conf:1:1: got the end of the line after 'x'"),
        ("a { b", "t.conf:1:3: got 'b' after '{', expected the end of the line"),
        ("protocols { imap = yes }", "got 'imap = yes }' after '{', expected the end of the line"),
        ("a b c {", "t.conf:1:3: got 'b c {' after 'a', expected"),
        ("}", "t.conf:1:1: got '}', but no section is open"),
        ("a {\n}}", "t.conf:2:1: got '}', expected the name of a setting"),
        ("a {\nb {\n}\n", "t.conf: got the end of the file, expected '}' for the section that "
         "starts at t.conf:1:1"),
        ("!frob x", "t.conf:1:7: got 'x' after '!frob'"),
        ("!include", "got !include alone, expected a file name behind it"),
        ("!include no/such", "t.conf:1:10: got no/such, which no file matches"),
        ('a "x" = b', "t.conf:1:3: got"),
    ],
)  # fmt: skip
def test_refusal_says_where_and_what(text: str, message: str) -> None:
    assert message in refusal(text)


def test_position_of_a_value_on_a_continued_line_is_where_it_begins() -> None:
    config = parse_text("x {\n  a = \\\n     b\n}", "t.conf", {}, {})
    value = config.root.sections[0].values["a"]

    assert str(value.position) == "t.conf:3:6"


def test_named_sections_go_on_and_unnamed_ones_start_anew() -> None:
    text = 'service "d" {\n  x = 1\n}\nservice d {\n  y = 2\n  l {\n  }\n  l {\n  }\n}\n'
    root = parse_text(text, "t.conf", {}, {}).root

    assert [section.label for section in root.sections] == ["d"]
    assert list(root.sections[0].values) == ["x", "y"]
    assert len(list(root.sections[0].children("l"))) == 2


def test_setting_may_grow_over_many_lines() -> None:
    text = "a = 0\n" + "a = $a 1\n" * 5000

    assert len(values(text)["a"]) == 10001


def test_variable_of_an_open_value_is_expanded_when_it_is_read() -> None:
    assert values("b = $z\na = $b 1\na = $a 2\nz = 0\n")["a"] == "0 1 2"


def test_extension_goes_on_where_the_file_stopped() -> None:
    config = parse_text("a = 1\nx y {\n b = 2\n}\n", "t.conf", DEFAULTS, {})
    extend(config, "a = $a 3\nx y {\n c = 4\n}", "more")

    assert config.text(config.root.values["a"]) == "1 3"
    assert list(config.root.sections[0].values) == ["b", "c"]
    with pytest.raises(ConfigError, match="more: got the end of the file, expected '}'"):
        extend(config, "x {", "more")


def test_path_names_a_setting_in_sections() -> None:
    root = parse_text("service/d/user = x\nplugin/a = y\n", "t.conf", {}, {}).root

    section = root.child("service", "d")
    assert section is not None
    assert section.values["user"].text == "x"
    assert root.values["plugin/a"].text == "y"


def test_assigned_text_wins_and_names_its_source() -> None:
    config = parse_text("a = 1", "t.conf", DEFAULTS, {})
    assign(config, "a", " $a 2 ", "option -o a")
    assign(config, "service/director/unix_listener/login\\sx/mode", "0", "option")

    assert config.text(config.root.values["a"]) == "1 2"
    assert str(config.root.values["a"].position) == "option -o a"
    service = config.root.child("service", "director")
    assert service is not None
    assert service.child("unix_listener", "login/x") is not None


# --- files ------------------------------------------------------------------------------------


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "main.conf"


def file_values(path: Path) -> dict[str, str]:
    config = parse_file(path, DEFAULTS, {})
    return {name: config.text(value) for name, value in config.root.values.items()}


def test_include_is_relative_sorted_and_may_try(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        {
            "main.conf": "!include conf.d/*.conf\n!include_try conf.d/none\nc = $b\n",
            "conf.d/20.conf": "a = 20\n!include ../other",
            "conf.d/10.conf": "a = 10\n",
            "conf.d/30.off": "a = 30\n",
            "other": "b = <secret\n",
            "secret": "s1 # \ns2\n",
        },
    )

    assert file_values(main) == {"a": "20", "b": "s1 # \ns2", "c": "s1 # \ns2"}
    config = parse_file(main, {}, {})
    assert [f.name for f in config.files] == ["main.conf", "10.conf", "20.conf", "other"]


def test_section_may_be_continued_in_an_included_file(tmp_path: Path) -> None:
    main = write(tmp_path, {"main.conf": "x y {\n!include in\n}\n", "in": "a = 1\n"})

    assert parse_file(main, {}, {}).root.sections[0].values["a"].text == "1"


def test_file_that_includes_itself_is_refused(tmp_path: Path) -> None:
    main = write(tmp_path, {"main.conf": "!include b\n", "b": "\n!include main.conf\n"})

    with pytest.raises(ConfigError, match=r"b:2:10: .*main.conf includes itself"):
        parse_file(main, {}, {})


def test_includes_are_bounded_in_depth(tmp_path: Path) -> None:
    main = write(tmp_path, {"main.conf": "!include sub/../main.conf", "sub/x": ""})

    with pytest.raises(ConfigError, match=f"deeper than {INCLUDE_DEPTH_MAX} files"):
        parse_file(main, {}, {})


def test_file_is_bounded_in_size(tmp_path: Path) -> None:
    main = write(tmp_path, {"main.conf": "#" * (CONFIG_FILE_BYTES_MAX + 1)})

    with pytest.raises(ConfigError, match=f"longer than {CONFIG_FILE_BYTES_MAX} bytes"):
        parse_file(main, {}, {})


def test_unreadable_value_file_hurts_only_who_reads_it(tmp_path: Path) -> None:
    config = parse_file(write(tmp_path, {"main.conf": "key = </no/such\n"}), {}, {})

    with pytest.raises(ConfigError, match=r"main.conf:1:7: cannot read /no/such: No such file"):
        config.text(config.root.values["key"])


def test_missing_file_and_folder_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*main.conf: No such file"):
        parse_file(tmp_path / "main.conf", {}, {})
    main = write(tmp_path, {"main.conf": "!include sub", "sub/x": ""})
    with pytest.raises(ConfigError, match=r"cannot read .*sub: Is a directory"):
        parse_file(main, {}, {})
    main.write_text("!include_try sub\na = b")

    assert file_values(main) == {"a": "b"}


# --- anything ---------------------------------------------------------------------------------


@given(st.text(alphabet="ab =#\\\"'{}$<!/\n\t", max_size=40))
def test_any_text_is_read_or_refused_with_a_position(text: str) -> None:
    try:
        config = parse_text(text, "t.conf", {}, {})
    except ConfigError as error:
        assert str(error).startswith("t.conf")
    else:
        for value in config.root.values.values():
            assert value.position.line >= 1
