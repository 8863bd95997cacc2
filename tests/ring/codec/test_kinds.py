"""Each kind of field comes back as it was, and refuses what it is not with what it expected."""

from __future__ import annotations

import ipaddress

import pytest

from ring import limits
from ring.address import DirectorAddress
from ring.codec import kinds
from ring.codec.kinds import Kind
from ring.errors import ValueRefused
from ring.messages import Stamp

IP = ipaddress.IPv4Address("10.0.0.1")
IP6 = ipaddress.IPv6Address("2001:db8::1")
PLACE = DirectorAddress(ip=IP, port=9090)
OTHER_PLACE = DirectorAddress(ip=IP6, port=65535)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (kinds.UINT32, 0),
        (kinds.UINT32, kinds.UINT32_MAX),
        (kinds.HASH, 1),
        (kinds.WEIGHT, limits.RING_WEIGHT_MAX),
        (kinds.SECONDS, -1),
        (kinds.SIZE, kinds.INT64_MAX),
        (kinds.FLAG, True),
        (kinds.TEXT, b"\xff\x00"),
        (kinds.TEXTS, (b"", b"a")),
        (kinds.PROSE, "why"),
        (kinds.IP, IP),
        (kinds.IP, IP6),
        (kinds.PLACE, PLACE),
        (kinds.PLACES, (PLACE, OTHER_PLACE)),
        (kinds.SHARD, 255),
        (kinds.DIGESTS, (0, (1 << 64) - 1)),
        (kinds.SHARDS, (0, 255)),
        (kinds.STAMP, Stamp(origin=OTHER_PLACE, sequence=7)),
        (kinds.optional(kinds.IP), None),
        (kinds.optional(kinds.IP), IP),
    ],
    ids=lambda x: x.name if isinstance(x, Kind) else repr(x)[:20],
)
def test_a_value_comes_back_as_it_was(kind: Kind, value: object) -> None:
    packed = kind.pack(value)

    # msgpack makes tuples of arrays, whatever they were made of.
    assert value == kind.unpack(tuple(packed) if isinstance(packed, list) else packed)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (kinds.UINT32, -1, "a number from 0 to 4294967295"),
        (kinds.UINT32, True, "a number from 0 to 4294967295"),
        (kinds.HASH, 0, "a number from 1 to 4294967295"),
        (kinds.SHARD, 256, "a number from 0 to 255"),
        (kinds.FLAG, 1, "true or false"),
        (kinds.TEXT, "a", "bytes"),
        (kinds.TEXT, b"a" * (limits.FRAME_TEXT_BYTES_MAX + 1), "at most [0-9]+ bytes"),
        (kinds.TEXTS, b"a", "an array of bytes"),
        (kinds.PROSE, b"why", "a string of at most [0-9]+ characters"),
        (kinds.IP, b"12345", "an address of 4 or 16 bytes"),
        (kinds.PLACE, (b"1234",), "an array of address and port"),
        (kinds.PLACE, (b"1234", 0), "a port from 1 to 65535"),
        (
            kinds.PLACES,
            ((b"1234", 1),) * (limits.DIRECTORS_MAX + 1),
            "an array of at most [0-9]+ directors",
        ),
        (kinds.DIGESTS, b"1234567", "8 bytes for each of at most 256 shards"),
        (kinds.SHARDS, b"s" * 257, "a byte for each of at most 256 shards"),
        (kinds.STAMP, (b"1234", 1), "an array of address, port and sequence"),
        (kinds.STAMP, (b"1234", 1, -1), "a sequence from 0 to 4294967295"),
        (kinds.optional(kinds.IP), b"", "an address of 4 or 16 bytes"),
    ],
    ids=lambda x: x.name if isinstance(x, Kind) else repr(x)[:20],
)
def test_another_value_is_refused(kind: Kind, value: object, expected: str) -> None:
    with pytest.raises(ValueRefused, match=f"^{expected}$"):
        kind.unpack(value)


def test_what_a_peer_sent_is_shown_in_few_words() -> None:
    assert ["array of 2", "map of 1", "'a'"] == [
        kinds.shown(value) for value in ((1, (2,)), [("a", 1)], "a")
    ]


def test_a_text_that_is_too_long_is_not_sent_either() -> None:
    with pytest.raises(ValueRefused, match="at most"):
        kinds.TEXT.pack(b"a" * (limits.FRAME_TEXT_BYTES_MAX + 1))
