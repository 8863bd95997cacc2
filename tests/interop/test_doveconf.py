"""The real doveconf reads a configuration as we do; it is asked, not remembered.

Goal: an operator's files mean the same to both programs. Method: tricky files are given to the
installed `doveconf` of 2.3 and to our reader; the values, or that both refuse, are compared.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from director.config import ConfigError, parse_file
from director.definitions import DEFINITIONS, VARIABLES
from director.quantities import parse_number, parse_size_bytes, parse_time_s
from director.settings import load
from ring.errors import ValueRefused

pytestmark = [pytest.mark.interop, pytest.mark.slow]

CONF = Path(__file__).parents[2] / "conf"
A, B = "director_servers", "director_mail_servers"

VALUES = [
    "a",
    "",
    "# b",
    "b # c",
    "b#c",
    "b\\# c",
    '"b #c"',
    '"b" # c',
    '"b" #c"',
    '"b\\"" #c"',
    "'b #c'",
    "it's #b",
    "it's bob's #b",
    '"it\'s" #b',
    '"b \\"q\\" \\\\ \\n x"',
    "' b '",
    '"unclosed',
    '"',
    '"x" "y"',
    '"x\\"',
    'x "y" z',
    '"x" z',
    'x "b #c"',
    'x "b #c',
    "b = c",
    "{",
    "}",
    "b \\\n c\\\nd   \\\n   e",
    '"b \\\n   c"',
    '"b # \\\n c" # d',
    'a \\\n "x # y" \\\n z # w',
    "b # c \\",
    "\tb\tc\t",
    "b\r",
    "$base_dir",
    "$base_dir x",
    "x $base_dir y",
    "x$base_dir",
    '"$base_dir"',
    "'$base_dir'",
    "$director_servers x",
    "$nosuch",
    "$base_dir/x",
    "${base_dir}",
    "$$",
    "$",
    "%Lu %{user | lower}",
    "<secret",
    "< secret",
    '"<secret"',
    "x <secret",
    "<nosuch",
]

FILES = [
    f"{A} = 1\n{A} = $director_servers 2\n{B} = $director_servers 3\n{A} = 4\n",
    f"# x \\\n{A} = 1\n",
    f"  # x\n\t{A}\t=\t1\n",
    f"{A}=1",
    f"!include inc/*.conf\n{B} = 2\n",
    f"!include inc/a.conf\n{B} = $director_servers 2\n",
    f'!include "inc/a.conf"\n{B} = 2\n',
    f"!include inc/none.conf\n{B} = 2\n",
    f"!include_try inc/none.conf\n{B} = 2\n",
    f"!include inc/none*.conf\n{B} = 2\n",
    "!include main.conf\n",
    f"!frob\n{A} = 1\n",
    f"{A} 1\n",
    f"\n = 1\n{A} = 1\n",
    f"{A} = 1\nservice director\n{{\n}}\n",
    f"{A} = 1\nservice director {{\n}}}}\n",
    f"{A} = 1\nservice director {{\n client_limit = 1\n",
    f"{A} = 1\n}}\n",
    f"service director a {{\n}}\n{A} = 1\n",
    f'service  "director"  {{  # x\n}} # y\n{A} = 1\n',
    f"service director{{\n}}\n{A} = 1\n",
    f"service director {{ client_limit = 1 }}\n{A} = 1\n",
    f"service director {{ }}\n{A} = 1\n",
    f"protocol lmtp {{\n {A} = 1\n}}\n{A} = 2\n",
    f"service/director/client_limit = 5\n{A} = 1\n",
]


def run_doveconf(path: Path, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        ["doveconf", "-c", str(path), *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def theirs(path: Path, name: str) -> str | None:
    """Return the expanded value, None if the file is refused."""
    status, out, error = run_doveconf(path, "-h", "-x", name)
    return None if status or "Fatal:" in error else out.removesuffix("\n")


def ours(path: Path, name: str) -> str | None:
    try:
        config = parse_file(path, VARIABLES, {})
        value = config.root.values.get(name)
        return config.text(value) if value is not None else ""
    except ConfigError:
        return None


def write(folder: Path, text: str) -> Path:
    (folder / "secret").write_text("s1 # \n")
    (folder / "inc").mkdir()
    (folder / "inc" / "a.conf").write_text(f"{A} = from a\n")
    (folder / "inc" / "b.conf").write_text(f"{A} = from b\n!include ../more\n")
    (folder / "more").write_text(f"{A} = $director_servers and more\n")
    (folder / "main.conf").write_text(text, newline="")
    return folder / "main.conf"


@pytest.mark.parametrize("value", VALUES)
def test_doveconf_reads_the_same_value(value: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"{A} = {value}\n{B} = end\n")
    expected = theirs(path, A)

    assert ours(path, A) == (expected.removesuffix("\n") if expected is not None else None)
    assert expected is None or ours(path, B) == theirs(path, B)


@pytest.mark.parametrize("text", FILES)
def test_doveconf_reads_the_same_file(text: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)

    assert [ours(path, name) for name in (A, B)] == [theirs(path, name) for name in (A, B)]


TIMES = ["1 s", "90s", "15 min", "2 H", "14 days", "0", "00", "60", "5 ms", "7 secon", "1h30m", "x"]
SIZES = ["7", "7B", "5 MiB", "5mb", "7Ki", "2 G", "1T", "7bytes", "1.5M", "5 5", "-1", "5%"]
NUMBERS = ["0", "007", "4294967295", "4294967296", "-1", "+5", "5 x", "0x5"]
QUANTITIES: list[tuple[str, str, Callable[[str], int]]] = [
    *(("director_user_kick_delay", text, parse_time_s) for text in TIMES),
    *(("director_output_buffer_size", text, parse_size_bytes) for text in SIZES),
    *(("director_max_parallel_moves", text, parse_number) for text in NUMBERS),
]


@pytest.mark.parametrize(("name", "text", "parse"), QUANTITIES)
def test_doveconf_takes_the_same_quantities(
    name: str, text: str, parse: Callable[[str], int], tmp_path: Path
) -> None:
    printed = theirs(write(tmp_path, f"{name} = {text}\n"), name)
    expected = parse(printed) if printed is not None else None
    try:
        got = parse(text)
    except ValueRefused:
        got = None

    assert got == expected


def test_defaults_of_classic_settings_are_those_of_doveconf(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    status, out, _ = run_doveconf(path, "-a")
    theirs_by_name = {
        name.rstrip(): text.strip()
        for line in out.splitlines()
        for name, equals, text in [line.partition("=")]
        if equals and not line.startswith((" ", "#"))
    }

    assert status == 0
    for definition in DEFINITIONS:
        if definition.is_ours:
            assert definition.name not in theirs_by_name
        else:
            expected = theirs_by_name[definition.name]
            assert _same(definition.kind, definition.default, expected), definition.name


def _same(kind: str, ours_text: str, theirs_text: str) -> bool:
    parse = {"time": parse_time_s, "size": parse_size_bytes}.get(kind)
    return parse(ours_text) == parse(theirs_text) if parse else ours_text == theirs_text


def test_doveconf_accepts_the_drop_in_and_we_read_what_it_prints(tmp_path: Path) -> None:
    drop_in = CONF / "dovecot-2.3" / "10-director.conf"
    status, out, error = run_doveconf(drop_in, "-n")
    assert status == 0, error
    printed = tmp_path / "n.conf"
    printed.write_text(out)

    assert load(printed, {}, {}) == load(drop_in, {}, {})
