"""The bytes on an `ipc` socket, as recorded in captures 03 and 10."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from director.kick.ipc_client import IpcClient, Patience, list_sessions
from director.kick.listing import LiveSession
from director.kick.queue import KickFailed
from ring import limits
from tests.director.kick.scripted import Lines, serving
from tests.hashing import HASHER

RECORDED_LIST = (
    b":username\tuser_alt\tservice\tsrc-ip\tdest-ip\tdest-port\n"
    b":u1\taltu1\timap\t127.0.0.1\t127.0.0.3\t19150\n"
    b"+\n"
)


class Script:
    """Answers the n-th line, whatever the connection, with the n-th reply; None: hang."""

    def __init__(self, *replies: bytes | None) -> None:
        self.replies = list(replies)
        self.lines: list[bytes] = []

    async def __call__(self, stream: trio.SocketStream) -> None:
        lines = Lines(stream)
        while (line := await lines.next()) is not None:
            self.lines.append(line)
            reply = self.replies.pop(0)
            if reply is None:
                await trio.sleep_forever()
            elif not reply:
                return
            else:
                await stream.send_all(reply)


async def test_recorded_list(tmp_path: Path) -> None:
    found: list[LiveSession] = []
    script = Script(RECORDED_LIST)
    async with serving(tmp_path / "ipc", script):
        client = IpcClient(tmp_path / "ipc", Patience())
        await list_sessions(client, HASHER.hash, found.append)
        client.close()

    assert script.lines == [b"proxy\t*\tLIST-FULL"]
    assert [(s.user, s.user_hash, str(s.ip)) for s in found] == [(b"u1", 3833023709, "127.0.0.3")]


@pytest.mark.parametrize("reply", [b"+0\n", b"+\n", b"+(null)\n", b":unexpected\n+1\n"])
async def test_every_plus_is_success(tmp_path: Path, reply: bytes) -> None:
    script = Script(reply)
    async with serving(tmp_path / "ipc", script):
        client = IpcClient(tmp_path / "ipc", Patience())
        await client.ask((b"KICK", b"tab\there"))
        client.close()

    assert script.lines == [b"proxy\t*\tKICK\ttab\x01there"]


async def test_error_twice_keeps_the_connection_and_names_the_text(tmp_path: Path) -> None:
    script = Script(b"-Unknown command\n", b"-Unknown command\n", b"+0\n")
    async with serving(tmp_path / "ipc", script):
        client = IpcClient(tmp_path / "ipc", Patience())
        with pytest.raises(KickFailed, match="answered -Unknown command to"):
            await client.ask((b"NOSUCH",))
        await client.ask((b"KICK", b"u1"))
        client.close()

    assert len(script.lines) == 3


async def test_patience_is_lost_by_hanging_and_regained_by_an_answer(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    patience = Patience()
    client = IpcClient(tmp_path / "ipc", patience)
    async with serving(tmp_path / "ipc", Script(None, None, b"+0\n")):
        for timeout_s in (limits.IPC_REPLY_TIMEOUT_S, limits.IPC_HUNG_REPLY_TIMEOUT_S):
            assert patience.timeout_s == timeout_s
            with pytest.raises(KickFailed, match="a login process hangs"):
                await client.ask((b"KICK", b"u1"))
        await client.ask((b"KICK", b"u1"))
        client.close()

    assert patience.timeout_s == limits.IPC_REPLY_TIMEOUT_S
