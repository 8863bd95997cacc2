"""What a link is told of the whole user table: all of it, or among our own nodes what differs.

Whoever connects tells its users (ring-protocol.md section 7.1), shard by shard, each read when it
is sent. When a node dies its neighbours connect to each other, and nearly always know the same
users already; the original sends them all again. Among our own nodes the one that connects says
digests of its shards, the other answers which of them look different there, and only those are
sent. If the other knows less than half as many users (its Hello says how many), nothing is
compared.

A node that joins is told everything by its left neighbour, and may itself be the left neighbour of
another new one (DESIGN.md decision 10). It does not pass on row by row what nearly always is known
there: when its left has said all, it compares with everybody else.

A digest of 4,000 users costs as much as to send them, so digests are made and compared in steps,
too: one message of at most DIGESTS_STEP_USERS at a time, here and there.

Rejected: trees of digests (256 shards are a message of two kilobytes); to compare the table all the
time (what was gossiped over an unbroken link has arrived).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import attrs

from ring import limits
from ring.effects import LinkId
from ring.errors import RemoteProtocolError
from ring.link import Link
from ring.messages import (
    SHARDS_COUNT,
    Compare,
    Digests,
    Done,
    Message,
    Options,
    ShardsWanted,
    Users,
)
from ring.state import Pool, State

_END = (Options((b"consistent-hashing",)), Done())
"""What ends our side of a handshake."""


@attrs.define(eq=False, kw_only=True)
class _Comparison:
    """What one link is being asked; `is_handshake` tells that it ends the handshake."""

    is_handshake: bool
    answers_missing: int = 0
    wanted: list[tuple[Pool, int]] = attrs.Factory(list)


class Exports:
    def __init__(self, state: State) -> None:
        self._state = state
        self._comparisons: dict[LinkId, _Comparison] = {}
        self._asked: deque[tuple[Link, Digests]] = deque()

    @property
    def has_work(self) -> bool:
        """Tell whether digests of others wait to be compared."""
        return bool(self._asked)

    def users_count(self) -> int:
        return sum(len(pool.table) for pool in self._state.pools.values())

    # --- telling ----------------------------------------------------------------------------------

    def begin(self, link: Link) -> None:
        """Tell the users that end our handshake; one of our own is asked first what it knows."""
        if link.is_native and self.users_count():
            self._new_comparison(link, is_handshake=True)  # goes on with its Hello
        else:
            link.start_export(self._everything())

    def hello_received(self, link: Link, its_users_count: int) -> None:
        comparison = self._comparisons.get(link.link_id)
        if comparison is None or not comparison.is_handshake:
            return  # `spread` may have asked it before it said Hello
        if 2 * its_users_count < self.users_count():
            self._end_comparison(link)
            link.start_export(self._everything())
        else:
            self._compare(link, comparison)

    def spread(self, source: Link) -> None:
        """We are new, and `source` has told us everything: let everybody else know it too."""
        for link in self._state.links.values():
            if link.director is not source.director:
                self._tell_differences(link)

    def users_forgotten(self) -> None:
        """The users of a host were forgotten, and the ring is of one mind again.

        Who logged in meanwhile is known only where that was heard after the command to forget; if
        everybody compares with the right neighbour, all know the same again.
        """
        if self._state.right is not None:
            self._tell_differences(self._state.right)

    def users_missed(self) -> None:
        """We were told users of a host that we did not know, and the ring is of one mind again."""
        left = self._state.left
        if left is not None and left.takes_frames:
            left.send(Compare())

    def compare_received(self, link: Link, _message: Compare) -> None:
        self._tell_differences(link)

    def _tell_differences(self, link: Link) -> None:
        if link.takes_frames and not link.is_telling and self.users_count():
            self._compare(link, self._new_comparison(link, is_handshake=False))

    def _new_comparison(self, link: Link, *, is_handshake: bool) -> _Comparison:
        links = self._state.links
        self._comparisons = {i: c for i, c in self._comparisons.items() if i in links}
        comparison = self._comparisons[link.link_id] = _Comparison(is_handshake=is_handshake)
        link.is_comparing = True
        return comparison

    def _end_comparison(self, link: Link) -> None:
        del self._comparisons[link.link_id]
        link.is_comparing = False

    def _compare(self, link: Link, comparison: _Comparison) -> None:
        pools = list(self._state.pools.values())
        step = limits.DIGESTS_STEP_USERS * SHARDS_COUNT // max(1, self.users_count())
        step = min(SHARDS_COUNT, max(1, step))
        starts = range(0, SHARDS_COUNT, step)
        comparison.answers_missing = len(pools) * len(starts)
        link.start_export(self._digests(pools, starts, step))

    def wanted_received(self, link: Link, message: ShardsWanted) -> None:
        """Some of our digests were answered; when all are, tell what was wanted."""
        comparison = self._comparisons.get(link.link_id)
        pool = self._state.pools.get(message.tag)
        if comparison is None or pool is None or not comparison.answers_missing:
            raise RemoteProtocolError("shards wanted, expected no answer", token="ShardsWanted")
        comparison.wanted += ((pool, shard) for shard in message.shards)
        comparison.answers_missing -= 1
        if not comparison.answers_missing:
            self._end_comparison(link)
            link.start_export(self._users(comparison.wanted, comparison.is_handshake))

    # --- being told -------------------------------------------------------------------------------

    def digests_received(self, link: Link, message: Digests) -> None:
        if message.first + len(message.digests) > SHARDS_COUNT:
            raise RemoteProtocolError(
                f"{len(message.digests)} digests from shard {message.first} on,"
                f" expected at most {SHARDS_COUNT} shards",
                token="Digests",
            )
        if len(self._asked) >= limits.DIGESTS_WAITING_MAX:
            raise RemoteProtocolError(
                f"more than {limits.DIGESTS_WAITING_MAX} unanswered (DIGESTS_WAITING_MAX)",
                token="Digests",
            )
        self._asked.append((link, message))

    def continue_work(self) -> None:
        """Answer the digests of one message."""
        link, message = self._asked.popleft()
        if link.link_id not in self._state.links:
            return
        pool = self._state.pools.get(message.tag)
        wanted = tuple(
            shard
            for shard, digest in enumerate(message.digests, message.first)
            if pool is None or digest == 0 or digest != self._digest(pool, shard)
        )
        link.send(ShardsWanted(tag=message.tag, shards=wanted))

    # --- columns and digests ----------------------------------------------------------------------

    def _everything(self) -> Iterator[Message]:
        pools = list(self._state.pools.values())
        places = ((pool, shard) for pool in pools for shard in range(SHARDS_COUNT))
        return self._users(places, is_handshake=True)

    def _users(self, places: Iterable[tuple[Pool, int]], is_handshake: bool) -> Iterator[Message]:
        """Yield users in steps of one shard at most.

        Expired users that no sweep has met yet are included; whoever receives them drops them.
        """
        for pool, shard in places:
            yield from self._shard(pool, shard)
        if is_handshake:
            yield from _END

    def _shard(self, pool: Pool, shard: int) -> Iterator[Users]:
        by_number = self._state.hosts.by_number
        hashes, numbers, timestamps = pool.table.shard(shard)
        distinct = sorted(set(numbers))
        position = {number: index for index, number in enumerate(distinct)}
        for start in range(0, len(hashes), limits.STEP_USERS_MAX):
            rows = slice(start, start + limits.STEP_USERS_MAX)
            weak = pool.weak
            yield Users(
                hashes=hashes[rows],
                timestamps=timestamps[rows],
                hosts=tuple(host.ip for n in distinct if (host := by_number[n]) is not None),
                host_indexes=[position[number] for number in numbers[rows]],
                weak=frozenset(i for i, h in enumerate(hashes[rows]) if h in weak)
                if weak
                else frozenset(),
                is_handshake=True,
            )

    def _digests(self, pools: list[Pool], starts: range, step: int) -> Iterator[Message]:
        for pool in pools:
            for first in starts:
                shards = range(first, min(first + step, SHARDS_COUNT))
                digests = tuple(self._digest(pool, shard) for shard in shards)
                yield Digests(tag=pool.tag, first=first, digests=digests)

    def _digest(self, pool: Pool, shard: int) -> int:
        """Return the digest of a shard, 0 if it has weak users, of whom it tells nothing."""
        if any(user_hash >> 24 == shard for user_hash in pool.weak):
            return 0
        state = self._state
        return pool.table.digest(shard, state.wall - state.settings.user_expire_s)
