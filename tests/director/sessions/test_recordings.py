"""The bytes on the login and userdb sockets equal the recordings, but for the fields we add."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.director.sessions.rig import Desk, without_private_fields

RECORDINGS = sorted((Path(__file__).parent / "recordings").glob("*.txt"))
LINE = re.compile(r" *[\d.]+ (tap|dirtap-userdb)#(\d+) (C>S|S>C) (.*)")
ADDED = re.compile(rb"\tproxy_refresh=30\thost=[^\t]*(\thostip=[^\t]*)?$")


def connections(path: Path) -> dict[int, list[tuple[str, str, bytes]]]:
    """Return the lines of each client connection: (socket, direction, line)."""
    found: dict[int, list[tuple[str, str, bytes]]] = {}
    for text in path.read_text().splitlines():
        match = LINE.fullmatch(text)
        # `director_proxy_maybe` is done as its documentation says, unlike the original (4.4).
        if match and match[4] != "EOF" and "director_proxy_maybe" not in match[4]:
            line = match[4].replace("\\t", "\t").replace("\\x01", "\x01").encode()
            found.setdefault(int(match[2]), []).append((match[1], match[3], line))
    return found


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_sockets_carry_what_was_recorded(path: Path, desk: Desk) -> None:
    recorded = connections(path)

    assert recorded
    for lines in recorded.values():
        client = desk.connect(b"OK" if lines[0][0] == "tap" else b"PASS")
        auth = desk.accept_auth()
        for _, direction, line in lines:
            if direction == "C>S":
                client.say(line + b"\n")
                assert line + b"\n" == auth.heard()
            else:
                auth.say(ADDED.sub(b"", line) + b"\n")
                assert line + b"\n" == without_private_fields(client.heard())
        client.close()
        auth.close()


def test_recordings_contain_what_matters() -> None:
    """A filter that lost the interesting lines would make the test above pass for nothing."""
    lines = [
        line for path in RECORDINGS for found in connections(path).values() for *_, line in found
    ]

    assert sum(b"\tproxy_refresh=30\thost=127.0.0." in line for line in lines) > 10
    assert any(b"\thost=localhost\thostip=127.0.0.1" in line for line in lines)
    for start in (b"MECH", b"COOKIE", b"DONE", b"CONT", b"CANCEL", b"FAIL", b"NOTFOUND"):
        assert any(line.startswith(start) for line in lines), start
