"""`flush`: the users of a host are moved to where they belong now (users-and-hosts.md section 13).

A walk over the host's users that starts moves up to a limit and goes on as they end, so many users
a turn and no more. Users on the way to the host are sent on to where they belong: nobody can have
logged in there yet, and the move that is under way closes their old sessions. Users whose hash
still leads to the host are left alone; if it leads nowhere they are kicked, and forgotten when the
walk is over. It goes on even if the administrator has left.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import attrs

from ring import limits
from ring.commands import Answer, HostResetUsers
from ring.effects import CommandAnswered
from ring.host_list import HostList
from ring.hosts import MailHost
from ring.moves import Moves, OldHost
from ring.state import Pool, State
from ring.users import ABSENT, SHARDS_COUNT


@attrs.define(eq=False, kw_only=True)
class Reset:
    """One `flush` command on its way: the users still to look at."""

    token: Hashable
    parallel_max: int
    users: Iterator[tuple[Pool, int, MailHost]]
    emptied: set[MailHost] = attrs.Factory(set)
    moved_count: int = 0
    started_at: float = 0.0


class Flushes:
    def __init__(self, state: State, host_list: HostList, moves: Moves) -> None:
        self._state = state
        self._host_list = host_list
        self._moves = moves
        self._resets: list[Reset] = []

    @property
    def has_work(self) -> bool:
        """Tell whether a walk stopped because it had its turn, not because of its limit."""
        return self._state.is_synced and any(
            self._moves.moving_count < reset.parallel_max for reset in self._resets
        )

    def commanded(self, token: Hashable, command: HostResetUsers) -> Answer | None:
        """Move the users of a host to where they belong now; None: under way (section 13)."""
        state = self._state
        if command.ip is None:
            hosts = list(state.hosts)
        else:
            host = state.hosts.get(command.ip)
            if host is None:
                return Answer.NOT_FOUND
            hosts = [host]
        reset = Reset(
            token=token,
            parallel_max=command.parallel_max or state.settings.max_parallel_moves,
            users=self._users_of(hosts),
            started_at=state.now,
        )
        self._resets.append(reset)
        self._continue(reset)
        return None

    def _users_of(self, hosts: list[MailHost]) -> Iterator[tuple[Pool, int, MailHost]]:
        for host in hosts:
            pool = self._state.pool(host.tag)
            for shard in range(SHARDS_COUNT):
                hashes, numbers, _ = pool.table.shard(shard)
                yield from (
                    (pool, hashes[row], host)
                    for row, number in enumerate(numbers)
                    if number == host.number
                )

    def continue_work(self) -> None:
        """There may be room for more moves."""
        if self._state.is_synced:
            for reset in self._resets.copy():
                self._continue(reset)

    def _continue(self, reset: Reset) -> None:
        state = self._state
        for _ in range(limits.WALK_USERS_MAX):
            if self._moves.moving_count >= reset.parallel_max:
                return
            row = next(reset.users, None)
            if row is None:
                self._end(reset)
                return
            pool, user_hash, host = row
            packed = self._moves.live_entry(pool, user_hash)
            if packed == ABSENT or packed & 0xFFFF != host.number:
                continue
            target = state.hosts.lookup(user_hash, pool.tag)
            if target is None:
                old = OldHost(ip=host.ip, is_down=host.is_down, weight=host.weight)
                reset.emptied.add(host)
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
