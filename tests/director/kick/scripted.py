"""A scripted service on a real unix socket, and somebody who waits for the ends of kicks."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from director.kick.queue import Kicker, KickTarget

Serve = Callable[[trio.SocketStream], Awaitable[None]]


class KickBench:
    """Asks for kicks and waits for their ends."""

    def __init__(self, kicker: Kicker) -> None:
        self.kicker = kicker
        self.ends: list[str | None] = []
        self.idle: list[bool] = []
        self._change = trio.Event()

    def kick(self, what: KickTarget) -> None:
        self.kicker.kick(what, self._finished)

    async def ended(self, count: int) -> list[str | None]:
        while len(self.ends) < count:
            await self._change.wait()
            self._change = trio.Event()
        ends, self.ends = self.ends, []
        return ends

    async def end_of(self, what: KickTarget) -> str | None:
        """Kick, and return the one error or None."""
        self.kick(what)
        (error,) = await self.ended(1)
        return error

    def _finished(self, error: str | None, *, was_idle: bool = False) -> None:
        self.ends.append(error)
        self.idle.append(was_idle)
        self._change.set()


@asynccontextmanager
async def kicking(kicker: Kicker) -> AsyncIterator[KickBench]:
    bench = KickBench(kicker)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kicker.run)
        yield bench
        nursery.cancel_scope.cancel()


def bound(path: Path) -> trio.SocketListener:
    path.parent.mkdir(parents=True, exist_ok=True)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen(64)
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


@asynccontextmanager
async def serving(path: Path, serve: Serve) -> AsyncIterator[None]:
    """Serve connections to `path` until the block ends."""

    async def one(stream: trio.SocketStream) -> None:
        async with stream:
            try:
                await serve(stream)
            except trio.BrokenResourceError:
                pass  # the other end went away first

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, one, [bound(path)])
        yield
        nursery.cancel_scope.cancel()


class Lines:
    """Lines of a stream, one at a time."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._lines: list[bytes] = []
        self._tail = b""

    async def next(self) -> bytes | None:
        """Return the next line without LF, or None at the end."""
        while not self._lines:
            data = await self._stream.receive_some()
            if not data:
                return None
            *self._lines, self._tail = (self._tail + data).split(b"\n")
        return self._lines.pop(0)
