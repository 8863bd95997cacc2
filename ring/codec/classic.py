"""The text lines Dovecot's directors speak, minor versions 0 to 9 (ring-protocol.md).

Decides how bytes become lines and how each message is spelled for a peer of a given version; which
lines are well formed is in `grammar.py`. What a message means, and whether it is legal at this
moment, is `link.py`'s and the node's business; the one thing remembered between lines is whether a
host block is open, because a HOST line is spelled differently there (section 7.3).

Where the original is careless we are not: a user hash of zero aborts it and a huge weight makes it
build that many points (section 16), so both are refused and never sent. A line that would be longer
than the peer's buffer is not sent at all, because the peer would hang up.

User lines come by the million and take a short way: rows in the one spelling that directors use are
gathered into columns by a loop that knows nothing else. Any other spelling of a user line takes the
careful way of all other lines and makes a `Users` value of its own.
Measured (CPython 3.11, one core of the machine DESIGN section 6 speaks of): see `decode` and
`encode`. Rejected: a regular expression over the whole run, then conversion by columns: a third
faster at best, and every error must then be found again line by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ring import limits
from ring.address import DirectorAddress, IpAddress
from ring.codec import grammar, tabs
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

MAJOR = 1

# The first peer version that understands a message (section 2); all others are as old as the ring.
MINOR_NEEDED: dict[type[Message], int] = {
    DirectorRemove: 2,
    Quit: 3,
    UserKick: 4,
    UserKickHash: 4,
    Options: 5,
    UserKickField: 8,
}
MINOR_OF_USER_WEAK = 1
MINOR_OF_HOST_STATE = 6
MINOR_OF_TAGS = 7
MINOR_OF_USER_TIME = 9

COMMANDS: dict[type[Message], str] = {
    Version: "VERSION",
    Me: "ME",
    Director: "DIRECTOR",
    DirectorRemove: "DIRECTOR-REMOVE",
    HostsStart: "HOST-HAND-START",
    HostsEnd: "HOST-HAND-END",
    Host: "HOST",
    HostRemove: "HOST-REMOVE",
    HostFlush: "HOST-FLUSH",
    UserWeak: "USER-WEAK",
    UserMove: "USER-MOVE",
    UserKick: "USER-KICK",
    UserKickField: "USER-KICK-ALT",
    UserKickHash: "USER-KICK-HASH",
    UserKilled: "USER-KILLED",
    UserKilledEverywhere: "USER-KILLED-EVERYWHERE",
    Sync: "SYNC",
    Ping: "PING",
    Pong: "PONG",
    Connect: "CONNECT",
    Options: "OPTIONS",
    Done: "DONE",
    Quit: "QUIT",
}

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def token(message: Message) -> str:
    """Return the command that spells `message`: what a QUIT names when it is refused."""
    if isinstance(message, Users):
        return "U" if message.is_handshake else "USER"
    return COMMANDS.get(type(message), type(message).__name__)


def encode(message: Message, minor: int, ring_minor: int) -> bytes:
    """Return the lines that say `message` to a peer of version `minor`.

    Empty if that peer is too old for the message, if the message exists in native frames only, or
    if the line would be longer than the peer accepts. `ring_minor` is the lowest version in the
    ring, which decides the fields of a host change, as that goes on to everybody (section 8.3).
    0.4 us a user.
    """
    if isinstance(message, Users):
        return _encode_users(message, minor)
    if minor < MINOR_NEEDED.get(type(message), 0):
        return b""
    line = _encode_line(message, minor, ring_minor)
    return line if len(line) <= limits.CLASSIC_LINE_BYTES_MAX + 1 else b""


class Decoder:
    """Turns the bytes of one peer, however they are cut, into messages."""

    def __init__(self) -> None:
        self._rest = b""
        self._native_rest = b""
        self._is_in_host_block = False
        self._ips: dict[bytes, IpAddress] = {}

    def decode(self, data: bytes) -> Iterator[Message]:
        """Yield every message completed by `data`; must be iterated to its end before the next.

        Stops for good where a native frame starts; `native_rest` then returns it. 0.7 us a user.

        Raises:
            RemoteProtocolError: a line is malformed; what came before it was yielded.
        """
        assert not self._native_rest
        data = self._rest + data
        if b"\0" in data:
            data, self._native_rest = _split_at_frame(data)
        lines = data.split(b"\n")
        self._rest = lines.pop()
        position = 0
        count = _count_within_limit(lines)
        while position < count:
            rows = _gather_users(lines, position, count, self._ips)
            if rows is not None:
                position += len(rows)
                yield rows
                continue
            message = self._decode_line(lines[position])
            position += 1
            yield message
            if isinstance(message, Version) and message.major != MAJOR:
                # Only now: the QUIT we answer with needs the peer's minor version (section 8.15).
                raise RemoteProtocolError(
                    f"VERSION: major version {message.major}, expected {MAJOR}",
                    token="VERSION",
                    is_stamped=False,
                )
        if count < len(lines) or len(self._rest) > limits.CLASSIC_LINE_BYTES_MAX:
            raise _too_long(lines[count] if count < len(lines) else self._rest)

    def native_rest(self) -> bytes:
        """Return what follows the last line, from a zero byte on; empty while there are lines."""
        return self._native_rest

    def _decode_line(self, line: bytes) -> Message:
        line = line.removesuffix(b"\r")
        try:
            message = grammar.parse_line(line, self._is_in_host_block)
        except ValueRefused as error:
            command = line.partition(b"\t")[0].decode("utf-8", "backslashreplace")
            raise RemoteProtocolError(
                f"{excerpt(command.encode())}: {error}; line '{excerpt(line)}'",
                token=command,
                is_stamped=not isinstance(error, grammar.VersionRefused),
            ) from None
        if isinstance(message, HostsStart | HostsEnd):
            self._is_in_host_block = isinstance(message, HostsStart)
        return message


# --- encoding ---------------------------------------------------------------------------------


def _encode_users(users: Users, minor: int) -> bytes:
    hashes = users.hashes
    assert 0 not in hashes  # it would abort the peer (section 16)
    ips = [_ip(ip) for ip in users.hosts]
    if not users.is_handshake and minor < MINOR_OF_USER_TIME:
        return b"".join(
            [
                b"USER\t%d\t%s\n" % (h, ips[i])
                for h, i in zip(hashes, users.host_indexes, strict=True)
            ]
        )
    rows = zip(hashes, users.host_indexes, users.timestamps, strict=True)
    if not users.is_handshake:
        return b"".join(
            [
                b"USER\t%d\t%s\t%d\n" % (h, ips[i], t)
                if t != UNKNOWN_TIMESTAMP
                else b"USER\t%d\t%s\n" % (h, ips[i])
                for h, i, t in rows
            ]
        )
    assert UNKNOWN_TIMESTAMP not in users.timestamps
    keyword = b"U" if minor >= MINOR_OF_USER_TIME else b"USER"
    lines = [b"%s\t%d\t%s\t%d\n" % (keyword, h, ips[i], t) for h, i, t in rows]
    for row in users.weak:
        lines[row] = lines[row][:-1] + b"\tw\n"
    return b"".join(lines)


def _encode_line(message: Message, minor: int, ring_minor: int) -> bytes:
    match message:
        case Version(major=major, minor=own_minor):
            return b"VERSION\tdirector\t%d\t%d\n" % (major, own_minor)
        case Me(address=address, wall=wall):
            return b"ME\t%s%s\n" % (_place(address), b"" if wall is None else b"\t%d" % wall)
        case Director(address=address) | DirectorRemove(address) | Connect(address):
            return b"%s\t%s\n" % (token(message).encode(), _place(address))
        case HostsStart(is_complete) | HostsEnd(is_complete):
            return b"%s\t%d\n" % (token(message).encode(), is_complete)
        case Host():
            return _encode_host(message, minor, ring_minor)
        case HostRemove(stamp=stamp, ip=ip) | HostFlush(stamp=stamp, ip=ip):
            return b"%s\t%s\t%s\n" % (token(message).encode(), _stamp(stamp), _ip(ip))
        case UserWeak(stamp=stamp, user_hash=user_hash, ip=ip):
            if min(minor, ring_minor) < MINOR_OF_USER_WEAK:
                return b""
            return b"USER-WEAK\t%s\t%d\t%s\n" % (_stamp(stamp), _hash(user_hash), _ip(ip))
        case UserMove(stamp=stamp, user_hash=user_hash, ip=ip):
            return b"USER-MOVE\t%s\t%d\t%s\n" % (_stamp(stamp), _hash(user_hash), _ip(ip))
        case UserKickHash(stamp=stamp, user_hash=user_hash, except_ip=ip):
            return b"USER-KICK-HASH\t%s\t%d\t%s\n" % (_stamp(stamp), _hash(user_hash), _ip(ip))
        case UserKick(stamp=stamp, user=user):
            return b"USER-KICK\t%s\t%s\n" % (_stamp(stamp), tabs.escape(user))
        case UserKickField(stamp=stamp, field=field, value=value):
            return b"USER-KICK-ALT\t%s\t%s\t%s\n" % (
                _stamp(stamp),
                tabs.escape(field),
                tabs.escape(value),
            )
        case UserKilled(user_hash=user_hash):
            return b"USER-KILLED\t%d\n" % _hash(user_hash)
        case UserKilledEverywhere(stamp=stamp, user_hash=user_hash):
            return b"USER-KILLED-EVERYWHERE\t%s\t%d\n" % (_stamp(stamp), _hash(user_hash))
        case Sync():
            return _encode_sync(message, minor)
        case Ping(wall=wall, unsent_bytes=unsent) | Pong(wall=wall, unsent_bytes=unsent):
            command = token(message).encode()
            if wall is None or unsent is None:
                return command + b"\n"
            return b"%s\t%d\t%d\n" % (command, wall, unsent)
        case Options(names):
            return b"\t".join((b"OPTIONS", *names)) + b"\n"
        case Done():
            return b"DONE\n"
        case Quit(reason):
            # Cut rather than left out: the reason repeats what the peer sent, however long.
            text = _CONTROL.sub(" ", reason).encode("utf-8", "backslashreplace")
            return (b"QUIT\t" + text)[: limits.CLASSIC_LINE_BYTES_MAX] + b"\n"
        case _:
            assert isinstance(message, Hello | Digests | ShardsWanted | Compare), message
            return b""


def _encode_host(host: Host, minor: int, ring_minor: int) -> bytes:
    """Spell a host with the fields of section 7.3 (in a host block) or 8.3 (stamped)."""
    tag = tabs.escape(host.tag)
    change = b"\t%c%d\t%s" % (
        b"D" if host.is_down else b"U",
        host.changed_at,
        tabs.escape(host.hostname),
    )
    what = b"%s\t%d" % (_ip(host.ip), host.weight)
    if host.stamp is None:
        if tag or minor >= MINOR_OF_HOST_STATE:
            what += b"\t" + tag
        if minor >= MINOR_OF_HOST_STATE:
            what += change
        return b"HOST\t%s\n" % what
    if ring_minor < MINOR_OF_TAGS and tag:
        return b""  # somebody in the ring would take it for a host of another circle
    if ring_minor >= MINOR_OF_HOST_STATE:
        what += b"\t" + tag + change
    return b"HOST\t%s\t%s\n" % (_stamp(host.stamp), what)


def _encode_sync(sync: Sync, minor: int) -> bytes:
    line = b"SYNC\t%s\t%d" % (_place(sync.origin), sync.sequence)
    if minor > 0 and sync.minor > 0:
        assert sync.timestamp != UNKNOWN_TIMESTAMP
        line += b"\t%d\t%d\t%d" % (sync.minor, sync.timestamp, sync.hosts_hash)
    return line + b"\n"


def _ip(ip: IpAddress) -> bytes:
    return str(ip).encode()


def _place(address: DirectorAddress) -> bytes:
    return b"%s\t%d" % (_ip(address.ip), address.port)


def _stamp(stamp: Stamp) -> bytes:
    return b"%s\t%d" % (_place(stamp.origin), stamp.sequence)


def _hash(user_hash: int) -> int:
    assert 0 < user_hash <= grammar.UINT32_MAX  # zero would abort the peer (section 16)
    return user_hash


# --- decoding ---------------------------------------------------------------------------------


def _split_at_frame(data: bytes) -> tuple[bytes, bytes]:
    """Cut before the first zero byte that starts a line (DESIGN.md decision 3)."""
    if data.startswith(b"\0"):
        return b"", data
    end = data.find(b"\n\0") + 1
    return (data[:end], data[end:]) if end else (data, b"")


def _count_within_limit(lines: list[bytes]) -> int:
    """Return how many of the first lines are short enough."""
    if max(map(len, lines), default=0) <= limits.CLASSIC_LINE_BYTES_MAX:
        return len(lines)
    return next(i for i, line in enumerate(lines) if len(line) > limits.CLASSIC_LINE_BYTES_MAX)


def _too_long(line: bytes) -> LimitExceeded:
    return LimitExceeded(
        f"line of {len(line)} or more bytes, expected at most {limits.CLASSIC_LINE_BYTES_MAX} "
        f"(limits.CLASSIC_LINE_BYTES_MAX): '{excerpt(line)}'",
        quit_reason="Too long input line",
    )


def _gather_users(
    lines: list[bytes], start: int, stop: int, ips: dict[bytes, IpAddress]
) -> Users | None:
    """Return the timed user lines of one kind from `start` on as columns, None if there is none.

    Ends before the first line that is spelled unusually or wrong. hot: sim/bench gossip
    """
    is_handshake = lines[start].startswith(b"U\t")
    if not is_handshake and not lines[start].startswith(b"USER\t"):
        return None
    keyword = b"U" if is_handshake else b"USER"
    hashes: list[int] = []
    timestamps: list[int] = []
    indexes: list[int] = []
    index_of: dict[bytes, int] = {}
    hosts: list[IpAddress] = []
    for line in lines[start : min(stop, start + limits.FRAME_USERS_MAX)]:
        try:
            word, hash_text, ip_text, time_text = line.split(b"\t")
        except ValueError:
            break
        if word != keyword or not hash_text.isdigit() or not time_text.isdigit():
            break
        h = int(hash_text)
        t = int(time_text)
        if not 0 < h <= grammar.UINT32_MAX or t >= UNKNOWN_TIMESTAMP:
            break
        i = index_of.get(ip_text, -1)
        if i < 0:
            ip = ips.get(ip_text)
            if ip is None:
                ip = _remember_ip(ip_text, ips)
                if ip is None:
                    break
            i = index_of[ip_text] = len(hosts)
            hosts.append(ip)
        hashes.append(h)
        timestamps.append(t)
        indexes.append(i)
    if not hashes:
        return None
    return Users(
        hashes=hashes,
        timestamps=timestamps,
        hosts=hosts,
        host_indexes=indexes,
        is_handshake=is_handshake,
    )


def _remember_ip(text: bytes, ips: dict[bytes, IpAddress]) -> IpAddress | None:
    """Return the address, kept in `ips`, or None if the text is not one."""
    try:
        ip = grammar.parse_ip_field(text)
    except ValueRefused:
        return None
    if len(ips) >= limits.HOSTS_MAX:
        ips.clear()
    ips[text] = ip
    return ip
