"""RingNode: one director's mind, and the only thing the shells talk to.

Stimuli come in as method calls and run to completion; effects gather until `drain`. This file only
dispatches: which concern handles a message, what is looked at again when something changed, when
time has come. Logins and gossiped users are direct methods over columns, everything else is a value
(DESIGN section 2: an event and an effect per login cost four times the login).

    login     lookup -> table -> links' outboxes -> return
    gossip    received -> link.receive -> users_received -> table.merge -> other links' outboxes
    command   command -> administration -> host list / members / moves -> flood + sync -> effect
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from ipaddress import IPv4Address
from typing import Any, assert_never

import attrs

from ring.address import DirectorAddress, IpAddress
from ring.administration import Administration
from ring.commands import Command
from ring.directors import Directors
from ring.effects import Effect, LinkId
from ring.errors import RemoteProtocolError
from ring.gossip import Gossip
from ring.host_list import HostList
from ring.hosts import MailHost, MailHosts
from ring.link import Link
from ring.lookups import Lookups
from ring.members import SHUTTING_DOWN, Members
from ring.messages import (
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
from ring.moves import Moves, Stage
from ring.settings import NodeSettings
from ring.state import Pool, State, TimerKey
from ring.sync import Synchroniser
from ring.users import ABSENT

STANDALONE = DirectorAddress(ip=IPv4Address("127.0.0.1"), port=0)
"""Who a director without `director_servers` is (ring-protocol.md section 6)."""

Handler = Callable[[Link, Any], None]  # Any: each handler takes the type it is registered for


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
    is_handshaked: bool
    is_synced: bool
    is_native_ring: bool
    weak_rounds: int
    expired: int


class RingNode:
    """See the module docstring and the table in README.md beside this file."""

    def __init__(self, settings: NodeSettings, now: float, wall: float) -> None:
        own = settings.own or STANDALONE
        self._state = state = State(settings, Directors(own, settings.directors), now, wall)
        self._gossip = Gossip(state)
        self._sync = Synchroniser(state, self._gossip)
        self._members = Members(state, self._gossip, self._sync)
        self._host_list = HostList(state, self._gossip, self._sync)
        self._moves = Moves(state, self._gossip, self._sync)
        self._lookups = Lookups(state, self._gossip)
        self._administration = Administration(state, self._host_list, self._members, self._moves)
        self._fresh_s = settings.user_expire_s - state.expiry_margin_s
        self._handlers = self._message_handlers()
        self._lookups.sweep_due()
        self._members.connect_right()
        self._settle()

    # --- the shell's questions ----------------------------------------------------------------

    @property
    def hosts(self) -> MailHosts:
        return self._state.hosts

    @property
    def configured_hosts(self) -> MailHosts:
        return self._state.configured_hosts

    @property
    def pools(self) -> dict[bytes, Pool]:
        return self._state.pools

    @property
    def own(self) -> DirectorAddress:
        return self._state.directors.own.address

    @property
    def is_synced(self) -> bool:
        return self._state.is_synced

    @property
    def is_native_ring(self) -> bool:
        return self._state.is_native_ring

    def link(self, link_id: LinkId) -> Link | None:
        return self._state.links.get(link_id)

    def links_with_output(self) -> Iterator[LinkId]:
        return (i for i, link in self._state.links.items() if link.output_bytes)

    def user_count(self, host: MailHost) -> int:
        pool = self._state.pools.get(host.tag)
        return pool.table.count(host.number) if pool is not None else 0

    def statistics(self) -> Statistics:
        state = self._state
        return Statistics(
            users=sum(len(pool.table) for pool in state.pools.values()),
            hosts=len(state.hosts),
            directors=len(state.directors),
            links=len(state.links),
            parked=self._lookups.parked_count,
            moving=self._moves.moving_count,
            kicking=self._moves.kicking_count,
            commands_waiting=self._administration.waiting_count,
            weak=sum(len(pool.weak) for pool in state.pools.values()),
            is_handshaked=state.is_handshaked,
            is_synced=state.is_synced,
            is_native_ring=state.is_native_ring,
            weak_rounds=self._lookups.weak_rounds_count,
            expired=self._lookups.expired_count,
        )

    def user_status(self, user_hash: int, tag: bytes, now: float) -> UserStatus:
        state = self._state
        state.now = now
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
            stage=self._moves.stage(tag, user_hash),
        )

    def directors_status(self, now: float) -> list[DirectorStatus]:
        """Return every director, one entry per link to it, sorted by address."""
        state = self._state
        entries = [
            DirectorStatus(
                address=None,
                source_ip=link.source_ip,
                role="in",
                last_failed=0,
                status=self._link_status(link),
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
                        status=self._own_status(now) if director.is_own else director.refusal,
                        sync_ms=None,
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
                        status=self._link_status(link),
                        link=_link_figures(link),
                    )
                )
        return entries

    def _own_status(self, now: float) -> str:
        state = self._state
        if not state.is_handshaked:
            return "ring handshaking"
        if state.is_synced:
            return "ring synced"
        return f"ring syncing - last sync {now - state.synced_changed_at:.0f} secs ago"

    def _link_status(self, link: Link) -> str:
        if not link.is_done:
            if link.is_incoming:
                return f"handshaking - {link.users_received} USERs received"
            return f"handshaking - {link.users_sent} USERs sent"
        return "syncing" if link.is_ping_fast else "synced"

    # --- the data plane -------------------------------------------------------------------------

    def set_clock(self, now: float, wall: float) -> None:
        """Tell what the wall clock shows (Unix seconds) at monotonic second `now`."""
        self._state.now = now
        self._state.wall_offset = wall - now

    def lookup(self, token: Hashable, user_hash: int, tag: bytes, now: float) -> MailHost | None:
        """Return the user's host, or None if the lookup was parked. hot: sim/bench login"""
        state = self._state
        state.now = now
        pool = state.pools.get(tag)
        if pool is not None and user_hash not in pool.special and state.is_handshaked:
            packed = pool.table.find(user_hash)
            wall = int(now + state.wall_offset)
            if packed != ABSENT and (packed >> 16) + self._fresh_s >= wall:
                number = packed & 0xFFFF
                fresh = wall << 16 | number
                if fresh != packed:
                    pool.table.store(user_hash, number, wall)
                    for link in state.links.values():
                        link.gossip(tag, user_hash, fresh)
                return state.hosts.by_number[number]
        return self._lookups.lookup(token, user_hash, tag)

    def abandon(self, token: Hashable) -> None:
        """The login behind a parked lookup is gone: no answer is wanted any more."""
        self._lookups.abandon(token)

    def refresh(self, user_hash: int, now: float) -> None:
        """The user has live sessions (proxy-notify)."""
        self._state.now = now
        self._lookups.refresh(user_hash)

    def users_received(self, link: Link, users: Users) -> None:
        """Merge users that a neighbour gossiped or exported. hot: sim/bench gossip"""
        self._gossip.users_received(link, users)

    def restore_users(
        self, tag: bytes, hashes: list[int], ips: list[IpAddress], timestamps: list[int], now: float
    ) -> int:
        """Take over users from a snapshot or from live sessions; return how many were news.

        Users on hosts that are not in the list, expired users, and users known already with a
        newer timestamp are left out.
        """
        state = self._state
        state.now = now
        pool = state.pool(tag)
        hosts = [state.hosts.get(ip) for ip in ips]
        changed, _ = pool.table.merge(
            hashes,
            [host.number if host and host.tag == tag else -1 for host in hosts],
            timestamps,
            wall=state.wall,
            expire_s=state.settings.user_expire_s,
            special=pool.special,
        )
        for row in changed:
            packed = pool.table.find(hashes[row])
            self._gossip.flood_user(pool, hashes[row], packed, exclude=None)
        return len(changed)

    # --- the control plane ----------------------------------------------------------------------

    def command(self, token: Hashable, command: Command, now: float) -> None:
        """Run an administrator's command; `CommandAnswered(token, ...)` follows."""
        self._state.now = now
        self._administration.command(token, command)
        self._settle()

    def link_accepted(self, source_ip: IpAddress, now: float) -> LinkId | None:
        """A neighbour connected; None if nobody we know calls from there: close it."""
        self._state.now = now
        link = self._members.accept(source_ip)
        self._settle()
        return link.link_id if link is not None else None

    def link_connected(self, link_id: LinkId, now: float) -> None:
        self._state.now = now
        link = self._state.links.get(link_id)
        if link is not None:
            self._members.connected(link)
            self._settle()

    def link_failed(self, link_id: LinkId, reason: str, now: float) -> None:
        """A dial failed."""
        self.link_lost(link_id, reason, now)

    def link_lost(self, link_id: LinkId, reason: str, now: float) -> None:
        """The connection ended, for `reason`."""
        self._state.now = now
        link = self._state.links.get(link_id)
        if link is not None:
            self._members.lost(link, reason)
            self._settle()

    def received(self, link_id: LinkId, data: bytes, now: float) -> None:
        """Handle bytes from a neighbour; a remote error costs its link and nothing else."""
        state = self._state
        state.now = now
        link = state.links.get(link_id)
        if link is None or link.is_leaving:
            return
        link.last_received_wall = state.wall
        state.is_batching = True
        try:
            for message in link.receive(data):
                self._handlers[type(message)](link, message)
                if link.is_leaving or link.link_id not in state.links:
                    break
        except RemoteProtocolError as error:
            self._members.refused(link, error)
        self._sync.batch_ended()
        self._members.input_handled(link)
        self._settle()

    def kick_finished(self, kick_id: int, error: str | None, now: float) -> None:
        self._state.now = now
        self._moves.kick_finished(kick_id, error)
        self._settle()

    def flush_finished(self, flush_id: int, is_success: bool, now: float) -> None:
        self._state.now = now
        self._moves.flush_finished(flush_id, is_success=is_success)
        self._settle()

    def shut_down(self, now: float) -> None:
        """Say goodbye to all neighbours; nothing is dialled any more."""
        self._state.now = now
        for link in list(self._state.links.values()):
            self._members.close(link, SHUTTING_DOWN, elects_left=False)

    @property
    def deadline(self) -> float:
        """Monotonic second at which `tick` must be called; minus infinity for "now"."""
        if self._lookups.has_work or self._moves.has_work:
            return float("-inf")
        return self._state.timers.deadline

    def tick(self, now: float) -> None:
        """Do what has fallen due, and the next step of long work."""
        self._state.now = now
        while (key := self._state.timers.pop_due(now)) is not None:
            self._timer_due(key)
        if self._lookups.has_work:
            self._lookups.continue_work()
        if self._moves.has_work:
            self._moves.continue_work()
        self._settle()

    def drain(self) -> list[Effect]:
        """Return the effects gathered since the last call, in the order to perform them."""
        effects = self._state.effects
        if effects:
            self._state.effects = []
        return effects

    # --- dispatch -------------------------------------------------------------------------------

    def _settle(self) -> None:
        """After each stimulus: hang up on who reads too slowly, look again at what waits."""
        state = self._state
        for link in list(state.links.values()):
            if link.is_overflowing:
                link.discard_output()
                self._members.lost(link, "output buffer full")
        if state.settled_users:
            settled, state.settled_users = state.settled_users, []
            self._lookups.retry_users(settled)
            self._moves.continue_work()
        if state.is_changed:
            state.is_changed = False
            if state.is_synced:
                self._administration.ring_synced()
            self._lookups.retry_all()
            self._moves.continue_work()
            self._lookups.continue_work()

    def _timer_due(self, key: TimerKey) -> None:
        if isinstance(key, tuple):
            if key[0] == "move":
                self._moves.move_due(key[1], key[2])
            elif key[0] == "delay":
                self._moves.delay_due(key[1], key[2])
            else:
                self._link_timer_due(key[0], self._state.links[key[1]])
            return
        match key:
            case "reconnect":
                self._members.connect_right()
            case "preferred":
                self._members.preferred_due()
            case "purge":
                self._members.purge_due()
            case "resync":
                self._sync.resend_due()
                self._members.right_missed()
            case "lookups":
                self._lookups.timeout_due()
            case "sweep":
                self._lookups.sweep_due()
            case "administration":
                self._administration.timeout_due()
            case _:
                assert_never(key)

    def _link_timer_due(self, kind: str, link: Link) -> None:
        if kind == "idle":
            self._members.idle_due(link)
        elif kind == "pong":
            self._members.lost(link, "Pong timeout")
        else:
            self._members.leave_due(link)

    def _message_handlers(self) -> dict[type[Message], Handler]:
        members, moves, host_list = self._members, self._moves, self._host_list
        return {
            Users: self.users_received,
            Version: members.version_received,
            Hello: members.hello_received,
            Me: members.me_received,
            Options: lambda _link, message: members.options_received(message),
            Done: lambda link, _message: members.done_received(link),
            Director: members.director_received,
            DirectorRemove: members.director_remove_received,
            Connect: members.connect_received,
            Ping: members.ping_received,
            Pong: members.pong_received,
            Quit: members.quit_received,
            HostsStart: host_list.block_started,
            HostsEnd: host_list.block_ended,
            Host: host_list.host_received,
            HostRemove: host_list.remove_received,
            HostFlush: host_list.flush_received,
            UserWeak: self._gossip.weak_received,
            UserMove: moves.move_received,
            UserKick: moves.kick_received,
            UserKickField: moves.kick_received,
            UserKickHash: moves.kick_received,
            UserKilled: lambda _link, message: moves.killed_received(message),
            UserKilledEverywhere: moves.killed_everywhere_received,
            Sync: lambda _link, message: self._sync.received(message),
        }


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
