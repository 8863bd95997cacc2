"""The kinds of fields a frame has: how each is written, and what it may be when it is read.

`unpack` raises ValueRefused with what was expected; its caller says which field got what.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable

import attrs

from ring import limits
from ring.address import DirectorAddress, IpAddress
from ring.errors import ValueRefused, excerpt
from ring.messages import SHARDS_COUNT, Stamp

UINT32_MAX = 0xFFFFFFFF
INT64_MIN = -(1 << 63)
INT64_MAX = (1 << 63) - 1


def shown(value: object) -> str:
    if isinstance(value, tuple | list):  # may be nested as deeply as the peer likes
        return f"array of {len(value)}" if isinstance(value, tuple) else f"map of {len(value)}"
    return excerpt(repr(value).encode())


def bytes_of(name: str, value: object) -> bytes:
    if not isinstance(value, bytes):
        raise ValueRefused(f"{name} {shown(value)}, expected bytes")
    return value


@attrs.frozen
class Kind:
    name: str
    pack: Callable[..., object]
    unpack: Callable[[object], object]


def _same(value: object) -> object:
    return value


def _integer(name: str, lowest: int, highest: int) -> Kind:
    def unpack(value: object) -> int:
        if type(value) is not int or not lowest <= value <= highest:  # a bool is none
            raise ValueRefused(f"a number from {lowest} to {highest}")
        return value

    return Kind(name, _same, unpack)


def optional(kind: Kind) -> Kind:
    return Kind(
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


def unpack_ip(value: object) -> IpAddress:
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
    return DirectorAddress(ip=unpack_ip(value[0]), port=port)


def _unpack_stamp(value: object) -> Stamp:
    if not isinstance(value, tuple) or len(value) < 3:
        raise ValueRefused("an array of address, port and sequence")
    sequence = value[2]
    if type(sequence) is not int or not 0 <= sequence <= UINT32_MAX:
        raise ValueRefused(f"a sequence from 0 to {UINT32_MAX}")
    return Stamp(origin=_unpack_place(value), sequence=sequence)


def _unpack_digests(value: object) -> tuple[int, ...]:
    packed = bytes_of("digests", value)
    if len(packed) % 8 or len(packed) > 8 * SHARDS_COUNT:
        raise ValueRefused(f"8 bytes for each of at most {SHARDS_COUNT} shards")
    return struct.unpack(f"<{len(packed) // 8}Q", packed)


def _unpack_shards(value: object) -> tuple[int, ...]:
    packed = bytes_of("shards", value)
    if len(packed) > SHARDS_COUNT:
        raise ValueRefused(f"a byte for each of at most {SHARDS_COUNT} shards")
    return tuple(packed)


UINT32 = _integer("u32", 0, UINT32_MAX)
HASH = _integer("hash", 1, UINT32_MAX)
WEIGHT = _integer("weight", 0, limits.RING_WEIGHT_MAX)
SECONDS = _integer("seconds", INT64_MIN, INT64_MAX)
MILLISECONDS = _integer("milliseconds", 0, INT64_MAX)
SIZE = _integer("size", 0, INT64_MAX)
FLAG = Kind("flag", _same, _unpack_flag)
TEXT = Kind("text", _pack_text, _unpack_text)
TEXTS = Kind("texts", lambda texts: [_pack_text(text) for text in texts], _unpack_texts)
PROSE = Kind("prose", _pack_prose, _unpack_prose)
IP = Kind("ip", lambda ip: ip.packed, unpack_ip)
PLACE = Kind("place", _pack_place, _unpack_place)
PLACES = Kind("places", lambda places: [_pack_place(place) for place in places], _unpack_places)
SHARD = _integer("shard", 0, SHARDS_COUNT - 1)
DIGESTS = Kind(
    "digests", lambda digests: struct.pack(f"<{len(digests)}Q", *digests), _unpack_digests
)
SHARDS = Kind("shards", bytes, _unpack_shards)
STAMP = Kind(
    "stamp",
    lambda stamp: (stamp.origin.ip.packed, stamp.origin.port, stamp.sequence),
    _unpack_stamp,
)
