"""The bytes on anvil and on admin sockets, as recorded in captures 21 and 22."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from director.kick.anvil_client import anvil_connection, end_session
from director.kick.listing import LiveSession, parse_anvil_row
from director.kick.queue import KickFailed
from ring import limits
from tests.director.kick.scripted import serving
from tests.hashing import HASHER

GREETING = b"VERSION\tanvil-server\t2\t0\n"
ROW = b"19644\tu1\timap-login\t127.0.0.1\t086a8e3b924e026bbc4c000083ecc375\t127.0.0.3\taltu1"


class Script:
    """Greets, collects what comes, and sends a reply whenever one of its keys has come whole."""

    def __init__(self, greeting: bytes, replies: dict[bytes, bytes]) -> None:
        self.greeting = greeting
        self.replies = replies
        self.received = b""

    async def __call__(self, stream: trio.SocketStream) -> None:
        await stream.send_all(self.greeting)
        async for data in stream:
            self.received += data
            for end, reply in self.replies.items():
                if self.received.endswith(end):
                    if not reply:
                        return
                    await stream.send_all(reply)


async def test_recorded_conversation(tmp_path: Path) -> None:
    rows: list[bytes] = []
    replies = {b"CONNECT-DUMP\n": b"user_alt\n" + ROW + b"\n\n", b"KICK-USER\tu1\n": b"2\n"}
    script = Script(GREETING, replies)
    async with (
        serving(tmp_path / "anvil", script),
        anvil_connection(tmp_path / "anvil") as anvil,
    ):
        assert await anvil.dump(rows.extend) == (b"user_alt",)
        assert rows == [ROW]

        await anvil.kick(b"KICK-USER", b"u1")

    assert script.received == b"VERSION\tanvil-client\t2\t0\n\nCONNECT-DUMP\nKICK-USER\tu1\n"


async def test_list_without_sessions_and_fields_is_two_empty_lines(tmp_path: Path) -> None:
    script = Script(GREETING, {b"CONNECT-DUMP\n": b"\n\n"})
    async with (
        serving(tmp_path / "anvil", script),
        anvil_connection(tmp_path / "anvil") as anvil,
    ):
        assert await anvil.dump(list) == ()


@pytest.mark.parametrize(
    "replies, reason",
    [({b"u1\n": b""}, "closed the connection"), ({b"u1\n": b"?\n"}, "answered ? to KICK-USER")],
)
async def test_refused_kick(tmp_path: Path, replies: dict[bytes, bytes], reason: str) -> None:
    async with serving(tmp_path / "anvil", Script(GREETING, replies)):
        with pytest.raises(KickFailed, match=reason.replace("?", r"\?")):
            async with anvil_connection(tmp_path / "anvil") as anvil:
                await anvil.kick(b"KICK-USER", b"u1")


async def test_command_longer_than_anvil_reads_is_not_sent(tmp_path: Path) -> None:
    script = Script(GREETING, {})
    async with serving(tmp_path / "anvil", script):
        with pytest.raises(KickFailed, match="more than anvil reads"):
            async with anvil_connection(tmp_path / "anvil") as anvil:
                await anvil.kick(b"KICK-USER", b"u" * limits.ANVIL_COMMAND_BYTES_MAX)

    assert b"KICK" not in script.received


def session() -> LiveSession:
    live = parse_anvil_row(ROW, HASHER.hash)
    assert live is not None
    return live


ADMIN_GREETING = b"VERSION\tmaster-admin-server\t1\t0\n"
ADMIN_COMMAND = b"KICK-USER\tu1\t086a8e3b924e026bbc4c000083ecc375\n"


async def test_admin_socket_is_told_user_and_guid(tmp_path: Path) -> None:
    script = Script(ADMIN_GREETING, {ADMIN_COMMAND: b"+1\n"})
    async with serving(tmp_path / "srv.imap-login" / "19644", script):
        await end_session(tmp_path, session())

    assert script.received == b"VERSION\tmaster-admin-client\t1\t0\n" + ADMIN_COMMAND


@pytest.mark.parametrize(
    "greeting, reply, reason",
    [
        (ADMIN_GREETING, b"+0\n", r"answered \+0 to KICK-USER"),
        (ADMIN_GREETING, b"-Unknown command\n", "answered -Unknown command"),
        (ADMIN_GREETING, b"", "answered  to KICK-USER"),
        (b"hello\n", b"+1\n", "greeted with hello"),
    ],
)
async def test_admin_socket_that_does_not_confirm(
    tmp_path: Path, greeting: bytes, reply: bytes, reason: str
) -> None:
    async with serving(
        tmp_path / "srv.imap-login" / "19644", Script(greeting, {ADMIN_COMMAND: reply})
    ):
        with pytest.raises(KickFailed, match=reason):
            await end_session(tmp_path, session())


async def test_service_name_never_leaves_the_directory(tmp_path: Path) -> None:
    row = ROW.replace(b"imap-login", b"../../x")
    live = parse_anvil_row(row, HASHER.hash)
    assert live is not None
    with pytest.raises(KickFailed, match=r"anvil named the service \.\./\.\./x"):
        await end_session(tmp_path, live)
