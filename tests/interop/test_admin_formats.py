"""Tables of doveadm and ours, byte for byte, for replies no real director would give.

A scripted director serves both clients: random hosts and users with long, short, foreign and
broken values, so that widths, escapes and shrinking are compared where it is easy to differ. The
examples follow from the seed in their name; on a terminal both run in a pseudo terminal of a width.
"""

from __future__ import annotations

import fcntl
import os
import pty
import random
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from director.cli.tables import FORMATS
from tests.director.cli.scripted_server import ScriptedServer
from tests.interop.dovecot import DOVEADM
from tests.interop.proxies import CHECKOUT

pytestmark = pytest.mark.interop

PIECES = [
    "a",
    "x" * 17,
    "\u20ac",
    "\u00e4\u00f6",
    "\U0001f600",
    '"',
    "\\",
    "/",
    "=",
    " ",
    "%{host}",
]
PIECES += ["\x01t", "\x01n", "\x02", "\x7f", "\u2028", "\u200b", "100", "127.0.0.1", "-", "{", "}"]
NAMES = ["u1", "U2", "zoe@example.com", "with blank", "\u00e9", "x" * 40]


def some_text(dice: random.Random, pieces_max: int) -> str:
    return "".join(dice.choices(PIECES, k=dice.randint(0, pieces_max)))


def some_time(dice: random.Random) -> str:
    return dice.choice(["0", "1", "1700000000", "4294967295", "99999999999999", "-1", "x", ""])


def some_hosts(dice: random.Random) -> str:
    lines = []
    for _ in range(dice.choice([0, 1, 3, 3, 99, 100, 101, 150])):
        pieces_max = dice.choice([0, 1, 2, 2, 8])
        # Of less than four fields the original's dump prints what happens to lie in its memory.
        fields = [some_text(dice, pieces_max) for _ in range(dice.choice([6, 6, 6, 6, 7, 5, 4]))]
        if len(fields) > 5:
            fields[4], fields[5] = dice.choice("UDX"), some_time(dice)
        lines.append("\t".join(["10.0.0.1" + fields[0], *fields[1:]]))
    return "".join(line + "\n" for line in [*lines, ""])


def some_directors(dice: random.Random) -> str:
    lines = []
    for _ in range(dice.choice([0, 1, 2, 5])):
        fields = [some_text(dice, 2) for _ in range(dice.randint(2, 13))]
        for index in {3, 10, 11}.intersection(range(len(fields))):
            fields[index] = dice.choice(["0", "1700000000", "4294967295"])
        lines.append("\t".join(["10.0.0.1", *fields[1:]]))
    return "".join(line + "\n" for line in [*lines, ""])


def some_users(dice: random.Random) -> str:
    """Only well-formed lines, with hashes of `NAMES` among them."""
    hashes = [3833023709, 655104776, 1, 4294967295, 1156331376]
    lines = [
        f"{dice.choice(hashes)}\t{dice.choice([0, 1, 1700000000, 4294967295])}"
        f"\t{dice.choice(['10.0.0.1', 'fd00::1', '1.1.1.1'])}"
        for _ in range(dice.choice([0, 1, 5, 100, 130]))
    ]
    return "".join(line + "\n" for line in [*lines, ""])


def some_lookup(dice: random.Random) -> str:
    where = [some_text(dice, 3) for _ in range(3)]
    return "\t".join([where[0], dice.choice(["0", "1", "1700000000"]), *where[1:]]) + "\n"


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    file = tmp_path / "dovecot.conf"
    file.write_text(f"base_dir = {tmp_path}\nlog_path = /dev/stderr\n")
    return file


def doveadm_and_director(configuration: Path, *words: str) -> tuple[list[str], list[str]]:
    start = ["-c", str(configuration)]
    verb_at = next(i for i, w in enumerate(words) if w in ("status", "ring", "map", "dump"))
    theirs = ["doveadm", *start, *words[:verb_at], "director", *words[verb_at:]]
    ours = [sys.executable, "-m", "director", *start, *words]
    return theirs, ours


def output(command: list[str]) -> bytes:
    executable = DOVEADM if command[0] == "doveadm" else None
    result = subprocess.run(
        command, executable=executable, capture_output=True, cwd=CHECKOUT, timeout=60, check=False
    )
    return result.stdout


def output_on_terminal(command: list[str], columns: int) -> bytes:
    executable = DOVEADM if command[0] == "doveadm" else None
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        command,
        executable=executable,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        cwd=CHECKOUT,
    )
    os.close(theirs)
    data = b""
    try:
        while chunk := os.read(ours, 65536):
            data += chunk
    except OSError:
        pass  # how Linux says that the last program on a terminal has closed it
    os.close(ours)
    process.wait(60)
    return data


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_every_format_of_random_replies(tmp_path: Path, configuration: Path, seed: int) -> None:
    dice = random.Random(seed)
    names = tmp_path / "names"
    names.write_text("".join(name + "\n" for name in NAMES))
    verbs = [
        ["status"],
        ["status", "u1"],
        ["ring", "status"],
        ["dump"],
        ["map", "-f", str(names)],
        ["dump", "-a", str(tmp_path / "director-admin")],
    ]
    replies = {
        b"HOST-LIST": some_hosts(dice).encode(),
        b"HOST-LIST-REMOVED": b"9.9.9.9\n10.0.0.7\n\n",
        b"USER-LOOKUP": some_lookup(dice).encode(),
        b"USER-LIST": some_users(dice).encode(),
        b"DIRECTOR-LIST": some_directors(dice).encode(),
    }
    differences = []
    with ScriptedServer(tmp_path, replies):
        for verb in verbs:
            name = dice.choice([*FORMATS, "table", "table"])
            words = [*dice.choice([[], ["-h"]]), "-f", name, *verb]
            theirs, ours = doveadm_and_director(configuration, *words)
            expected, actual = output(theirs), output(ours)
            if actual != expected:
                differences.append((words, expected, actual))

    assert differences == []


@pytest.mark.slow
@pytest.mark.parametrize("columns", [0, 20, 29, 30, 31, 50, 64, 80, 81, 132, 400])
def test_tables_fit_the_terminal_the_same_way(
    tmp_path: Path, configuration: Path, columns: int
) -> None:
    dice = random.Random(columns)
    replies = {
        b"HOST-LIST": some_hosts(dice).encode(),
        b"DIRECTOR-LIST": some_directors(dice).encode(),
    }
    with ScriptedServer(tmp_path, replies):
        for verb in (["status"], ["ring", "status"], ["-h", "status"]):
            theirs, ours = doveadm_and_director(configuration, *verb)

            assert output_on_terminal(ours, columns) == output_on_terminal(theirs, columns)
