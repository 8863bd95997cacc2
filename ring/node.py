"""RingNode: one director's mind, and the only thing the shells talk to.

Stimuli come in as method calls and run to completion; effects gather until `drain`. This file only
dispatches: which concern handles a message, what is looked at again when something changed, when
time has come. Logins and gossiped users are direct methods over columns, everything else is a value
(DESIGN section 2: an event and an effect per login cost four times the login).

    login     lookup -> lookups -> table -> links' outboxes -> return
    gossip    received -> link.receive -> users_received -> table.merge -> other links' outboxes
    command   command -> administration -> host list / members / moves -> flood + sync -> effect
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from ipaddress import IPv4Address
from typing import Any, assert_never

from ring import limits
from ring.address import DirectorAddress, IpAddress
from ring.administration import Administration
from ring.commands import Command
from ring.directors import Directors
from ring.effects import Effect, LinkId
from ring.errors import RemoteProtocolError
from ring.exports import Exports
from ring.flushes import Flushes
from ring.gossip import Gossip
from ring.handshake import Handshake
from ring.heartbeat import Heartbeat
from ring.host_list import HostList
from ring.hosts import MailHost, MailHosts
from ring.kicks import Kicks
from ring.link import Link
from ring.lookups import Lookups
from ring.members import Members
from ring.messages import (
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
from ring.moves import Moves
from ring.neighbours import SHUTTING_DOWN, Neighbours
from ring.places import Places
from ring.settings import NodeSettings
from ring.state import Pool, State, TimerKey
from ring.status import (
    DirectorStatus,
    Statistics,
    UserStatus,
    directors_status,
    user_status,
)
from ring.sync import Synchroniser

STANDALONE = DirectorAddress(ip=IPv4Address("127.0.0.1"), port=0)
"""Who a director without `director_servers` is (ring-protocol.md section 6)."""

Handler = Callable[[Link, Any], None]  # Any: each handler takes the type it is registered for


class RingNode:
    """See the module docstring and the table in README.md beside this file."""

    def __init__(self, settings: NodeSettings, now: float, wall: float) -> None:
        own = settings.own or STANDALONE
        self._state = state = State(settings, Directors(own, settings.directors), now, wall)
        self._gossip = Gossip(state)
        self._heartbeat = Heartbeat(state)
        self._sync = Synchroniser(state, self._gossip, self._heartbeat)
        self._exports = Exports(state)
        self._handshake = Handshake(state, self._gossip, self._heartbeat, self._exports)
        self._neighbours = Neighbours(state, self._heartbeat, self._sync, self._handshake)
        self._members = Members(state, self._gossip, self._sync, self._neighbours)
        self._places = Places(
            state,
            self._gossip,
            self._heartbeat,
            neighbours=self._neighbours,
            members=self._members,
            exports=self._exports,
        )
        self._host_list = HostList(state, self._gossip, self._sync)
        self._moves = Moves(state, self._gossip)
        self._kicks = Kicks(state, self._gossip, self._moves)
        self._flushes = Flushes(state, self._host_list, self._moves, self._kicks)
        self._lookups = Lookups(state, self._gossip)
        self._administration = Administration(
            state,
            host_list=self._host_list,
            members=self._members,
            moves=self._moves,
            kicks=self._kicks,
            flushes=self._flushes,
        )
        self._handlers = self._message_handlers()
        self._lookups.sweep_due()
        self._neighbours.connect_right()
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
    def is_alone(self) -> bool:
        return self._state.is_alone

    @property
    def is_native_ring(self) -> bool:
        return self._state.is_native_ring

    def link(self, link_id: LinkId) -> Link | None:
        return self._state.links.get(link_id)

    def links_with_output(self) -> Iterator[LinkId]:
        return (i for i, link in self._state.links.items() if link.has_output)

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
            kicking=self._kicks.kicking_count,
            commands_waiting=self._administration.waiting_count,
            weak=sum(len(pool.weak) for pool in state.pools.values()),
            special=sum(len(pool.special) for pool in state.pools.values()),
            timers=len(state.timers),
            is_handshaked=state.is_handshaked,
            is_synced=state.is_synced,
            is_native_ring=state.is_native_ring,
            weak_rounds=self._lookups.weak_rounds_count,
            expired=self._lookups.expired_count,
        )

    def user_status(self, user_hash: int, tag: bytes, now: float) -> UserStatus:
        self._state.now = now
        return user_status(self._state, user_hash, tag, self._moves.stage(tag, user_hash))

    def directors_status(self, now: float) -> list[DirectorStatus]:
        """Return every director, one entry per link to it, sorted by address."""
        self._state.now = now
        return directors_status(self._state)

    # --- the data plane -------------------------------------------------------------------------

    def set_clock(self, now: float, wall: float) -> None:
        """Tell what the wall clock shows (Unix seconds) at monotonic second `now`."""
        self._state.now = now
        self._state.wall_offset = wall - now

    def lookup(self, token: Hashable, user_hash: int, tag: bytes, now: float) -> MailHost | None:
        """Return the user's host, or None if the lookup was parked."""
        self._state.now = now
        return self._lookups.lookup(token, user_hash, tag)

    def lookup_many(
        self, user_hashes: Sequence[int], tag: bytes, now: float
    ) -> list[MailHost | None]:
        """Return the users' hosts; None: nothing was done, only `lookup` can tell."""
        self._state.now = now
        return self._lookups.lookup_many(user_hashes, tag)

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
        link = self._neighbours.accept(source_ip)
        self._settle()
        return link.link_id if link is not None else None

    def link_connected(self, link_id: LinkId, now: float) -> None:
        self._state.now = now
        link = self._state.links.get(link_id)
        if link is not None:
            self._handshake.connected(link)
            self._settle()

    def link_failed(self, link_id: LinkId, reason: str, now: float) -> None:
        """A dial failed."""
        self.link_lost(link_id, reason, now)

    def link_lost(self, link_id: LinkId, reason: str, now: float) -> None:
        """The connection ended, for `reason`."""
        self._state.now = now
        link = self._state.links.get(link_id)
        if link is not None:
            self._neighbours.lost(link, reason)
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
            self._neighbours.refused(link, error)
        self._sync.batch_ended()
        self._heartbeat.restart(link)
        self._settle()

    def kick_finished(
        self, kick_id: int, error: str | None, now: float, *, was_idle: bool = False
    ) -> None:
        self._state.now = now
        self._moves.kick_finished(kick_id, error, was_idle=was_idle)
        self._kicks.finished(kick_id)
        self._settle()

    def flush_finished(self, flush_id: int, is_success: bool, now: float) -> None:
        self._state.now = now
        self._moves.flush_finished(flush_id, is_success=is_success)
        self._settle()

    def shut_down(self, now: float) -> None:
        """Say goodbye to all neighbours; nothing is dialled any more."""
        self._state.now = now
        for link in list(self._state.links.values()):
            self._neighbours.close(link, SHUTTING_DOWN, elects_left=False)

    @property
    def deadline(self) -> float:
        """Monotonic second at which `tick` must be called; minus infinity for "now"."""
        if self._lookups.has_work or self._flushes.has_work or self._exports.has_work:
            return float("-inf")
        return self._state.timers.deadline

    def tick(self, now: float) -> None:
        """Do what has fallen due, so many timers a turn, and the next step of long work."""
        self._state.now = now
        for _ in range(limits.WALK_USERS_MAX):
            key = self._state.timers.pop_due(now)
            if key is None:
                break
            self._timer_due(key)
        if self._lookups.has_work:
            self._lookups.continue_work()
        if self._flushes.has_work:
            self._flushes.continue_work()
        if self._exports.has_work:
            self._exports.continue_work()
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
                self._neighbours.lost(link, "output buffer full")
        if state.is_newly_synced:
            state.is_newly_synced = False
            self._moves.ring_synced()
            self._lookups.ring_synced()
            if state.has_forgotten_users:
                state.has_forgotten_users = False
                self._exports.users_forgotten()
            if state.has_missed_users:
                state.has_missed_users = False
                self._exports.users_missed()
        if not state.settled_users and not state.is_changed:
            return
        settled, state.settled_users = state.settled_users, []
        self._lookups.retry_users(settled)
        self._kicks.start_waiting()
        if state.is_changed:
            state.is_changed = False
            if state.is_synced:
                self._administration.ring_synced()
            self._lookups.retry_all()
        self._flushes.continue_work()
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
                self._neighbours.connect_right()
            case "preferred":
                self._neighbours.preferred_due()
            case "nearer":
                self._neighbours.nearer_due()
            case "purge":
                self._members.purge_due()
            case "resync":
                self._sync.resend_due()
                self._neighbours.right_missed()
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
            self._neighbours.idle_due(link)
        elif kind == "pong":
            self._neighbours.lost(link, "Pong timeout")
        else:
            self._neighbours.leave_due(link)

    def _message_handlers(self) -> dict[type[Message], Handler]:
        places, members, moves = self._places, self._members, self._moves
        handshake, host_list, kicks = self._handshake, self._host_list, self._kicks
        return {
            Users: self.users_received,
            Version: handshake.version_received,
            Hello: handshake.hello_received,
            Digests: self._exports.digests_received,
            ShardsWanted: self._exports.wanted_received,
            Compare: self._exports.compare_received,
            Me: places.me_received,
            Options: lambda _link, message: handshake.options_received(message),
            Done: lambda link, _message: places.done_received(link),
            Director: members.director_received,
            DirectorRemove: members.director_remove_received,
            Connect: places.connect_received,
            Ping: self._heartbeat.ping_received,
            Pong: lambda link, _message: places.pong_received(link),
            Quit: self._neighbours.quit_received,
            HostsStart: host_list.block_started,
            HostsEnd: lambda link, _message: host_list.block_ended(link),
            Host: host_list.host_received,
            HostRemove: host_list.remove_received,
            HostFlush: host_list.flush_received,
            UserWeak: self._gossip.weak_received,
            UserMove: moves.move_received,
            UserKick: kicks.received,
            UserKickField: kicks.received,
            UserKickHash: kicks.received,
            UserKilled: lambda _link, message: moves.killed_received(message),
            UserKilledEverywhere: moves.killed_everywhere_received,
            Sync: lambda _link, message: self._sync.received(message),
        }
