"""One connection to a neighbour: bytes in, messages out, and the other way round.

This file decides which message is legal when (ring-protocol.md section 7), which codec is spoken
(DESIGN.md decision 3), and in which order things leave: users gather in an open outbox where the
latest wins, any other message seals it first, so a SYNC never overtakes what it vouches for. What a
message means is decided elsewhere.

    incoming: we are its right neighbour    GREETING -> NAMED -> DONE
    outgoing: it is our right neighbour     CONNECTING -> GREETING -> NAMED -> DONE

An export (the users of a handshake) is pulled in steps while the peer keeps up, so a million users
cost neither memory nor a pause. Rejected: queueing the export at once, as memory would grow with
the table, and a task per export, as order against gossip would then need a lock.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

import attrs

from ring import limits
from ring.address import IpAddress
from ring.codec import classic, native
from ring.directors import Director as KnownDirector
from ring.effects import LinkId
from ring.errors import RemoteProtocolError
from ring.frames import FrameQueue, Frames, columns
from ring.hosts import MailHost
from ring.messages import (
    NATIVE_MINOR,
    UNKNOWN_TIMESTAMP,
    Digests,
    Director,
    Done,
    Hello,
    Host,
    HostsEnd,
    HostsStart,
    Me,
    Message,
    Options,
    Users,
    Version,
)

CLASSIC_USER_BYTES = 37
HELD_MESSAGE_BYTES = 64
"""About what a user line, and any other line, takes; only used to estimate how much that will weigh
which is not spelled yet."""


class Phase(enum.Enum):
    CONNECTING = "connecting"
    GREETING = "greeting"
    NAMED = "named"
    DONE = "done"


HANDSHAKE_ONLY: Final = (Version, Me, Hello, HostsStart, HostsEnd, Options, Done)


@attrs.define
class RingVersion:
    """The lowest minor version in the ring, shared by all links of a node (section 2)."""

    minor: int


class Link:
    """The state of one connection; the node reads and writes its public attributes."""

    def __init__(
        self,
        *,
        link_id: LinkId,
        director: KnownDirector | None,
        source_ip: IpAddress,
        own_minor: int,
        director_hash: str,
        ring: RingVersion,
        frames: Frames,
        by_number: list[MailHost | None],
        output_bytes_max: int,
        now: float,
    ) -> None:
        self.link_id = link_id
        self.is_incoming = director is None
        self.director = director
        self.source_ip = source_ip
        self.phase = Phase.GREETING if self.is_incoming else Phase.CONNECTING
        self.minor = 0
        self.has_version = False
        self.created_at = now
        self.connected_at: float | None = now if self.is_incoming else None
        self.is_host_block_ignored = False  # owned by host_list.py
        self.is_comparing = False  # owned by exports.py
        # Owned by neighbours.py, places.py, heartbeat.py:
        self.is_leaving = False
        self.is_verified_by_ping = False
        self.bytes_sent_when_idle = 0
        self.is_ping_fast = True
        self.ping_sent_at: float | None = None
        self.ping_roundtrip_s: float | None = None
        # For `ring status`:
        self.bytes_received = 0
        self.bytes_sent = 0
        self.output_bytes_peak = 0
        self.last_received_wall = 0
        self.last_sent_wall = 0
        self.users_received = 0
        self._users_sent = 0
        self._own_minor = own_minor
        self._director_hash = director_hash
        self._ring = ring
        self._frames = frames
        self._queue: FrameQueue | None = None
        self._by_number = by_number
        self._output_bytes_max = output_bytes_max
        self._classic = classic.Decoder()
        self._native: native.Decoder | None = None
        self._has_hello = False
        self._in_host_block = False
        self._held: list[Message] = []
        self._output = bytearray()
        self._open_users: dict[bytes, dict[int, int]] = {}
        self._export: Iterator[Message] | None = None

    # --- state --------------------------------------------------------------------------------

    @property
    def is_native(self) -> bool:
        """Tell whether both ends announced native frames."""
        return self.minor >= NATIVE_MINOR and self._own_minor >= NATIVE_MINOR

    @property
    def is_done(self) -> bool:
        return self.phase is Phase.DONE

    @property
    def is_exporting(self) -> bool:
        return self._export is not None

    @property
    def is_telling(self) -> bool:
        """Tell whether what our table learns meanwhile must be gossiped on this link."""
        return self._export is not None or self.is_comparing

    @property
    def takes_frames(self) -> bool:
        """Tell whether gossip reaches this link through the frames that all native links share."""
        return self._queue is not None

    @property
    def users_sent(self) -> int:
        return self._users_sent + (self._queue.users_count if self._queue else 0)

    @property
    def is_overflowing(self) -> bool:
        """Tell whether the peer reads too slowly to be kept (`director_output_buffer_size`)."""
        queued_bytes = len(self._output) + HELD_MESSAGE_BYTES * len(self._held)
        if self._open_users or self._queue is not None:
            queued_bytes += self._open_bytes()
        return queued_bytes > self._output_bytes_max

    @property
    def has_output(self) -> bool:
        """Tell whether `take_output` would return anything. hot: every stimulus"""
        if self._output or self._export is not None:
            return True
        if self._queue is not None:
            return self._queue.has_output or self._frames.has_users
        return self.has_version and bool(self._open_users)

    @property
    def output_bytes(self) -> int:
        """About how much waits to be sent; 0 exactly if there is no output."""
        open_bytes = self._open_bytes() if self.has_version else 0
        return len(self._output) + open_bytes + (self._export is not None)

    @property
    def has_urgent_output(self) -> bool:
        """Tell whether anything but gossiped users waits: they may wait a little to be many."""
        return bool(self._output) or self._export is not None

    def _open_bytes(self) -> int:
        if self._queue is not None:
            return self._queue.bytes_count + self._frames.bytes_count
        return CLASSIC_USER_BYTES * sum(map(len, self._open_users.values()))

    def __str__(self) -> str:
        peer = str(self.director.address) if self.director else str(self.source_ip)
        return f"{peer}/{'in' if self.is_incoming else 'out'}"

    # --- receiving ----------------------------------------------------------------------------

    def receive(self, data: bytes) -> Iterator[Message]:
        """Yield the messages completed by `data`, each legal at its place.

        Raises:
            RemoteProtocolError: the peer broke the rules; what came before was yielded.
        """
        self.bytes_received += len(data)
        if self._native is None:
            for message in self._classic.decode(data):
                self._check(message)
                yield self._reinterpreted(message)
            data = self._classic.native_rest()
            if not data:
                return
            if not self.is_native:
                raise RemoteProtocolError(
                    f"native frame from a peer of minor {self.minor}, expected classic lines"
                )
            self._native = native.Decoder(partial(self._frames.is_twin, self.link_id))
        for message in self._native.decode(data):
            if self._has_hello == (type(message) is Hello):
                raise self._refused(message, "out of place: Hello comes first, and once")
            self._has_hello = True
            self._check(message)
            yield message

    def _check(self, message: Message) -> None:
        kind = type(message)
        if not self.has_version:
            if kind is not Version:
                raise self._refused(message, "before VERSION")
            return
        if self.phase is Phase.GREETING:
            if kind is not Me:
                raise self._refused(message, "before ME")
        elif self.phase is Phase.DONE:
            if (
                kind in HANDSHAKE_ONLY
                or (isinstance(message, Host) and message.stamp is None)
                or (isinstance(message, Users) and message.is_handshake and not self.is_native)
            ):
                raise self._refused(message, "after the handshake")
        elif self._in_host_block:
            if kind is HostsEnd:
                self._in_host_block = False
            elif not isinstance(message, Host) or message.stamp is not None:
                raise self._refused(message, "inside a host block")
        elif kind in (Me, Version, HostsEnd) or (
            isinstance(message, Host) and message.stamp is None
        ):
            raise self._refused(message, "twice, or outside a host block,")
        elif kind is HostsStart:
            if not self.is_incoming:
                raise self._refused(message, "from a right neighbour")
            self._in_host_block = True
        elif (
            isinstance(message, Users)
            and message.is_handshake
            and not self.is_incoming
            and not self.is_native
        ):
            raise self._refused(message, "from a right neighbour")

    def _refused(self, message: Message, where: str) -> RemoteProtocolError:
        token = classic.token(message)
        return RemoteProtocolError(f"{token} {where} from {self}", token=token)

    def _reinterpreted(self, message: Message) -> Message:
        """A timed USER line of a peer below minor 9 is its handshake user line (section 7.2)."""
        if (
            isinstance(message, Users)
            and self.minor < 9
            and self.is_incoming
            and self.phase is Phase.NAMED
            and not message.is_handshake
            and message.timestamps[0] != UNKNOWN_TIMESTAMP
        ):
            return attrs.evolve(message, is_handshake=True)
        return message

    # --- the steps of the handshake, told by the node -------------------------------------------

    def become_connected(self, now: float) -> None:
        assert self.phase is Phase.CONNECTING
        self.phase = Phase.GREETING
        self.connected_at = now

    def become_versioned(self, version: Version, own_users_count: int) -> None:
        """The peer's version is known: what was held back can be said in its language."""
        self.minor = version.minor
        self.has_version = True
        if self.is_native:
            self._output += native.encode(
                Hello(director_hash=self._director_hash, users_count=own_users_count)
            )
            self._seal()  # what was told before the frames of all
            self._queue = self._frames.join(self.link_id)
        held, self._held = self._held, []
        for message in held:
            self.send(message)

    def become_named(self, director: KnownDirector) -> None:
        assert self.phase is Phase.GREETING
        self.phase = Phase.NAMED
        self.director = director

    def become_done(self) -> None:
        assert self.phase is Phase.NAMED
        self.phase = Phase.DONE

    # --- sending --------------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        """Queue a message behind everything queued before it."""
        if not self.has_version and type(message) not in (Version, Me, Director):
            self._held.append(message)
            return
        self._seal()
        self._output += self._encoded(message)

    def gossip_many(self, tag: bytes, users: Mapping[int, int]) -> None:
        """Queue users (`timestamp << 16 | host number` by hash) for this link alone.

        A later call for one of them replaces what was told in an earlier one. hot: bench gossip
        """
        if self._queue is None:
            self._open_users.setdefault(tag, {}).update(users)
            return
        self._frames.seal()
        self._queue.gossip_many(tag, users)

    def pass_on(self, users: Users) -> None:
        """Queue a frame as it came from another neighbour."""
        assert users.frame
        assert self._queue is not None
        self._frames.seal()
        self._queue.add(users.frame, len(users))

    def start_export(self, messages: Iterator[Message]) -> None:
        """Send these, pulled step by step, instead of an export that has come to its end."""
        self._export = messages

    def take_output(self, bytes_max: int, wall: int) -> bytes:
        """Remove and return at most `bytes_max` bytes to write, sent at Unix second `wall`."""
        self._seal()
        while self._export is not None and len(self._output) < limits.EXPORT_OUTPUT_BYTES_MAX:
            message = next(self._export, None)
            if message is None:
                self._export = None
                break
            self._output += self._encoded(message)
            if isinstance(message, Digests):
                break  # few bytes, much work
            if isinstance(message, Users):
                self._users_sent += len(message)
        self.output_bytes_peak = max(self.output_bytes_peak, len(self._output))
        data = bytes(self._output[:bytes_max])
        del self._output[:bytes_max]
        self.bytes_sent += len(data)
        if data:
            self.last_sent_wall = wall
        return data

    def take_rest(self) -> bytes:
        """Remove and return everything queued, a pending export left out: the last words."""
        self._export = None
        self._seal()
        self._frames.leave(self.link_id)
        data = bytes(self._output)
        self._output.clear()
        return data

    def discard_output(self) -> None:
        """Drop what is queued: the peer does not read, or must not see it."""
        self._held.clear()
        self._open_users.clear()
        if self._queue is not None:
            self._frames.seal()
            self._queue.take()
        self._output.clear()
        self._export = None

    def _seal(self) -> None:
        """Put gossip that waits into the output; it never stands before the greeting."""
        if self._queue is not None:
            self._frames.seal()
            if self._queue.bytes_count:
                self._output += self._queue.take()
        elif self._open_users and self.has_version:
            open_users, self._open_users = self._open_users, {}
            for packed_users in open_users.values():
                for users in columns(packed_users, self._by_number):
                    self._users_sent += len(users)
                    self._output += self._encoded(users)

    def _encoded(self, message: Message) -> bytes:
        if self.is_native and type(message) not in (Version, Me):
            return native.encode(message)
        return classic.encode(message, self.minor, self._ring.minor)
