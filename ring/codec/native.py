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

import ipaddress
import struct
from collections.abc import Callable, Iterator, Sequence

import attrs
import msgpack

from ring import limits
from ring.address import DirectorAddress, IpAddress
from ring.errors import LimitExceeded, RemoteProtocolError, ValueRefused, excerpt
from ring.messages import (
    UNKNOWN_TIMESTAMP,
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
    Stamp,
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
SHARDS_COUNT = 256
UINT32_MAX = 0xFFFFFFFF
INT64_MIN = -(1 << 63)
INT64_MAX = (1 << 63) - 1

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
            raise ValueRefused(f"message number {_shown(number)}, expected a number")
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
        raise ValueRefused(f"{_shown(values)}, expected a msgpack array")
    return values


def _unpack_fields(shape: Shape, values: tuple[object, ...]) -> Message:
    if len(values) < shape.required:
        raise ValueRefused(f"{len(values)} fields, expected at least {shape.required}")
    fields: dict[str, object] = {}
    for (name, kind), value in zip(shape.fields, values, strict=False):
        try:
            fields[name] = kind.unpack(value)
        except ValueRefused as error:
            raise ValueRefused(f"{name} {_shown(value)}, expected {error}") from None
    return shape.make(**fields)


def _shown(value: object) -> str:
    if isinstance(value, tuple | list):  # may be nested as deeply as the peer likes
        return f"array of {len(value)}" if isinstance(value, tuple) else f"map of {len(value)}"
    return excerpt(repr(value).encode())


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
    packed = _bytes("hashes", values[0])
    count = len(packed) // 4
    if len(packed) % 4 or not 0 < count <= limits.FRAME_USERS_MAX:
        raise ValueRefused(
            f"hashes of {len(packed)} bytes, expected 4 for each of 1 to {limits.FRAME_USERS_MAX}"
        )
    hashes = struct.unpack(f"<{count}I", packed)
    if 0 in hashes:
        raise ValueRefused(f"hash 0 in row {hashes.index(0)}, expected 1 to {UINT32_MAX}")
    earliest = values[1]
    if type(earliest) is not int or not 0 <= earliest < UNKNOWN_TIMESTAMP:
        raise ValueRefused(f"time {_shown(earliest)}, expected 0 to {UNKNOWN_TIMESTAMP - 1}")
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
    packed = _bytes(name, value)
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
        raise ValueRefused(f"hosts {_shown(value)}, expected 1 to {limits.HOSTS_MAX} addresses")
    try:
        return [_unpack_ip(ip) for ip in value]
    except ValueRefused as error:
        raise ValueRefused(f"hosts {_shown(value)}, expected {error}") from None


def _unpack_weak(value: object, count: int) -> frozenset[int]:
    packed = _bytes("weak rows", value)
    if len(packed) % 2:
        raise ValueRefused(f"weak rows of {len(packed)} bytes, expected 2 each")
    rows = struct.unpack(f"<{len(packed) // 2}H", packed)
    if rows and max(rows) >= count:
        raise ValueRefused(f"weak row {max(rows)}, expected under {count}")
    return frozenset(rows)


def _bytes(name: str, value: object) -> bytes:
    if not isinstance(value, bytes):
        raise ValueRefused(f"{name} {_shown(value)}, expected bytes")
    return value


# --- kinds of fields --------------------------------------------------------------------------
# `unpack` raises ValueRefused with what was expected; its caller says which field got what.


@attrs.frozen
class _Kind:
    name: str
    pack: Callable[..., object]
    unpack: Callable[[object], object]


def _same(value: object) -> object:
    return value


def _integer(name: str, lowest: int, highest: int) -> _Kind:
    def unpack(value: object) -> int:
        if type(value) is not int or not lowest <= value <= highest:  # a bool is none
            raise ValueRefused(f"a number from {lowest} to {highest}")
        return value

    return _Kind(name, _same, unpack)


def _optional(kind: _Kind) -> _Kind:
    return _Kind(
        f"{kind.name} or nil",
        lambda value: None if value is None else kind.pack(value),
        lambda value: None if value is None else kind.unpack(value),
    )


def _unpack_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueRefused("true or false")
    return value


def _pack_text(text: bytes) -> bytes:
    if len(text) > limits.FRAME_TEXT_BYTES_MAX:
        raise ValueRefused(f"at most {limits.FRAME_TEXT_BYTES_MAX} bytes")
    return text


def _unpack_text(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise ValueRefused("bytes")
    return _pack_text(value)


def _unpack_texts(value: object) -> tuple[bytes, ...]:
    if not isinstance(value, tuple):
        raise ValueRefused("an array of bytes")
    return tuple(_unpack_text(text) for text in value)


def _pack_prose(text: str) -> str:
    return text[: limits.FRAME_TEXT_BYTES_MAX]


def _unpack_prose(value: object) -> str:
    if not isinstance(value, str) or len(value) > limits.FRAME_TEXT_BYTES_MAX:
        raise ValueRefused(f"a string of at most {limits.FRAME_TEXT_BYTES_MAX} characters")
    return value


def _unpack_ip(value: object) -> IpAddress:
    if isinstance(value, bytes) and len(value) == 4:
        return ipaddress.IPv4Address(value)
    if isinstance(value, bytes) and len(value) == 16:
        return ipaddress.IPv6Address(value)
    raise ValueRefused("an address of 4 or 16 bytes")


def _pack_place(place: DirectorAddress) -> tuple[bytes, int]:
    return place.ip.packed, place.port


def _unpack_places(value: object) -> tuple[DirectorAddress, ...]:
    if not isinstance(value, tuple) or len(value) > limits.DIRECTORS_MAX:
        raise ValueRefused(f"an array of at most {limits.DIRECTORS_MAX} directors")
    return tuple(_unpack_place(place) for place in value)


def _unpack_place(value: object) -> DirectorAddress:
    if not isinstance(value, tuple) or len(value) < 2:
        raise ValueRefused("an array of address and port")
    port = value[1]
    if type(port) is not int or not 0 < port <= 0xFFFF:
        raise ValueRefused("a port from 1 to 65535")
    return DirectorAddress(ip=_unpack_ip(value[0]), port=port)


def _unpack_stamp(value: object) -> Stamp:
    if not isinstance(value, tuple) or len(value) < 3:
        raise ValueRefused("an array of address, port and sequence")
    sequence = value[2]
    if type(sequence) is not int or not 0 <= sequence <= UINT32_MAX:
        raise ValueRefused(f"a sequence from 0 to {UINT32_MAX}")
    return Stamp(origin=_unpack_place(value), sequence=sequence)


def _unpack_digests(value: object) -> tuple[int, ...]:
    packed = _bytes("digests", value)
    if len(packed) % 8 or len(packed) > 8 * SHARDS_COUNT:
        raise ValueRefused(f"8 bytes for each of at most {SHARDS_COUNT} shards")
    return struct.unpack(f"<{len(packed) // 8}Q", packed)


def _unpack_shards(value: object) -> tuple[int, ...]:
    packed = _bytes("shards", value)
    if len(packed) > SHARDS_COUNT:
        raise ValueRefused(f"a byte for each of at most {SHARDS_COUNT} shards")
    return tuple(packed)


_UINT32 = _integer("u32", 0, UINT32_MAX)
_HASH = _integer("hash", 1, UINT32_MAX)
_WEIGHT = _integer("weight", 0, limits.RING_WEIGHT_MAX)
_SECONDS = _integer("seconds", INT64_MIN, INT64_MAX)
_SIZE = _integer("size", 0, INT64_MAX)
_FLAG = _Kind("flag", _same, _unpack_flag)
_TEXT = _Kind("text", _pack_text, _unpack_text)
_TEXTS = _Kind("texts", lambda texts: [_pack_text(text) for text in texts], _unpack_texts)
_PROSE = _Kind("prose", _pack_prose, _unpack_prose)
_IP = _Kind("ip", lambda ip: ip.packed, _unpack_ip)
_PLACE = _Kind("place", _pack_place, _unpack_place)
_PLACES = _Kind("places", lambda places: [_pack_place(place) for place in places], _unpack_places)
_SHARD = _integer("shard", 0, SHARDS_COUNT - 1)
_DIGESTS = _Kind(
    "digests", lambda digests: struct.pack(f"<{len(digests)}Q", *digests), _unpack_digests
)
_SHARDS = _Kind("shards", bytes, _unpack_shards)
_STAMP = _Kind(
    "stamp",
    lambda stamp: (stamp.origin.ip.packed, stamp.origin.port, stamp.sequence),
    _unpack_stamp,
)


# --- messages ---------------------------------------------------------------------------------


@attrs.frozen
class Shape:
    """The fields after the first `required` ones may be missing: the class has their defaults."""

    number: int
    make: Callable[..., Message]
    fields: tuple[tuple[str, _Kind], ...]
    required: int


def _shape(
    number: int, make: type[Message], *fields: tuple[str, _Kind], optional: int = 0
) -> Shape:
    return Shape(number, make, fields, len(fields) - optional)


# Append-only. 14 and 15 are the users, gossiped and exported. 1 and 2 have numbers for completeness
# only: they are always said in classic lines, before frames begin.
SHAPES = (
    _shape(1, Version, ("major", _UINT32), ("minor", _UINT32)),
    _shape(2, Me, ("address", _PLACE), ("wall", _optional(_SECONDS))),
    _shape(3, Hello, ("director_hash", _PROSE), ("users_count", _SIZE), optional=1),
    _shape(4, Director, ("address", _PLACE), ("last_sequence", _UINT32), optional=1),
    _shape(5, DirectorRemove, ("address", _PLACE)),
    _shape(6, HostsStart, ("is_complete", _FLAG)),
    _shape(7, HostsEnd, ("is_complete", _FLAG)),
    _shape(
        8,
        Host,
        ("stamp", _optional(_STAMP)),
        ("ip", _IP),
        ("weight", _WEIGHT),
        ("tag", _TEXT),
        ("is_down", _FLAG),
        ("changed_at", _SECONDS),
        ("hostname", _TEXT),
        optional=4,
    ),
    _shape(9, HostRemove, ("stamp", _STAMP), ("ip", _IP)),
    _shape(10, HostFlush, ("stamp", _STAMP), ("ip", _IP)),
    _shape(11, Options, ("names", _TEXTS)),
    _shape(12, Done),
    _shape(13, Quit, ("reason", _PROSE)),
    _shape(16, UserWeak, ("stamp", _STAMP), ("user_hash", _HASH), ("ip", _IP)),
    _shape(
        17,
        UserMove,
        ("stamp", _STAMP),
        ("user_hash", _HASH),
        ("ip", _IP),
        ("after", _optional(_STAMP)),
        optional=1,
    ),
    _shape(18, UserKick, ("stamp", _STAMP), ("user", _TEXT)),
    _shape(19, UserKickField, ("stamp", _STAMP), ("field", _TEXT), ("value", _TEXT)),
    _shape(20, UserKickHash, ("stamp", _STAMP), ("user_hash", _HASH), ("except_ip", _IP)),
    _shape(
        21,
        UserKilled,
        ("user_hash", _HASH),
        ("move", _optional(_STAMP)),
        ("path", _PLACES),
        ("ip", _optional(_IP)),
        ("after", _optional(_STAMP)),
        ("is_idle", _FLAG),
        optional=5,
    ),
    _shape(
        22,
        UserKilledEverywhere,
        ("stamp", _STAMP),
        ("user_hash", _HASH),
        ("move", _optional(_STAMP)),
        ("is_idle", _FLAG),
        optional=2,
    ),
    _shape(
        23,
        Sync,
        ("origin", _PLACE),
        ("sequence", _UINT32),
        ("minor", _UINT32),
        ("timestamp", _UINT32),
        ("hosts_hash", _UINT32),
    ),
    _shape(24, Ping, ("wall", _optional(_SECONDS)), ("unsent_bytes", _optional(_SIZE))),
    _shape(25, Pong, ("wall", _optional(_SECONDS)), ("unsent_bytes", _optional(_SIZE))),
    _shape(26, Connect, ("address", _PLACE)),
    _shape(27, Digests, ("tag", _TEXT), ("first", _SHARD), ("digests", _DIGESTS)),
    _shape(28, ShardsWanted, ("tag", _TEXT), ("shards", _SHARDS)),
)

_SHAPES_BY_NUMBER = {shape.number: shape for shape in SHAPES}
_SHAPES_BY_TYPE = {shape.make: shape for shape in SHAPES}
