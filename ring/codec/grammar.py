"""Which fields a classic line has, what they may be, and the message they make.

One line without its end goes in, one message comes out. Decides the number of fields and the range
of each (ring-protocol.md sections 3, 7 and 8); how bytes become lines, and the short way that user
lines usually take, is `classic.py`.

The table at the end is the grammar; a field too many is refused only where the original counts
exactly. We refuse more than it does in two places, because the original would abort or build
millions of points if it believed us when we pass it on (section 16): a user hash of zero, and a
weight above `limits.RING_WEIGHT_MAX`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import attrs

from ring import limits
from ring.address import DirectorAddress, IpAddress, parse_ip
from ring.codec import tabs
from ring.errors import ValueRefused, excerpt
from ring.messages import (
    UNKNOWN_TIMESTAMP,
    Connect,
    Director,
    DirectorRemove,
    Done,
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

UINT32_MAX = 0xFFFFFFFF

_TIME = re.compile(rb"-?[0-9]+")


class VersionRefused(ValueRefused):
    """A VERSION we cannot talk to, which is nobody's mistake: no hold-off (section 7.2)."""


def parse_line(line: bytes, is_in_host_block: bool) -> Message:
    """Return the message that a line without its LF and CR says.

    Raises:
        ValueRefused: it says none; the error names what was got and what was expected.
    """
    # The original works with C strings: a NUL ends the line, an escaped one its field (section 3).
    fields = [field.partition(b"\0")[0] for field in tabs.split(line.partition(b"\0")[0])]
    command = fields[0] if fields else b""
    rule = _HOST_IN_BLOCK if is_in_host_block and command == b"HOST" else _RULES.get(command)
    if rule is None:
        raise ValueRefused("unknown command")
    del fields[0]
    if len(fields) < rule.fields_min:
        raise ValueRefused(f"{len(fields)} fields, expected at least {rule.fields_min}")
    if rule.is_exact and len(fields) > rule.fields_min:
        raise ValueRefused(f"{len(fields)} fields, expected {rule.fields_min}")
    return rule.parse(fields)


# --- fields -----------------------------------------------------------------------------------


def parse_ip_field(text: bytes) -> IpAddress:
    if not text.isascii():
        raise ValueRefused(f"'{excerpt(text)}' is not an IP address")
    return parse_ip(text.decode("ascii"))


def _parse_uint32(text: bytes, name: str) -> int:
    # A line is short, so `int` meets at most a thousand digits.
    if text.isdigit() and (value := int(text)) <= UINT32_MAX:
        return value
    raise ValueRefused(f"{name} '{excerpt(text)}', expected 0 to {UINT32_MAX}")


def _parse_time(text: bytes, name: str) -> int:
    if _TIME.fullmatch(text) and -(1 << 63) <= (value := int(text)) < 1 << 63:
        return value
    raise ValueRefused(f"{name} '{excerpt(text)}', expected a signed 64-bit number")


def _parse_user_time(text: bytes) -> int:
    return min(_parse_uint32(text, "time"), UNKNOWN_TIMESTAMP - 1)


def _parse_hash(text: bytes) -> int:
    value = _parse_uint32(text, "user hash")
    if value == 0:
        raise ValueRefused(f"user hash 0, expected 1 to {UINT32_MAX}")
    return value


def _parse_place(fields: list[bytes]) -> DirectorAddress:
    port = _parse_uint32(fields[1], "port")
    if not 0 < port <= 0xFFFF:
        raise ValueRefused(f"port {port}, expected 1 to 65535")
    return DirectorAddress(ip=parse_ip_field(fields[0]), port=port)


def _parse_stamp(fields: list[bytes]) -> Stamp:
    return Stamp(origin=_parse_place(fields), sequence=_parse_uint32(fields[2], "sequence"))


def _parse_diagnostic(fields: list[bytes], index: int) -> int | None:
    """Read an argument of PING or PONG; what cannot be read was not said (section 12)."""
    if len(fields) > index and fields[index].isdigit():
        return min(int(fields[index]), (1 << 63) - 1)
    return None


# --- commands ---------------------------------------------------------------------------------


def _parse_version(fields: list[bytes]) -> Version:
    try:
        if fields[0] != b"director":
            raise ValueRefused(f"protocol '{excerpt(fields[0])}', expected 'director'")
        return Version(
            major=_parse_uint32(fields[1], "major version"),
            minor=_parse_uint32(fields[2], "minor version"),
        )
    except ValueRefused as error:
        raise VersionRefused(str(error)) from None


def _parse_me(fields: list[bytes]) -> Me:
    wall = _parse_time(fields[2], "time") if len(fields) > 2 else None
    return Me(address=_parse_place(fields), wall=wall)


def _parse_hosts_end(fields: list[bytes]) -> HostsEnd:
    is_number = bool(fields) and fields[0].isdigit()  # section 7.2: never refused
    return HostsEnd(is_number and int(fields[0]) != 0)


def _parse_host(fields: list[bytes], stamp: Stamp | None) -> Host:
    weight = _parse_uint32(fields[1], "vhosts")
    if weight > limits.RING_WEIGHT_MAX:
        raise ValueRefused(f"vhosts {weight}, expected at most {limits.RING_WEIGHT_MAX}")
    is_down = False
    changed_at = 0
    if len(fields) > 3:
        if fields[3][:1] not in (b"U", b"D"):
            raise ValueRefused(f"state '{excerpt(fields[3])}', expected U or D and a time")
        is_down = fields[3].startswith(b"D")
        changed_at = _parse_time(fields[3][1:], "state time")
    return Host(
        stamp=stamp,
        ip=parse_ip_field(fields[0]),
        weight=weight,
        tag=fields[2] if len(fields) > 2 else b"",
        is_down=is_down,
        changed_at=changed_at,
        hostname=fields[4] if len(fields) > 4 else b"",
    )


def _parse_user(fields: list[bytes], is_handshake: bool) -> Users:
    return Users(
        hashes=[_parse_hash(fields[0])],
        timestamps=[_parse_user_time(fields[2]) if len(fields) > 2 else UNKNOWN_TIMESTAMP],
        hosts=[parse_ip_field(fields[1])],
        host_indexes=[0],
        weak=frozenset([0] if len(fields) > 3 and fields[3].startswith(b"w") else []),
        is_handshake=is_handshake,
    )


def _parse_sync(fields: list[bytes]) -> Sync:
    return Sync(
        origin=_parse_place(fields),
        sequence=_parse_uint32(fields[2], "sequence"),
        minor=_parse_uint32(fields[3], "minor version") if len(fields) > 3 else 0,
        timestamp=_parse_user_time(fields[4]) if len(fields) > 4 else UNKNOWN_TIMESTAMP,
        hosts_hash=_parse_uint32(fields[5], "hosts hash") if len(fields) > 5 else 0,
    )


@attrs.frozen
class _Rule:
    """`parse` may rely on `fields_min` fields; more of them are refused if `is_exact`."""

    fields_min: int
    is_exact: bool
    parse: Callable[[list[bytes]], Message]


_HOST_IN_BLOCK = _Rule(2, False, lambda f: _parse_host(f, None))

_RULES: dict[bytes, _Rule] = {
    b"VERSION": _Rule(3, False, _parse_version),
    b"ME": _Rule(2, False, _parse_me),
    b"OPTIONS": _Rule(0, False, lambda f: Options(tuple(f))),
    b"DONE": _Rule(0, False, lambda f: Done()),
    b"HOST-HAND-START": _Rule(1, False, lambda f: HostsStart(_parse_uint32(f[0], "flag") != 0)),
    b"HOST-HAND-END": _Rule(0, False, _parse_hosts_end),
    b"HOST": _Rule(5, False, lambda f: _parse_host(f[3:], _parse_stamp(f))),
    b"HOST-REMOVE": _Rule(
        4, True, lambda f: HostRemove(stamp=_parse_stamp(f), ip=parse_ip_field(f[3]))
    ),
    b"HOST-FLUSH": _Rule(
        4, True, lambda f: HostFlush(stamp=_parse_stamp(f), ip=parse_ip_field(f[3]))
    ),
    b"U": _Rule(3, False, lambda f: _parse_user(f, is_handshake=True)),
    b"USER": _Rule(2, False, lambda f: _parse_user(f, is_handshake=False)),
    b"USER-WEAK": _Rule(
        5,
        True,
        lambda f: UserWeak(
            stamp=_parse_stamp(f), user_hash=_parse_hash(f[3]), ip=parse_ip_field(f[4])
        ),
    ),
    b"USER-MOVE": _Rule(
        5,
        True,
        lambda f: UserMove(
            stamp=_parse_stamp(f), user_hash=_parse_hash(f[3]), ip=parse_ip_field(f[4])
        ),
    ),
    b"USER-KICK": _Rule(4, True, lambda f: UserKick(stamp=_parse_stamp(f), user=f[3])),
    b"USER-KICK-ALT": _Rule(
        5, True, lambda f: UserKickField(stamp=_parse_stamp(f), field=f[3], value=f[4])
    ),
    b"USER-KICK-HASH": _Rule(
        5,
        True,
        lambda f: UserKickHash(
            stamp=_parse_stamp(f), user_hash=_parse_hash(f[3]), except_ip=parse_ip_field(f[4])
        ),
    ),
    b"USER-KILLED": _Rule(1, True, lambda f: UserKilled(_parse_hash(f[0]))),
    b"USER-KILLED-EVERYWHERE": _Rule(
        4,
        True,
        lambda f: UserKilledEverywhere(stamp=_parse_stamp(f), user_hash=_parse_hash(f[3])),
    ),
    b"DIRECTOR": _Rule(2, False, lambda f: Director(_parse_place(f))),
    b"DIRECTOR-REMOVE": _Rule(2, False, lambda f: DirectorRemove(_parse_place(f))),
    b"CONNECT": _Rule(2, True, lambda f: Connect(_parse_place(f))),
    b"SYNC": _Rule(3, False, _parse_sync),
    b"PING": _Rule(
        0,
        False,
        lambda f: Ping(wall=_parse_diagnostic(f, 0), unsent_bytes=_parse_diagnostic(f, 1)),
    ),
    b"PONG": _Rule(
        0,
        False,
        lambda f: Pong(wall=_parse_diagnostic(f, 0), unsent_bytes=_parse_diagnostic(f, 1)),
    ),
    b"QUIT": _Rule(0, False, lambda f: Quit(b" ".join(f).decode("utf-8", "backslashreplace"))),
}
