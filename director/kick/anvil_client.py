"""The sockets of Dovecot 2.4 that list and end sessions: `anvil`, and one per login process.

dovecot-2.4-plug.md sections 4.1 and 4.3. On `anvil` one command is sent at a time: lists overtake
kicks when they are pipelined. The empty line after our VERSION says that we take no commands; any
other line there would switch the connection to another framing. Counts in answers include processes
that were only signalled and are not even returned here.

The socket of a login process, `srv.SERVICE/PID`, is only for root. It ends exactly one session if
given its guid, in both login process modes, and it is the only one that also reaches a session that
is still logging in to its backend.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import trio

from director.kick.listing import LiveSession
from director.kick.queue import KickFailed
from director.streams import LineReader, connect_unix
from ring import limits
from ring.codec import tabs
from ring.errors import LimitExceeded, excerpt

OnRows: TypeAlias = Callable[[list[bytes]], None]

GREETING = re.compile(rb"VERSION\tanvil-server\t2\t[0-9]+")
_ADMIN_GREETING = re.compile(rb"VERSION\tmaster-admin-server\t1\t[0-9]+")
_SERVICE = re.compile(rb"[A-Za-z0-9_-]+")
_PERMISSION_HINT = (
    "; give the director's user access with"
    " service anvil { unix_listener anvil { mode = 0660 group = ... } } and restart Dovecot"
)
_ROOT_HINT = (
    "; only root may use it, so either run the director as root, or give login services"
    " restart_request_count = unlimited, or use Dovecot 2.4.5"
)


class AnvilClient:
    """One connection to `anvil`; made by `anvil_connection`."""

    def __init__(self, path: Path, stream: trio.SocketStream) -> None:
        self._path = path
        self._stream = stream
        self._reader = LineReader(stream, limits.SESSION_LINE_BYTES_MAX, str(path))

    async def handshake(self) -> None:
        await self._stream.send_all(b"VERSION\tanvil-client\t2\t0\n\n")
        greeting = await self._lines()
        if not GREETING.fullmatch(greeting[0]):
            raise KickFailed(
                f"{self._path} is not the anvil of Dovecot 2.4: greeted with"
                f" {excerpt(greeting[0])}, expected VERSION anvil-server 2"
            )

    async def kick(self, *words: bytes) -> None:
        """Send one KICK command and wait for its answer, which promises nothing."""
        await self._send(words)
        answer = (await self._lines())[0]
        if not answer.isdigit():
            raise KickFailed(f"{self._path} answered {excerpt(answer)} to {excerpt(words[0])}")

    async def dump(self, on_rows: OnRows) -> tuple[bytes, ...]:
        """Give all sessions, as rows, to `on_rows`; return the names of the alternative fields."""
        await self._send((b"CONNECT-DUMP",))
        header, *rows = await self._lines()
        while rows[-1:] != [b""]:
            on_rows(rows)
            rows = await self._lines()
        on_rows(rows[:-1])
        return tuple(tabs.split(header))

    async def _send(self, words: Sequence[bytes]) -> None:
        line = b"\t".join((words[0], *map(tabs.escape, words[1:]))) + b"\n"
        if len(line) > limits.ANVIL_COMMAND_BYTES_MAX:
            raise KickFailed(
                f"a command of {len(line)} bytes is more than anvil reads: {excerpt(line)}"
            )
        await self._stream.send_all(line)

    async def _lines(self) -> list[bytes]:
        """Return at least one line, in bounded time."""
        lines: list[bytes] = []
        with trio.move_on_after(limits.ANVIL_REPLY_TIMEOUT_S) as scope:
            lines = await self._reader.lines()
        if scope.cancelled_caught:
            raise KickFailed(f"{self._path} did not answer in time")
        if not lines:
            raise KickFailed(f"{self._path} closed the connection")
        return lines


@asynccontextmanager
async def anvil_connection(path: Path) -> AsyncIterator[AnvilClient]:
    """Connect to `anvil`; trouble inside the block becomes KickFailed.

    A connection lives for one round of kicks only: so it is never one that anvil has closed.

    Raises:
        KickFailed: nobody listens, we may not connect, or the conversation went wrong.
    """
    try:
        async with await connect_unix(path) as stream:
            client = AnvilClient(path, stream)
            await client.handshake()
            yield client
    except PermissionError as error:
        raise KickFailed(f"{error.strerror}{_PERMISSION_HINT}") from error
    except (OSError, trio.BrokenResourceError, LimitExceeded) as error:
        raise KickFailed(f"{path}: {error}") from error


async def end_session(base_dir: Path, session: LiveSession) -> None:
    """Ask the login process that proxies the session to end it, and nothing else.

    Raises:
        KickFailed: we may not, the process is gone, or it did not find the session.
    """
    if not _SERVICE.fullmatch(session.service):
        raise KickFailed(f"anvil named the service {excerpt(session.service)}")
    path = base_dir / f"srv.{session.service.decode('ascii')}" / str(session.pid)
    command = b"\t".join((b"KICK-USER", tabs.escape(session.user), session.guid)) + b"\n"
    try:
        with trio.fail_after(limits.ADMIN_SOCKET_TIMEOUT_S):
            async with await connect_unix(path) as stream:
                reader = LineReader(stream, limits.SESSION_LINE_BYTES_MAX, str(path))
                await stream.send_all(b"VERSION\tmaster-admin-client\t1\t0\n" + command)
                lines: list[bytes] = []
                while len(lines) < 2 and (more := await reader.lines()):
                    lines += more
    except trio.TooSlowError:
        raise KickFailed(f"{path} did not answer in time") from None
    except PermissionError as error:
        raise KickFailed(f"{error.strerror} {_ROOT_HINT}") from error
    except (OSError, trio.BrokenResourceError, LimitExceeded) as error:
        raise KickFailed(f"{path}: {error}") from error
    if not lines or not _ADMIN_GREETING.fullmatch(lines[0]):
        raise KickFailed(f"{path} greeted with {excerpt(b''.join(lines[:1]))}")
    if len(lines) < 2 or not lines[1].startswith(b"+") or lines[1] == b"+0":
        raise KickFailed(f"{path} answered {excerpt(b''.join(lines[1:2]))} to KICK-USER")
