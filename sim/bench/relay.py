"""Delays what directors say to each other: a relay at every director's address.

Every piece of data waits for a random time, in order, each direction of a connection by itself.
The onward connection comes from the caller's address, because directors know each other by it.
"""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Sequence

import trio

READ_BYTES = 64 * 1024


class Relay:
    """A thread with an event loop of its own; use `close` to end it."""

    def __init__(
        self, ips: Sequence[str], *, port: int, target_port: int, delay_s_max: float, seed: int
    ) -> None:
        """Listen on `port` of all addresses at once; pass on to `target_port` of the same."""
        self._listeners = [_listen(ip, port) for ip in ips]
        self._target_port = target_port
        self._delay_s_max = delay_s_max
        self._random = random.Random(seed)
        self._scope = trio.CancelScope()
        self._token: trio.lowlevel.TrioToken | None = None
        started = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run, started), daemon=True)
        self._thread.start()
        started.wait()

    def close(self) -> None:
        assert self._token is not None
        self._token.run_sync_soon(self._scope.cancel)
        self._thread.join()

    async def _run(self, started: threading.Event) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with self._scope:
            async with trio.open_nursery() as nursery:
                for listener in self._listeners:
                    nursery.start_soon(self._accept, trio.socket.from_stdlib_socket(listener))
                started.set()

    async def _accept(self, listener: trio.socket.SocketType) -> None:
        target = (listener.getsockname()[0], self._target_port)
        with listener:
            async with trio.open_nursery() as nursery:
                while True:
                    client, (caller, _) = await listener.accept()
                    nursery.start_soon(self._serve, client, caller, target)

    async def _serve(
        self, client: trio.socket.SocketType, caller: str, target: tuple[str, int]
    ) -> None:
        with client, trio.socket.socket() as onward:
            try:
                await onward.bind((caller, 0))
                await onward.connect(target)
            except OSError:
                return
            for sock in (client, onward):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pump, client, onward)
                nursery.start_soon(self._pump, onward, client)

    async def _pump(self, source: trio.socket.SocketType, target: trio.socket.SocketType) -> None:
        """Pass on until the end; an error of either side ends this direction."""
        try:
            while data := await source.recv(READ_BYTES):
                await trio.sleep(self._random.random() * self._delay_s_max)
                with memoryview(data) as view:
                    sent = 0
                    while sent < len(data):
                        sent += await target.send(view[sent:])
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def _listen(ip: str, port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((ip, port))
    listener.listen(64)
    listener.setblocking(False)
    return listener
