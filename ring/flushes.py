"""`flush`: the users of a host are moved to where they belong now (users-and-hosts.md section 13).

A walk over the shards of the table that moves users up to a limit and goes on as moves end; so many
users a turn and no more, however few of them are on the host. Users on the way to the host are sent
on to where they belong: nobody can have logged in there yet, and the move that is under way closes
their old sessions. Users whose hash still leads to the host are left alone; if it leads nowhere
they are kicked, and forgotten when the walk is over. It goes on even if the administrator has left.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import attrs

from ring import limits
from ring.commands import Answer, HostResetUsers
from ring.effects import CommandAnswered
from ring.host_list import HostList
from ring.hosts import MailHost
from ring.kicks import Kicks
from ring.messages import SHARDS_COUNT
from ring.move import OldHost
from ring.moves import Moves
from ring.state import Pool, State
from ring.users import ABSENT


@attrs.define(eq=False, kw_only=True)
class Reset:
    """One `flush` command on its way: the shards and the users still to look at."""

    token: Hashable
    parallel_max: int
    hosts: frozenset[MailHost]
    shards: Iterator[tuple[Pool, int]]
    users: list[tuple[Pool, int]] = attrs.Factory(list)
    emptied: set[MailHost] = attrs.Factory(set)
    moved_count: int = 0
    started_at: float


class Flushes:
    def __init__(self, state: State, host_list: HostList, moves: Moves, kicks: Kicks) -> None:
        self._state = state
        self._host_list = host_list
        self._moves = moves
        self._kicks = kicks
        self._resets: list[Reset] = []

    @property
    def has_work(self) -> bool:
        """Tell whether a walk stopped because it had its turn, not because of its limit."""
        if not self._resets or not self._state.is_synced:
            return False
        return any(self._moves.moving_count < reset.parallel_max for reset in self._resets)

    def commanded(self, token: Hashable, command: HostResetUsers) -> Answer | None:
        """Move the users of a host to where they belong now; None: under way (section 13)."""
        state = self._state
        if command.ip is None:
            hosts = frozenset(state.hosts)
        else:
            host = state.hosts.get(command.ip)
            if host is None:
                return Answer.NOT_FOUND
            hosts = frozenset([host])
        if len(self._resets) >= limits.COMMANDS_WAITING_MAX:
            return Answer.TRY_AGAIN
        pools = [state.pool(tag) for tag in sorted({host.tag for host in hosts})]
        reset = Reset(
            token=token,
            parallel_max=command.parallel_max or state.settings.max_parallel_moves,
            hosts=hosts,
            shards=((pool, shard) for pool in pools for shard in range(SHARDS_COUNT)),
            started_at=state.now,
        )
        self._resets.append(reset)
        self._walk(reset, limits.WALK_USERS_MAX)
        return None

    def continue_work(self) -> None:
        """There may be room for more moves; all walks together look at so many users a turn."""
        rest = limits.WALK_USERS_MAX
        for reset in self._resets.copy() if self._state.is_synced else ():
            rest = self._walk(reset, rest)

    def _walk(self, reset: Reset, users_max: int) -> int:
        """Look at some users, or at all of one shard; return how many are left of `users_max`."""
        while users_max > 0 and self._moves.moving_count < reset.parallel_max:
            if reset.users:
                users_max -= 1
                self._look_at(reset, *reset.users.pop())
                continue
            place = next(reset.shards, None)
            if place is None:
                self._end(reset)
                break
            pool, shard = place
            hashes, numbers, _ = pool.table.shard(shard)
            users_max -= 1 + len(hashes)
            wanted = {host.number for host in reset.hosts}
            reset.users = [
                (pool, h) for h, number in zip(hashes, numbers, strict=True) if number in wanted
            ]
        return users_max

    def _look_at(self, reset: Reset, pool: Pool, user_hash: int) -> None:
        state = self._state
        packed = self._moves.live_entry(pool, user_hash)
        host = state.hosts.by_number[packed & 0xFFFF] if packed != ABSENT else None
        if host is None or host not in reset.hosts:
            return
        target = state.hosts.lookup(user_hash, pool.tag)
        if target is None:
            old = OldHost(ip=host.ip, is_down=host.is_down, weight=host.weight)
            reset.emptied.add(host)
            # The original kicks its own sessions only, and then waits 30 s for the other directors
            # to confirm a move that they were not told of.
            self._kicks.flood_hash(user_hash)
            self._moves.kill(pool, user_hash, old, None, is_ours=True)
        elif target is not host:
            reset.moved_count += 1
            self._moves.begin(pool, user_hash, target)

    def _end(self, reset: Reset) -> None:
        state = self._state
        self._resets.remove(reset)
        for host in reset.emptied:
            if state.hosts.get(host.ip) is host:
                self._host_list.flush(host.ip)
        state.note(
            "host_reset_finished",
            moved=reset.moved_count,
            seconds=round(state.now - reset.started_at, 3),
            parallel_max=reset.parallel_max,
        )
        state.effects.append(CommandAnswered(token=reset.token, answer=Answer.OK))
