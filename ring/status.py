"""Answers to questions: where a user is, how each director and link is, and figures of the moment.

Nothing is decided or changed here. The texts in `status` are the classic ones that
`doveadm director ring status` shows (doveadm-director.md section 1.5).
"""

from __future__ import annotations

import attrs

from ring.address import DirectorAddress, IpAddress
from ring.hosts import MailHost
from ring.link import Link
from ring.move import Stage
from ring.state import State
from ring.users import ABSENT


@attrs.frozen(kw_only=True)
class UserStatus:
    """Where a user is and would be (doveadm-director.md section 1.7); None for nowhere."""

    current: MailHost | None
    expires_at: int
    hashed: MailHost | None
    initial: MailHost | None
    is_weak: bool
    stage: Stage | None


@attrs.frozen(kw_only=True)
class DirectorStatus:
    """A line of `ring status` (doveadm-director.md section 1.5); None where there is no link.

    Times are Unix seconds, 0 for never.
    """

    address: DirectorAddress | None
    source_ip: IpAddress
    role: str
    last_failed: int
    status: str
    sync_ms: int | None = None
    link: LinkStatus | None = None


@attrs.frozen(kw_only=True)
class LinkStatus:
    ping_ms: int | None
    bytes_received: int
    bytes_sent: int
    output_bytes: int
    output_bytes_peak: int
    last_received: int
    last_sent: int
    is_native: bool


@attrs.frozen(kw_only=True)
class Statistics:
    """Figures of this moment, and counters since the start."""

    users: int
    hosts: int
    directors: int
    links: int
    parked: int
    moving: int
    kicking: int
    commands_waiting: int
    weak: int
    special: int
    timers: int
    is_handshaked: bool
    is_synced: bool
    is_native_ring: bool
    weak_rounds: int
    expired: int


def user_status(state: State, user_hash: int, tag: bytes, stage: Stage | None) -> UserStatus:
    pool = state.pools.get(tag)
    packed = pool.table.find(user_hash) if pool is not None else ABSENT
    expires_at = (packed >> 16) + state.settings.user_expire_s
    is_known = packed != ABSENT and expires_at > state.wall
    return UserStatus(
        current=state.hosts.by_number[packed & 0xFFFF] if is_known else None,
        expires_at=expires_at if is_known else 0,
        hashed=state.hosts.lookup(user_hash, tag),
        initial=state.configured_hosts.lookup(user_hash, tag),
        is_weak=pool is not None and user_hash in pool.weak,
        stage=stage,
    )


def directors_status(state: State) -> list[DirectorStatus]:
    """Return every director, one entry per link to it, sorted by address."""
    entries = [
        DirectorStatus(
            address=None,
            source_ip=link.source_ip,
            role="in",
            last_failed=0,
            status=_link_status(link),
            link=_link_figures(link),
        )
        for link in state.links.values()
        if link.director is None
    ]
    for director in state.directors:
        links = [link for link in state.links.values() if link.director is director]
        if director.is_own or not links:
            role = "self" if director.is_own else "removed" if director.is_removed else ""
            entries.append(
                DirectorStatus(
                    address=director.address,
                    source_ip=director.address.ip,
                    role=role,
                    last_failed=director.last_failed_wall,
                    status=_own_status(state) if director.is_own else director.refusal,
                    sync_ms=round(1000 * state.sync_roundtrip_s) if director.is_own else None,
                )
            )
        for link in links:
            role = "in" if link.is_incoming else "out"
            role = "left" if link is state.left else "right" if link is state.right else role
            entries.append(
                DirectorStatus(
                    address=director.address,
                    source_ip=link.source_ip,
                    role=role,
                    last_failed=director.last_failed_wall,
                    status=_link_status(link),
                    link=_link_figures(link),
                )
            )
    return entries


def _own_status(state: State) -> str:
    if not state.is_handshaked:
        return "ring handshaking"
    if state.is_synced:
        return "ring synced"
    return f"ring syncing - last sync {state.now - state.synced_changed_at:.0f} secs ago"


def _link_status(link: Link) -> str:
    if not link.is_done:
        if link.is_incoming:
            return f"handshaking - {link.users_received} USERs received"
        return f"handshaking - {link.users_sent} USERs sent"
    return "syncing" if link.is_ping_fast else "synced"


def _link_figures(link: Link) -> LinkStatus:
    roundtrip_s = link.ping_roundtrip_s
    return LinkStatus(
        ping_ms=None if roundtrip_s is None else round(1000 * roundtrip_s),
        bytes_received=link.bytes_received,
        bytes_sent=link.bytes_sent,
        output_bytes=link.output_bytes,
        output_bytes_peak=link.output_bytes_peak,
        last_received=link.last_received_wall,
        last_sent=link.last_sent_wall,
        is_native=link.is_native,
    )
