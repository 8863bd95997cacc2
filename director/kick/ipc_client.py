"""One connection to Dovecot 2.3's `ipc` service, and the list of sessions it gives.

ipc-kick.md section 1.2: no greeting; one command at a time; `:` lines, then one `+` or `-` line.
`+(null)` and an empty `+` mean that no login process proxies anything: success. The error of a
process that went away while it was asked ("server connection: Connection closed") says nothing
about the others, and a connection may have been closed since it was last used; so a command is
tried twice. Every command here may be repeated without harm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import trio

from director.kick.listing import LiveSession, UserHash, parse_ipc_row
from director.kick.queue import KickFailed
from director.streams import LineReader, connect_unix
from ring import limits
from ring.codec import tabs
from ring.errors import LimitExceeded, excerpt

OnRows: TypeAlias = Callable[[list[bytes]], None]


class Patience:
    """How long to wait for an answer; shared by the connections to one `ipc`."""

    def __init__(self) -> None:
        self.is_hanging = False

    @property
    def timeout_s(self) -> float:
        if self.is_hanging:
            return limits.IPC_HUNG_REPLY_TIMEOUT_S
        return limits.IPC_REPLY_TIMEOUT_S


class IpcClient:
    """Asks every login process; connects when needed."""

    def __init__(self, path: Path, patience: Patience) -> None:
        self._path = path
        self._patience = patience
        self._stream: trio.SocketStream | None = None
        self._reader: LineReader | None = None

    async def ask(self, words: Sequence[bytes], on_rows: OnRows | None = None) -> None:
        """Send one command to every login process, give the rows of the answer to `on_rows`.

        Raises:
            KickFailed: no `ipc`, no answer in time, or an error twice.
        """
        line = b"\t".join((b"proxy", b"*", *map(tabs.escape, words))) + b"\n"
        try:
            await self._ask_once(line, on_rows)
        except _Unsuccessful:
            await trio.lowlevel.checkpoint()
            await self._ask_once(line, on_rows)

    def close(self) -> None:
        """Close at once; the next command connects again."""
        if self._stream is not None:
            self._stream.socket.close()
            self._stream = self._reader = None

    async def _ask_once(self, line: bytes, on_rows: OnRows | None) -> None:
        is_answered = False
        try:
            with trio.CancelScope() as scope:
                self._extend(scope)
                await self._exchange(line, on_rows, scope)
                is_answered = True
        except (OSError, trio.BrokenResourceError, LimitExceeded) as error:
            raise _Unsuccessful(f"{self._path}: {error}") from error
        except _Refused as error:
            is_answered = True
            raise _Unsuccessful(str(error)) from None
        finally:
            if not is_answered:
                self.close()
        self._patience.is_hanging = scope.cancelled_caught
        if scope.cancelled_caught:
            raise KickFailed(
                "a login process hangs and did not answer; the others were told"
                f" (sent to {self._path}: {excerpt(line)})"
            )

    def _extend(self, scope: trio.CancelScope) -> None:
        scope.deadline = trio.current_time() + self._patience.timeout_s

    async def _exchange(self, line: bytes, on_rows: OnRows | None, scope: trio.CancelScope) -> None:
        if self._stream is None or self._reader is None:
            self._stream = await connect_unix(self._path)
            self._reader = LineReader(self._stream, limits.SESSION_LINE_BYTES_MAX, str(self._path))
        await self._stream.send_all(line)
        while True:
            lines = await self._reader.lines()
            self._extend(scope)
            if not lines:
                raise BrokenPipeError("closed before it answered")
            *rows, last = lines
            if last.startswith(b":"):
                rows.append(last)
            if on_rows is not None:
                on_rows([row[1:] for row in rows])
            if last.startswith(b"+"):
                return
            if not last.startswith(b":"):
                raise _Refused(f"{self._path} answered {excerpt(last)} to {excerpt(line)}")


async def list_sessions(
    client: IpcClient, user_hash: UserHash, keep: Callable[[LiveSession], None]
) -> None:
    """Call `keep` for every proxied session of this machine.

    Raises:
        KickFailed: as `ask`; what was listed until then has been given to `keep`.
    """

    def parse(rows: list[bytes]) -> None:
        for row in rows:
            session = parse_ipc_row(row, user_hash)
            if session is not None:
                keep(session)

    await client.ask((b"LIST-FULL",), parse)


class _Unsuccessful(KickFailed):
    """May succeed if it is tried again."""


class _Refused(Exception):
    """An error line: the connection is as good as before."""
