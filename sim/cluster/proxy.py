"""The network between the daemons: delays, odd pieces, silence in one direction, cut connections.

Every byte between two nodes passes here. A path is one direction between two nodes; it can be
*silent*: what is sent stays here (and then in the kernel's buffers, and then in the sender), nobody
is told. A pair of nodes can be *cut*: open connections are reset and new ones are closed at once.

How long a piece takes and where it is broken is decided by keyed randomness, one stream for each
direction of each connection, so that a fault on one path leaves the others as they were.
"""

from __future__ import annotations

import socket
import struct
from collections import Counter

import attrs
import trio

from sim.cluster.places import Place, listen
from sim.randomness import Stream

RECEIVE_BYTES = 16 * 1024
DELAY_S_MAX = 0.02
BREAK_CHANCE = 0.3
RESET = struct.pack("ii", 1, 0)


@attrs.define(eq=False)
class _Path:
    """One direction between two nodes. Several faults at a time may want it silent."""

    silencers: int = 0
    flows: trio.Event = attrs.field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.flows.set()


class Network:
    """All paths; `run` must be running before the first door is opened."""

    def __init__(self, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._seed = seed
        self._paths: dict[tuple[str, str], _Path] = {}
        self._cuts: Counter[frozenset[str]] = Counter()
        self._open: dict[trio.CancelScope, frozenset[str]] = {}
        self._connections_by_pair: Counter[tuple[str, str]] = Counter()
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    # --- faults -------------------------------------------------------------------------------

    def silence(self, source: str, target: str) -> None:
        path = self._path(source, target)
        path.silencers += 1
        if path.flows.is_set():
            path.flows = trio.Event()

    def let_flow(self, source: str, target: str) -> None:
        path = self._path(source, target)
        path.silencers -= 1
        if not path.silencers:
            path.flows.set()

    def cut(self, first: str, second: str) -> None:
        """Reset what is between two nodes, and let nothing new arise."""
        pair = frozenset((first, second))
        self._cuts[pair] += 1
        for scope, ends in list(self._open.items()):
            if ends == pair:
                scope.cancel()

    def mend(self, first: str, second: str) -> None:
        self._cuts[frozenset((first, second))] -= 1

    # --- doors --------------------------------------------------------------------------------

    def open_door(self, place: Place, port: int, target: tuple[str, int]) -> trio.CancelScope:
        """Listen on a port of a node's address for its neighbours; cancel the result to stop."""
        assert self._nursery is not None
        scope = trio.CancelScope()
        listener = listen(place.ip, port)
        self._nursery.start_soon(self._serve_door, scope, listener, place.ip, target)
        return scope

    async def _serve_door(
        self, scope: trio.CancelScope, listening: socket.socket, ip: str, target: tuple[str, int]
    ) -> None:
        assert self._nursery is not None
        listening.setblocking(False)
        with scope, trio.socket.from_stdlib_socket(listening) as listener:
            while True:
                accepted, (source, _) = await listener.accept()
                self._nursery.start_soon(self._serve, accepted, source, ip, target)

    async def _serve(
        self,
        accepted: trio.socket.SocketType,
        source: str,
        ip: str,
        target: tuple[str, int],
    ) -> None:
        pair = frozenset((source, ip))
        self._connections_by_pair[source, ip] += 1
        name = (source, ip, self._connections_by_pair[source, ip])
        with accepted, trio.socket.socket() as dialled:
            if self._cuts[pair]:
                _reset(accepted)
                return
            with trio.CancelScope() as scope:
                self._open[scope] = pair  # from now on: a cut may come while we dial
                try:
                    await dialled.bind((source, 0))
                    await dialled.connect(target)
                except OSError:
                    _reset(accepted)
                else:
                    self.counts["connections"] += 1
                    await self._carry_both_ways(name, accepted, dialled)
            del self._open[scope]
            if scope.cancelled_caught:
                self.counts["connections reset"] += 1
                _reset(accepted)
                _reset(dialled)

    async def _carry_both_ways(
        self,
        name: tuple[str, str, int],
        accepted: trio.socket.SocketType,
        dialled: trio.socket.SocketType,
    ) -> None:
        source, ip, _ = name
        async with trio.open_nursery() as nursery:
            there, back = Stream(self._seed, *name, 0), Stream(self._seed, *name, 1)
            nursery.start_soon(self._carry, there, accepted, dialled, (source, ip))
            nursery.start_soon(self._carry, back, dialled, accepted, (ip, source))

    async def _carry(
        self,
        stream: Stream,
        source: trio.socket.SocketType,
        target: trio.socket.SocketType,
        direction: tuple[str, str],
    ) -> None:
        """Carry bytes one way until an end closes or is gone; pass that on."""
        path = self._path(*direction)
        try:
            while data := await source.recv(RECEIVE_BYTES):
                await trio.sleep(stream.uniform(0, DELAY_S_MAX))
                self.counts["bytes"] += len(data)
                for piece in _pieces(stream, data):
                    await path.flows.wait()
                    await _send_all(target, piece)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            # Whoever reads on the other side learns it as it would without us.
            _reset(source)
            _reset(target)

    def _path(self, source: str, target: str) -> _Path:
        return self._paths.setdefault((source, target), _Path())


def _pieces(stream: Stream, data: bytes) -> list[bytes]:
    """Break a piece in two or three, sometimes."""
    if len(data) < 2 or not stream.chance(BREAK_CHANCE):
        return [data]
    first = stream.integer(1, len(data) - 1)
    second = stream.integer(first, len(data))
    return [piece for piece in (data[:first], data[first:second], data[second:]) if piece]


async def _send_all(target: trio.socket.SocketType, data: bytes) -> None:
    while data:
        data = data[await target.send(data) :]


def _reset(sock: trio.socket.SocketType) -> None:
    """Make closing look like a crash of the other end, and end what waits on it."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended already
