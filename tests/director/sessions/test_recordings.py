"""The bytes on the login and userdb sockets equal the recordings, but for the fields we add."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from ring.address import parse_ip
from ring.commands import HostDown, HostSet
from ring.settings import HostSetting
from tests.director.sessions.rig import Desk, without_private_fields

DIRECTORY = Path(__file__).parent / "recordings"
AUTHREPLY = DIRECTORY / "10-authreply-2.3.txt"
RECORDINGS = sorted(set(DIRECTORY.glob("*.txt")) - {AUTHREPLY})
LINE = re.compile(r" *[\d.]+ (tap|dirtap-userdb)#(\d+) (C>S|S>C) (.*)")
ADDED = re.compile(rb"\tproxy_refresh=(\d+)\thost=[^\t]*(\thostip=[^\t]*)?(\tuser_dir.*)?$")


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
    intervals = [ADDED.search(line) for lines in recorded.values() for *_, line in lines]
    desk.runtime.proxy_refresh_s = next(int(match[1]) for match in intervals if match)

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
                assert without_private_fields(line) + b"\n" == without_private_fields(
                    client.heard()
                )
        client.close()
        auth.close()


def dialogue(path: Path) -> list[tuple[str, bytes]]:
    """Return who (S or C) sent what; nothing is b"", the end of the connection b"<EOF>"."""
    said = []
    for text in path.read_text().splitlines():
        if text.startswith(("S: ", "C: ")):
            literal = text[3:].replace("(nothing)", "''")
            said.append((text[0], ast.literal_eval(literal).encode("latin-1")))
    return said


def test_authreply_answers_what_was_recorded(tmp_path: Path) -> None:
    """In the recording u1 had been moved to the first host; here the second one comes later."""
    first, second, down = map(parse_ip, ("127.0.0.2", "127.0.0.3", "127.0.0.4"))
    desk = Desk(tmp_path, hosts=(HostSetting(ip=first), HostSetting(ip=down, tag=b"tagA")))
    desk.command(HostDown(down))
    for side, data in dialogue(AUTHREPLY):
        if data.startswith(b"VERSION\tdirector-authreply-server"):
            client = desk.connect_authreply()
        if side == "C":
            client.say(data)
        elif data == b"<EOF>":
            assert client.is_closed
        else:
            assert data == without_private_fields(client.heard())
        if data.startswith(b"OK\t7\tuser=u1") and side == "S":
            desk.command(HostSet(ip=second, tag=b"", weight=None))
    desk.close()


def test_recordings_contain_what_matters() -> None:
    """A filter that lost the interesting lines would make the test above pass for nothing."""
    lines = [
        line for path in RECORDINGS for found in connections(path).values() for *_, line in found
    ]

    assert sum(b"\tproxy_refresh=30\thost=127.0.0." in line for line in lines) > 10
    assert any(b"\thost=localhost\thostip=127.0.0.1" in line for line in lines)
    for start in (b"MECH", b"COOKIE", b"DONE", b"CONT", b"CANCEL", b"FAIL", b"NOTFOUND"):
        assert any(line.startswith(start) for line in lines), start
