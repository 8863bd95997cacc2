"""Messages for the codec tests: Hypothesis strategies, and one flat form to compare streams in."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeAlias

from hypothesis import strategies as st

from ring import limits
from ring.address import DirectorAddress, IpAddress
from ring.errors import RemoteProtocolError
from ring.messages import (
    UNKNOWN_TIMESTAMP,
    Connect,
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

Row: TypeAlias = tuple[int, IpAddress, int, bool, bool]

V4 = ipaddress.ip_address("10.1.0.1")
V6 = ipaddress.ip_address("2001:db8::1")
PLACE = DirectorAddress(ip=ipaddress.ip_address("10.0.0.1"), port=9090)
STAMP = Stamp(origin=PLACE, sequence=7)


class Decoder(Protocol):
    def decode(self, data: bytes) -> Iterator[Message]: ...


def users(
    rows: Iterable[tuple[int, IpAddress, int]],
    *,
    is_handshake: bool = False,
    weak: frozenset[int] = frozenset(),
) -> Users:
    """Build columns from `(hash, ip, timestamp)` rows."""
    rows = list(rows)
    hosts = list(dict.fromkeys(ip for _, ip, _ in rows))
    return Users(
        hashes=[h for h, _, _ in rows],
        timestamps=[t for _, _, t in rows],
        hosts=hosts,
        host_indexes=[hosts.index(ip) for _, ip, _ in rows],
        weak=weak,
        is_handshake=is_handshake,
    )


def flat(messages: Iterable[Message]) -> list[Message | Row]:
    """Replace each `Users` by its rows, so that how rows were grouped does not count."""
    result: list[Message | Row] = []
    for message in messages:
        if isinstance(message, Users):
            result.extend(
                (h, message.hosts[i], t, row in message.weak, message.is_handshake)
                for row, (h, i, t) in enumerate(
                    zip(message.hashes, message.host_indexes, message.timestamps, strict=True)
                )
            )
        else:
            result.append(message)
    return result


def decode(
    decoder: Decoder, data: bytes, cuts: Iterable[int] = ()
) -> tuple[list[Message], RemoteProtocolError | None]:
    """Feed `data` cut at these positions; return what came out and what stopped it."""
    messages: list[Message] = []
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    try:
        for start, end in itertools.pairwise(places):
            messages.extend(decoder.decode(data[start:end]))
    except RemoteProtocolError as error:
        return messages, error
    return messages, None


def damaged(data: bytes, damages: Iterable[tuple[int, bytes, int]]) -> bytes:
    """Replace at each position (taken modulo the length) so many bytes by others."""
    broken = bytearray(data)
    for position, replacement, size in damages:
        start = position % (len(broken) + 1)
        broken[start : start + size] = replacement
    return bytes(broken)


cuts = st.lists(st.integers(1, 400), max_size=10)
damages = st.lists(
    st.tuples(st.integers(0, 2000), st.binary(max_size=4), st.integers(0, 4)),
    min_size=1,
    max_size=4,
)

uint32 = st.integers(0, 0xFFFFFFFF)
user_hashes = st.integers(1, 0xFFFFFFFF)
user_times = st.integers(0, UNKNOWN_TIMESTAMP - 1)
times = st.integers(-(1 << 63), (1 << 63) - 1)
sizes = st.integers(0, (1 << 63) - 1)
ips = st.one_of(
    st.sampled_from([V4, V6]),
    st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address),
    st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address),
)
places = st.builds(DirectorAddress, ip=ips, port=st.integers(1, 0xFFFF))
stamps = st.builds(Stamp, origin=places, sequence=uint32)
c_texts = st.lists(st.integers(1, 255), max_size=40).map(bytes)  # NUL ends a string of C
reasons = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=60)
rows = st.lists(st.tuples(user_hashes, ips, user_times), min_size=1, max_size=20)


def hosts(stamp: st.SearchStrategy[Stamp | None]) -> st.SearchStrategy[Host]:
    return st.builds(
        Host,
        stamp=stamp,
        ip=ips,
        weight=st.integers(0, limits.RING_WEIGHT_MAX),
        tag=c_texts,
        is_down=st.booleans(),
        changed_at=times,
        hostname=c_texts,
    )


def diagnostics(kind: type[Ping] | type[Pong]) -> st.SearchStrategy[Message]:
    said = st.builds(kind, wall=st.integers(0, (1 << 63) - 1), unsent_bytes=sizes)
    return said | st.just(kind(wall=None, unsent_bytes=None))


gossip = rows.map(users)
exports = st.builds(
    lambda rows, weak: users(rows, is_handshake=True, weak=frozenset(i % len(rows) for i in weak)),
    rows,
    st.lists(st.integers(0, 19), max_size=3),
)

# Everything that is spelled the same wherever it stands.
plain_messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Version, major=st.just(1), minor=uint32),
    st.builds(Me, address=places, wall=st.none() | times),
    st.builds(Director, places),  # and with a number on native links only
    st.builds(DirectorRemove, places),
    hosts(stamps),
    st.builds(HostRemove, stamp=stamps, ip=ips),
    st.builds(HostFlush, stamp=stamps, ip=ips),
    gossip,
    exports,
    st.builds(UserWeak, stamp=stamps, user_hash=user_hashes, ip=ips),
    st.builds(UserMove, stamp=stamps, user_hash=user_hashes, ip=ips),
    st.builds(UserKick, stamp=stamps, user=c_texts),
    st.builds(UserKickField, stamp=stamps, field=c_texts, value=c_texts),
    st.builds(UserKickHash, stamp=stamps, user_hash=user_hashes, except_ip=ips),
    st.builds(UserKilled, user_hashes),
    st.builds(UserKilledEverywhere, stamp=stamps, user_hash=user_hashes),
    st.builds(
        Sync,
        origin=places,
        sequence=uint32,
        minor=st.integers(1, 0xFFFFFFFF),
        timestamp=user_times,
        hosts_hash=uint32,
    ),
    diagnostics(Ping),
    diagnostics(Pong),
    st.builds(Connect, places),
    st.builds(Options, st.lists(st.sampled_from([b"consistent-hashing", b""])).map(tuple)),
    st.just(Done()),
    st.builds(Quit, reasons),
)

host_blocks: st.SearchStrategy[list[Message]] = st.builds(
    lambda start, block, end: [HostsStart(start), *block, HostsEnd(end)],
    st.booleans(),
    st.lists(hosts(st.none()), max_size=4),
    st.booleans(),
)

# A stream as a director may send it: host blocks in one piece.
streams: st.SearchStrategy[list[Message]] = st.lists(
    plain_messages.map(lambda message: [message]) | host_blocks, max_size=8
).map(lambda parts: [message for part in parts for message in part])

hellos: st.SearchStrategy[Message] = st.builds(Hello, director_hash=reasons)
