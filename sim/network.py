"""Simulated TCP between directors: real bytes, in order, late, in pieces, or never.

A `Connection` has two `End`s, one per machine, and a `Pipe` for each direction. What TCP promises
is kept (order, no loss inside a connection that lives); what it does not promise is played with:
delay and jitter per path, any chunking, a window that fills when the other side does not read,
resets, and silence. A cut path holds what is sent until it is mended, as retransmission does; a
machine that lost its power answers nothing, and what is sent to connections it forgot is reset.

The machines' kernels accept connections even while their process stands still.
"""

from __future__ import annotations

import enum
import functools
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ring.codec import classic, native
from ring.errors import RemoteProtocolError
from ring.messages import Message
from sim.randomness import Stream

if TYPE_CHECKING:
    from sim.machine import Machine
    from sim.world import World

RETRANSMIT_S = 0.2
"""After a path is mended, what was held arrives this much later."""

KNOCK_AGAIN_S = (1.0, 2.0, 4.0)
"""When a request for a connection that nobody answered is sent again, as Linux does."""


class Mark(enum.Enum):
    """What may stand in a pipe besides bytes."""

    END = "end of file"
    RESET = "connection reset"


class Pipe:
    """One direction of a connection. hot: every byte of a run"""

    __slots__ = (
        "_is_waking",
        "bytes_queued",
        "is_full",
        "is_silent",
        "last_due",
        "queue",
        "source",
        "target",
    )

    def __init__(self, source: End, target: End) -> None:
        self.source = source
        self.target = target
        self.queue: deque[tuple[float, bytes | Mark]] = deque()
        self.bytes_queued = 0
        self.last_due = 0.0
        self.is_silent = False
        self.is_full = False
        self._is_waking = False

    def send(self, item: bytes | Mark) -> None:
        if self.is_silent:
            return
        network = self.source.machine.world.network
        due = network.due(self, len(item) if isinstance(item, bytes) else 0)
        self.queue.append((due, item))
        self.last_due = due
        if isinstance(item, bytes):
            self.bytes_queued += len(item)
        self._wake_at(due)

    def clear(self) -> None:
        self.queue.clear()
        self.bytes_queued = 0

    def resume(self) -> None:
        """The path was mended: what was held is sent again."""
        if self.queue and not self._is_waking:
            self._wake_at(self.source.machine.world.now + RETRANSMIT_S)

    def _wake_at(self, due: float) -> None:
        if not self._is_waking:
            self._is_waking = True
            self.source.machine.world.at(due, self._wake)

    def _wake(self) -> None:
        self._is_waking = False
        world = self.source.machine.world
        while self.queue:
            due, item = self.queue[0]
            if world.network.is_cut(self.source.machine.number, self.target.machine.number):
                world.network.held.append(self)
                return
            if due > world.now:
                self._wake_at(due)
                return
            self.queue.popleft()
            self.target.arrive(item)


class End:
    """One end of a connection, as the kernel of its machine sees it."""

    __slots__ = (
        "connection",
        "incarnation",
        "is_open",
        "link_id",
        "machine",
        "outgoing",
        "peer",
        "serial",
    )

    connection: Connection
    outgoing: Pipe
    peer: End

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.incarnation = machine.incarnation
        self.link_id: int | None = None
        self.is_open = True
        self.serial = next(machine.world.serials)

    def arrive(self, item: bytes | Mark) -> None:
        """Something came off the wire: the process reads it when it can."""
        if self.machine.is_off:
            return
        if self.incarnation == self.machine.incarnation:
            self.machine.post(self._read, item)
        elif isinstance(item, bytes):  # the machine has forgotten this connection
            self.outgoing.clear()
            self.outgoing.send(Mark.RESET)

    @property
    def incoming(self) -> Pipe:
        return self.peer.outgoing

    def _read(self, item: bytes | Mark) -> None:
        if isinstance(item, bytes):
            self.incoming.bytes_queued -= len(item)
            if self.incoming.is_full:
                self.incoming.is_full = False
                self.machine.world.at(self.machine.world.now, self.peer.machine.wake_writer)
        if not self.is_open:
            return
        if isinstance(item, bytes):
            self.connection.tap(self, item)
            self.machine.received(self, item)
        else:
            self.is_open = False
            self.machine.lost(self, item.value)

    def close(self, unsent: bytes) -> None:
        """The process closes the connection, `unsent` first."""
        if not self.is_open:
            return
        self.is_open = False
        if unsent:
            self.connection.sending(self, unsent)
            self.outgoing.send(unsent)
        self.outgoing.send(Mark.END)

    def vanish(self, mark: Mark | None) -> None:
        """The process is gone; the kernel tells the other side, or nothing if the power is gone."""
        if self.is_open:
            self.is_open = False
            self.outgoing.clear()
            if mark is not None:
                self.outgoing.send(mark)


class Connection:
    """Two ends; `one` dialled `other`."""

    def __init__(self, one: Machine, other: Machine) -> None:
        self.ends = (End(one), End(other))
        for end, peer in (self.ends, self.ends[::-1]):
            end.connection = self
            end.peer = peer
        for end, peer in (self.ends, self.ends[::-1]):
            end.outgoing = Pipe(end, peer)
        self._decoders = (Tap(), Tap()) if one.world.plan.is_tapped else None

    @property
    def is_alive(self) -> bool:
        return any(end.is_open for end in self.ends)

    def is_between(self, one: int, other: int) -> bool:
        return {end.machine.number for end in self.ends} == {one, other}

    def sending(self, end: End, data: bytes) -> None:
        """Look at what an end says, at the moment it says it."""
        if self._decoders is None:
            return
        tap = self._decoders[self.ends.index(end)]
        end.machine.world.wire.sent(end, tap.decode(data))

    def tap(self, end: End, data: bytes) -> None:
        """Look at what an end is about to hear."""
        if self._decoders is None:
            return
        tap = self._decoders[1 - self.ends.index(end)]
        end.machine.world.wire.heard(end, tap.decode_heard(data))


class Tap:
    """Decodes one direction twice: as it is sent, and as it arrives."""

    def __init__(self) -> None:
        self._sent = _Decoder()
        self._heard = _Decoder()

    def decode(self, data: bytes) -> Sequence[Message]:
        return self._sent.decode(data)

    def decode_heard(self, data: bytes) -> Sequence[Message]:
        return self._heard.decode(data)


class _Decoder:
    def __init__(self) -> None:
        self._classic = classic.Decoder()
        self._native: native.Decoder | None = None
        self._is_within_frame = False
        self._is_broken = False

    def decode(self, data: bytes) -> Sequence[Message]:
        """Return the messages that `data` completes. hot: every byte of a run, twice"""
        messages: list[Message] = []
        if self._is_broken:
            return messages
        try:
            if self._native is None:
                messages += self._classic.decode(data)
                data = self._classic.native_rest()
                if not data:
                    return messages
                self._native = native.Decoder()
            if not self._is_within_frame and _is_whole(data):
                return [*messages, *_decode_whole(data)]
            self._is_within_frame = True  # or at its end by chance, which is not worth finding out
            messages += self._native.decode(data)
        except RemoteProtocolError:
            self._is_broken = True  # the real receiver says what is wrong with it
        return messages


def _is_whole(data: bytes) -> bool:
    """Tell whether these are native frames without a rest."""
    end = 0
    while end < len(data):
        end += native.HEADER_BYTES + int.from_bytes(data[end : end + native.HEADER_BYTES])
    return end == len(data)


@functools.lru_cache(maxsize=256)
def _decode_whole(data: bytes) -> tuple[Message, ...]:
    """Return the messages of whole frames; the same bytes pass every director, twice each."""
    return tuple(native.Decoder().decode(data))


class Network:
    """All paths between machines, and what is wrong with them now."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.connections: list[Connection] = []
        self.held: list[Pipe] = []
        self.bytes_sent = 0
        self.writes_count = 0
        self._cuts: dict[tuple[int, int], int] = {}
        self._extra: dict[tuple[int, int], list[float]] = {}
        self._delays: dict[tuple[int, int], Stream] = {}
        self._refusing: dict[int, int] = {}

    # --- paths ----------------------------------------------------------------------------------

    def is_cut(self, source: int, target: int) -> bool:
        return bool(self._cuts) and (source, target) in self._cuts

    def cut(self, paths: list[tuple[int, int]]) -> Callable[[], None]:
        """Cut paths, each in one direction; return what mends them."""
        for path in paths:
            self._cuts[path] = self._cuts.get(path, 0) + 1

        def mend() -> None:
            for path in paths:
                self._cuts[path] -= 1
                if not self._cuts[path]:
                    del self._cuts[path]
            held, self.held = self.held, []
            for pipe in held:
                pipe.resume()

        return mend

    def clog(self, source: int, target: int, extra_s: float) -> Callable[[], None]:
        self._extra.setdefault((source, target), []).append(extra_s)
        return lambda: self._extra[source, target].remove(extra_s)

    def refuse(self, number: int) -> Callable[[], None]:
        self._refusing[number] = self._refusing.get(number, 0) + 1

        def accept() -> None:
            self._refusing[number] -= 1

        return accept

    def delay(self, source: int, target: int) -> float:
        plan = self._world.plan
        stream = self._delays.get((source, target))
        if stream is None:
            stream = self._delays[source, target] = Stream(plan.seed, "delay", source, target)
        delay = plan.latency_s + plan.jitter_s * stream.fraction()
        extra = self._extra.get((source, target))
        return delay + sum(extra) if extra else delay

    def due(self, pipe: Pipe, size: int) -> float:
        """Return when what is sent now arrives: never before what was sent earlier."""
        source, target = pipe.source.machine, pipe.target.machine
        due = max(pipe.last_due, self._world.now + self.delay(source.number, target.number))
        if target.bytes_per_s:
            due += size / target.bytes_per_s
        return due

    # --- connections ----------------------------------------------------------------------------

    def dial(self, one: Machine, link_id: int, target: Machine | None) -> None:
        """Try to connect; unreachable targets never answer, the node has its own timeout."""
        world = self._world
        world.wire.dialled(one)
        if target is None or target is one:
            world.at(world.now, one.post, one.dial_failed, link_id, "no route", one.incarnation)
            return
        self._knock(one, link_id, target, one.incarnation, 0)

    def _knock(
        self, one: Machine, link_id: int, target: Machine, incarnation: int, count: int
    ) -> None:
        """Ask for a connection; nobody answers if the request is lost or the answer would be."""
        node = one.node
        if node is None or one.incarnation != incarnation or node.link(link_id) is None:
            return  # nobody waits any more
        world = self._world
        is_deaf = target.is_off and not target.has_power
        is_cut = self.is_cut(one.number, target.number) or self.is_cut(target.number, one.number)
        if is_deaf or is_cut:
            if count < len(KNOCK_AGAIN_S):
                again = one, link_id, target, incarnation, count + 1
                world.at(world.now + KNOCK_AGAIN_S[count], self._knock, *again)
            return
        self.connections = [c for c in self.connections if c.is_alive]
        connection = Connection(one, target)
        connection.ends[0].link_id = link_id
        arrival = world.now + self.delay(one.number, target.number)
        world.at(arrival, self._arrived, connection)

    def _arrived(self, connection: Connection) -> None:
        world = self._world
        here, there = connection.ends
        one, target = here.machine, there.machine
        back = world.now + self.delay(target.number, one.number)
        if target.is_off and not target.has_power:
            return
        there.incarnation = target.incarnation
        if target.is_off or self._refusing.get(target.number):
            failed = (one.dial_failed, here.link_id, "connection refused", here.incarnation)
            world.at(back, one.post, *failed)
            return
        self.connections.append(connection)
        there.outgoing.last_due = back  # nothing overtakes the answer to the dial
        world.at(back, one.post, one.connected, here)
        target.post(target.accepted, there)

    def between(self, one: int, other: int) -> list[Connection]:
        return [c for c in self.connections if c.is_alive and c.is_between(one, other)]

    def reset(self, connection: Connection) -> None:
        """Break a connection; both ends are told."""
        for end in connection.ends:
            end.outgoing.clear()
        for end in connection.ends:
            end.outgoing.send(Mark.RESET)

    def silence(self, connection: Connection) -> None:
        """Let a connection be dead without telling anybody."""
        for end in connection.ends:
            end.outgoing.clear()
            end.outgoing.is_silent = True
