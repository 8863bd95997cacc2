"""Answers to administrators' questions, as bytes in bounded pieces.

Every function yields pieces that together are one reply, so that a list of a million users costs
one shard of one tag at a time (doveadm-director.md sections 1.4 to 1.8); between two pieces the
world may change, as between two lines of the original. Nothing here waits or decides.

Where this differs from the original, on purpose: an incoming connection that has not said who it
is shows its peer's address, in columns that are not shifted; `HOST-LIST-REMOVED` compares with the
configuration as it was read at start, because resolving names again would stop all logins.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from director.sessions.admin_requests import (
    ListDirectors,
    ListHosts,
    ListRemovedHosts,
    ListUsers,
    LookUpUser,
    Question,
    ShowUserState,
)
from ring.address import IpAddress, ip_text
from ring.codec import tabs
from ring.hosts import MailHost
from ring.messages import SHARDS_COUNT
from ring.node import RingNode
from ring.status import DirectorStatus, LinkStatus

SORTED_USERS_MAX = 4096
"""Up to so many users of a tag are listed by last refresh, oldest first, as in the original, in one
piece of some 5 ms; more of them shard by shard, because sorting a million would stop all logins
for seconds."""


def reply_pieces(
    node: RingNode, question: Question, *, now: float, wall: int, user_expire_s: int
) -> Iterator[bytes]:
    """Yield the reply; lists end with an empty line."""
    match question:
        case ListHosts():
            yield _host_list(node)
        case ListRemovedHosts():
            removed = [host for host in node.configured_hosts if node.hosts.get(host.ip) is None]
            yield b"".join(b"%b\n" % host.ip_text for host in removed) + b"\n"
        case ListDirectors():
            yield b"".join(map(_director_line, node.directors_status(now))) + b"\n"
        case LookUpUser():
            yield _user_line(node, question, now)
        case ShowUserState():
            yield _user_state_line(node, question, now)
        case ListUsers():
            yield from _user_list(node, question.ip, wall=wall, user_expire_s=user_expire_s)
        case _:
            assert_never(question)


def _host_list(node: RingNode) -> bytes:
    lines = [
        b"%b\t%d\t%d\t%b\t%b\t%d\n"
        % (
            host.ip_text,
            host.weight,
            node.user_count(host),
            tabs.escape(host.tag),
            b"D" if host.is_down else b"U",
            host.changed_at,
        )
        for host in node.hosts
    ]
    return b"".join(lines) + b"\n"


def _director_line(status: DirectorStatus) -> bytes:
    ip = status.source_ip if status.address is None else status.address.ip
    port = 0 if status.address is None else status.address.port
    wire = " (native)" if status.link is not None and status.link.is_native else ""
    fields = [ip_text(ip), str(port), status.role, str(status.last_failed), status.status + wire]
    if status.link is not None:
        fields += _link_fields(status.link)
    elif status.sync_ms is not None:
        fields.append(str(status.sync_ms))
    return b"\t".join(tabs.escape(field.encode()) for field in fields) + b"\n"


def _link_fields(link: LinkStatus) -> list[str]:
    numbers = (
        link.ping_ms or 0,
        link.bytes_received,
        link.bytes_sent,
        link.output_bytes,
        link.output_bytes_peak,
        link.last_received,
        link.last_sent,
    )
    return [str(number) for number in numbers]


def _user_line(node: RingNode, question: LookUpUser, now: float) -> bytes:
    status = node.user_status(question.user_hash, question.tag, now)
    return b"%b\t%d\t%b\t%b\n" % (
        _host_text(status.current),
        status.expires_at,
        _host_text(status.hashed),
        _host_text(status.initial),
    )


def _host_text(host: MailHost | None) -> bytes:
    return b"" if host is None else host.ip_text


def _user_state_line(node: RingNode, question: ShowUserState, now: float) -> bytes:
    status = node.user_status(question.user_hash, question.tag, now)
    stage = b"none" if status.stage is None else status.stage.value.encode()
    return b"%b\t%b\n" % (stage, b"weak" if status.is_weak else b"")


def _user_list(
    node: RingNode, ip: IpAddress | None, *, wall: int, user_expire_s: int
) -> Iterator[bytes]:
    """Yield the users of one host (None: of all), tag by tag."""
    only = None if ip is None else node.hosts.get(ip)
    expired_at = wall - user_expire_s
    for tag in list(node.pools):
        if ip is not None and (only is None or only.tag != tag):
            continue
        if len(node.pools[tag].table) <= SORTED_USERS_MAX:
            rows: list[tuple[int, int, bytes]] = []
            for index in range(SHARDS_COUNT):
                rows += _shard_rows(node, tag, index, only, expired_at)
            rows.sort()
            yield _user_lines(rows, user_expire_s)
            continue
        for index in range(SHARDS_COUNT):
            yield _user_lines(_shard_rows(node, tag, index, only, expired_at), user_expire_s)
    yield b"\n"


def _shard_rows(
    node: RingNode, tag: bytes, index: int, only: MailHost | None, expired_at: int
) -> list[tuple[int, int, bytes]]:
    """Return timestamp, hash and host of each user of a shard who has not expired."""
    by_number = node.hosts.by_number
    rows = []
    # hot: a listing of a million users
    for h, n, t in zip(*node.pools[tag].table.shard(index), strict=True):
        host = by_number[n]
        if t > expired_at and host is not None and (only is None or host is only):
            rows.append((t, h, host.ip_text))
    return rows


def _user_lines(rows: list[tuple[int, int, bytes]], user_expire_s: int) -> bytes:
    return b"".join([b"%d\t%d\t%b\n" % (h, t + user_expire_s, ip) for t, h, ip in rows])
