"""The frames our own directors speak to each other; PROTOCOL.md describes every byte.

A frame is four bytes of length and one msgpack array: the message's number, then its fields in a
fixed order. Decides how messages become frames and whether a frame is well formed; which message is
legal when, and when frames begin, is `link.py`'s business.

    append-only    a number, once given, means the same message for ever; new ones are added
    extensible     fields beyond those we know are ignored; fields after the required ones may be
                   missing and then have their default

Users travel as packed columns, little-endian. The width of a column is its length divided by the
number of rows, so no byte says it: hashes four bytes, times the difference to the earliest time of
the frame in 0, 1, 2 or 4 bytes, host numbers in 0, 1 or 2 (0: all rows the same). That is 7 bytes a
user in practice, 37 in classic lines, and both ends convert a column with one call of `struct`.
Measured (CPython 3.11, frames of 4,096 users): see `encode` and `decode`.

Rejected: `array.frombytes`, as fast but in native byte order, so that big-endian machines would
need a branch nobody tests. A msgpack array per user: 12 bytes and ten times the time. Compression:
hashes do not compress. A schema library: one table below is the schema.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence

import attrs
import msgpack

from ring import limits
from ring.address import IpAddress
from ring.codec import kinds
from ring.errors import LimitExceeded, RemoteProtocolError, ValueRefused, excerpt
from ring.messages import (
    UNKNOWN_TIMESTAMP,
    Compare,
    Connect,
    Digests,
    Director,
    DirectorRemove,
    Done,
    Hello,
    Host,
    HostFlush,
    HostRemove,
    HostsEnd,
    HostsStart,
    Me,
    Message,
    Options,
    Ping,
    Pong,
    Quit,
    ShardsWanted,
    Sync,
    UserKick,
    UserKickField,
    UserKickHash,
    UserKilled,
    UserKilledEverywhere,
    UserMove,
    Users,
    UserWeak,
    Version,
)

HEADER_BYTES = 4

GOSSIP_NUMBER = 14
EXPORT_NUMBER = 15
_GOSSIP_START = bytes((0x96, GOSSIP_NUMBER))  # an array of six, as we pack them


def encode(message: Message) -> bytes:
    """Return the frame that says `message`.

    Empty if a text in it is longer than `limits.FRAME_TEXT_BYTES_MAX`, which the peer would refuse,
    and for no users. 0.1 us a user.
    """
    if isinstance(message, Users):
        return _frame(_pack_users(message)) if message.hashes else b""
    shape = _SHAPES_BY_TYPE[type(message)]
    values: list[object] = [shape.number]
    try:
        for name, kind in shape.fields:
            values.append(kind.pack(getattr(message, name)))
    except ValueRefused:
        return b""
    return _frame(values)


class Decoder:
    """Turns the bytes of one peer, however they are cut, into messages.

    Gossip frames of which `is_known` says so are passed over unread.
    """

    def __init__(self, is_known: Callable[[bytes], bool] = lambda frame: False) -> None:
        self._is_known = is_known
        self._buffer = bytearray()
        self._offset = 0

    def decode(self, data: bytes) -> Iterator[Message]:
        """Yield every message completed by `data`; must be iterated to its end before the next.

        0.1 us a user.

        Raises:
            RemoteProtocolError: a frame is malformed; what came before it was yielded.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= HEADER_BYTES:
            end = start + HEADER_BYTES + int.from_bytes(buffer[start : start + HEADER_BYTES])
            if end - start > limits.FRAME_BYTES_MAX:
                raise LimitExceeded(
                    f"frame of {end - start} bytes at byte {self._offset}, expected at most "
                    f"{limits.FRAME_BYTES_MAX} (limits.FRAME_BYTES_MAX)",
                    token="frame",
                    quit_reason="Too long frame",
                )
            if end > len(buffer):
                break
            frame = bytes(buffer[start:end])
            if not frame.startswith(_GOSSIP_START, HEADER_BYTES) or not self._is_known(frame):
                yield _decode_body(frame, self._offset)
            self._offset += end - start
            start = end
        del buffer[:start]


# --- frames -----------------------------------------------------------------------------------


def _frame(values: list[object]) -> bytes:
    body: bytes = msgpack.packb(values, unicode_errors="backslashreplace")
    assert HEADER_BYTES + len(body) <= limits.FRAME_BYTES_MAX
    return len(body).to_bytes(HEADER_BYTES) + body


def _decode_body(frame: bytes, offset: int) -> Message:
    """Return the message of a frame that starts `offset` bytes into the stream."""
    body = frame[HEADER_BYTES:]
    name = "frame"
    try:
        values = _unpack_array(body)
        number = values[0] if values else None
        if type(number) is not int:
            raise ValueRefused(f"message number {kinds.shown(number)}, expected a number")
        name = f"frame {number}"
        if number in (GOSSIP_NUMBER, EXPORT_NUMBER):
            name = "Users"
            return _unpack_users(values[1:], b"" if number == EXPORT_NUMBER else frame)
        if number not in _SHAPES_BY_NUMBER:
            raise ValueRefused("unknown message number")
        shape = _SHAPES_BY_NUMBER[number]
        name = shape.make.__name__
        return _unpack_fields(shape, values[1:])
    except ValueRefused as error:
        raise RemoteProtocolError(
            f"{name} at byte {offset}: {error}; frame '{excerpt(body)}'", token=name
        ) from None


def _unpack_array(body: bytes) -> tuple[object, ...]:
    try:
        # Arrays become tuples and maps lists, so that they cannot be taken for each other.
        values = msgpack.unpackb(body, use_list=False, object_pairs_hook=list, strict_map_key=False)
    except ValueError as error:
        raise ValueRefused(f"{excerpt(str(error).encode())}, expected one msgpack array") from None
    if not isinstance(values, tuple):
        raise ValueRefused(f"{kinds.shown(values)}, expected a msgpack array")
    return values


def _unpack_fields(shape: Shape, values: tuple[object, ...]) -> Message:
    if len(values) < shape.required:
        raise ValueRefused(f"{len(values)} fields, expected at least {shape.required}")
    fields: dict[str, object] = {}
    for (name, kind), value in zip(shape.fields, values, strict=False):
        try:
            fields[name] = kind.unpack(value)
        except ValueRefused as error:
            raise ValueRefused(f"{name} {kinds.shown(value)}, expected {error}") from None
    return shape.make(**fields)


# --- users ------------------------------------------------------------------------------------


def _pack_users(users: Users) -> list[object]:
    """Return the frame's values. hot: sim/bench gossip"""
    hashes = users.hashes
    timestamps = users.timestamps
    indexes = users.host_indexes
    count = len(hashes)
    earliest = min(timestamps)
    latest = max(timestamps)
    assert count <= limits.FRAME_USERS_MAX
    assert count == len(timestamps)
    assert count == len(indexes)
    assert len(users.hosts) <= limits.HOSTS_MAX
    assert latest < UNKNOWN_TIMESTAMP
    assert 0 not in hashes
    values: list[object] = [
        EXPORT_NUMBER if users.is_handshake else GOSSIP_NUMBER,
        struct.pack(f"<{count}I", *hashes),
        earliest,
        _pack_column([t - earliest for t in timestamps], latest - earliest),
        [ip.packed for ip in users.hosts],
        _pack_column(indexes, max(indexes)),
    ]
    if users.is_handshake and users.weak:
        values.append(struct.pack(f"<{len(users.weak)}H", *sorted(users.weak)))
    return values


def _pack_column(column: Sequence[int], largest: int) -> bytes:
    if largest == 0:
        return b""
    if largest <= 0xFF:
        return bytes(column)
    return struct.pack(f"<{len(column)}{'H' if largest <= 0xFFFF else 'I'}", *column)


def _unpack_users(values: tuple[object, ...], frame: bytes) -> Users:
    """Return the columns of a frame's values; `frame` is empty for an export. hot: bench gossip"""
    is_handshake = not frame
    if len(values) < 5:
        raise ValueRefused(f"{len(values)} fields, expected at least 5")
    packed = kinds.bytes_of("hashes", values[0])
    count = len(packed) // 4
    if len(packed) % 4 or not 0 < count <= limits.FRAME_USERS_MAX:
        raise ValueRefused(
            f"hashes of {len(packed)} bytes, expected 4 for each of 1 to {limits.FRAME_USERS_MAX}"
        )
    hashes = struct.unpack(f"<{count}I", packed)
    if 0 in hashes:
        raise ValueRefused(f"hash 0 in row {hashes.index(0)}, expected 1 to {kinds.UINT32_MAX}")
    earliest = values[1]
    if type(earliest) is not int or not 0 <= earliest < UNKNOWN_TIMESTAMP:
        raise ValueRefused(f"time {kinds.shown(earliest)}, expected 0 to {UNKNOWN_TIMESTAMP - 1}")
    deltas = _unpack_column("times", values[2], count)
    if earliest + max(deltas) >= UNKNOWN_TIMESTAMP:
        raise ValueRefused(f"time {earliest + max(deltas)}, expected under {UNKNOWN_TIMESTAMP}")
    hosts = _unpack_hosts(values[3])
    indexes = _unpack_column("host indexes", values[4], count)
    if max(indexes) >= len(hosts):
        raise ValueRefused(f"host index {max(indexes)}, expected under {len(hosts)}")
    return Users(
        hashes=hashes,
        timestamps=[earliest + delta for delta in deltas],
        hosts=hosts,
        host_indexes=indexes,
        weak=_unpack_weak(values[5], count) if is_handshake and len(values) > 5 else frozenset(),
        is_handshake=is_handshake,
        frame=frame,
    )


def _unpack_column(name: str, value: object, count: int) -> Sequence[int]:
    packed = kinds.bytes_of(name, value)
    if not packed:
        return bytes(count)
    if len(packed) == count:
        return packed
    if len(packed) == 2 * count:
        return struct.unpack(f"<{count}H", packed)
    if len(packed) == 4 * count:
        return struct.unpack(f"<{count}I", packed)
    raise ValueRefused(f"{name} of {len(packed)} bytes, expected 0, 1, 2 or 4 for each of {count}")


def _unpack_hosts(value: object) -> list[IpAddress]:
    if not isinstance(value, tuple) or not 0 < len(value) <= limits.HOSTS_MAX:
        raise ValueRefused(
            f"hosts {kinds.shown(value)}, expected 1 to {limits.HOSTS_MAX} addresses"
        )
    try:
        return [kinds.unpack_ip(ip) for ip in value]
    except ValueRefused as error:
        raise ValueRefused(f"hosts {kinds.shown(value)}, expected {error}") from None


def _unpack_weak(value: object, count: int) -> frozenset[int]:
    packed = kinds.bytes_of("weak rows", value)
    if len(packed) % 2:
        raise ValueRefused(f"weak rows of {len(packed)} bytes, expected 2 each")
    rows = struct.unpack(f"<{len(packed) // 2}H", packed)
    if rows and max(rows) >= count:
        raise ValueRefused(f"weak row {max(rows)}, expected under {count}")
    return frozenset(rows)


# --- messages ---------------------------------------------------------------------------------


@attrs.frozen
class Shape:
    """The fields after the first `required` ones may be missing: the class has their defaults."""

    number: int
    make: Callable[..., Message]
    fields: tuple[tuple[str, kinds.Kind], ...]
    required: int


def _shape(
    number: int, make: type[Message], *fields: tuple[str, kinds.Kind], optional: int = 0
) -> Shape:
    return Shape(number, make, fields, len(fields) - optional)


# Append-only. 14 and 15 are the users, gossiped and exported. 1 and 2 have numbers for completeness
# only: they are always said in classic lines, before frames begin.
SHAPES = (
    _shape(1, Version, ("major", kinds.UINT32), ("minor", kinds.UINT32)),
    _shape(2, Me, ("address", kinds.PLACE), ("wall", kinds.optional(kinds.SECONDS))),
    _shape(3, Hello, ("director_hash", kinds.PROSE), ("users_count", kinds.SIZE), optional=1),
    _shape(4, Director, ("address", kinds.PLACE), ("last_sequence", kinds.UINT32), optional=1),
    _shape(5, DirectorRemove, ("address", kinds.PLACE)),
    _shape(6, HostsStart, ("is_complete", kinds.FLAG)),
    _shape(7, HostsEnd, ("is_complete", kinds.FLAG)),
    _shape(
        8,
        Host,
        ("stamp", kinds.optional(kinds.STAMP)),
        ("ip", kinds.IP),
        ("weight", kinds.WEIGHT),
        ("tag", kinds.TEXT),
        ("is_down", kinds.FLAG),
        ("changed_at", kinds.SECONDS),
        ("hostname", kinds.TEXT),
        ("weight_set_at", kinds.optional(kinds.MILLISECONDS)),
        optional=5,
    ),
    _shape(
        9,
        HostRemove,
        ("stamp", kinds.STAMP),
        ("ip", kinds.IP),
        ("removed_at", kinds.optional(kinds.MILLISECONDS)),
        optional=1,
    ),
    _shape(10, HostFlush, ("stamp", kinds.STAMP), ("ip", kinds.IP)),
    _shape(11, Options, ("names", kinds.TEXTS)),
    _shape(12, Done),
    _shape(13, Quit, ("reason", kinds.PROSE)),
    _shape(16, UserWeak, ("stamp", kinds.STAMP), ("user_hash", kinds.HASH), ("ip", kinds.IP)),
    _shape(
        17,
        UserMove,
        ("stamp", kinds.STAMP),
        ("user_hash", kinds.HASH),
        ("ip", kinds.IP),
        ("after", kinds.optional(kinds.STAMP)),
        optional=1,
    ),
    _shape(18, UserKick, ("stamp", kinds.STAMP), ("user", kinds.TEXT)),
    _shape(19, UserKickField, ("stamp", kinds.STAMP), ("field", kinds.TEXT), ("value", kinds.TEXT)),
    _shape(
        20, UserKickHash, ("stamp", kinds.STAMP), ("user_hash", kinds.HASH), ("except_ip", kinds.IP)
    ),
    _shape(
        21,
        UserKilled,
        ("user_hash", kinds.HASH),
        ("move", kinds.optional(kinds.STAMP)),
        ("path", kinds.PLACES),
        ("ip", kinds.optional(kinds.IP)),
        ("after", kinds.optional(kinds.STAMP)),
        ("is_idle", kinds.FLAG),
        optional=5,
    ),
    _shape(
        22,
        UserKilledEverywhere,
        ("stamp", kinds.STAMP),
        ("user_hash", kinds.HASH),
        ("move", kinds.optional(kinds.STAMP)),
        ("is_idle", kinds.FLAG),
        optional=2,
    ),
    _shape(
        23,
        Sync,
        ("origin", kinds.PLACE),
        ("sequence", kinds.UINT32),
        ("minor", kinds.UINT32),
        ("timestamp", kinds.UINT32),
        ("hosts_hash", kinds.UINT32),
    ),
    _shape(
        24,
        Ping,
        ("wall", kinds.optional(kinds.SECONDS)),
        ("unsent_bytes", kinds.optional(kinds.SIZE)),
    ),
    _shape(
        25,
        Pong,
        ("wall", kinds.optional(kinds.SECONDS)),
        ("unsent_bytes", kinds.optional(kinds.SIZE)),
    ),
    _shape(26, Connect, ("address", kinds.PLACE)),
    _shape(27, Digests, ("tag", kinds.TEXT), ("first", kinds.SHARD), ("digests", kinds.DIGESTS)),
    _shape(28, ShardsWanted, ("tag", kinds.TEXT), ("shards", kinds.SHARDS)),
    _shape(29, Compare),
)

_SHAPES_BY_NUMBER = {shape.number: shape for shape in SHAPES}
_SHAPES_BY_TYPE = {shape.make: shape for shape in SHAPES}
