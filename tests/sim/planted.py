"""Known bugs, each planted into the real node for a while, to see whether the simulator notices.

A bug is one method of `ring/` replaced by a version that lacks a line or has it wrong, as somebody
may write it one day. This is no mock: nothing stands in for a collaborator and no call is recorded;
the node stays whole, runs as always, and is wrong in one place. `planted` puts the right version
back however its block ends.

Each bug names the one promise that must break. "Newer wins" is what ends gossip, so that merging by
arrival order is noise before it is disagreement.

Rejected: changed copies of the source (they rot unnoticed), and mutation testing at large (it asks
which line is covered, this which promise would notice).
"""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterator, Sequence

import attrs

import ring.lookups
from ring.directors import Director
from ring.effects import KickField, KickHash, KickName
from ring.gossip import Gossip
from ring.hosts import MailHost
from ring.link import Link
from ring.lookups import Lookups
from ring.messages import Stamp, Sync, UserKilled
from ring.moves import Move, Moves
from ring.neighbours import HOLD_OFF_S, Neighbours
from ring.sync import Synchroniser
from ring.users import ABSENT, UserTable
from sim.verdict import Promise


@attrs.frozen
class PlantedBug:
    """What is wrong, the promise that must break, and which attribute becomes `version`.

    `first_seed` skips seeds that are known to show nothing, to save time.
    """

    name: str
    promise: Promise
    owner: object
    attribute: str
    version: object
    first_seed: int = 0

    @contextlib.contextmanager
    def planted(self) -> Iterator[None]:
        """Let every node have this bug until the block ends, however it ends."""
        right = getattr(self.owner, self.attribute)
        setattr(self.owner, self.attribute, self.version)
        try:
            yield
        finally:
            setattr(self.owner, self.attribute, right)


# --- gossip -------------------------------------------------------------------------------------


def _accept_seen_stamps(self: Gossip, stamp: Stamp) -> Stamp:
    return stamp


_targets = Gossip._targets


def _targets_with_sender(self: Gossip, exclude: Director | None) -> list[Link]:
    return _targets(self, None)


def _export_is_no_news(self: Gossip, link: Link) -> bool:
    return False


_merge = UserTable.merge


def _merge_expired_users(
    self: UserTable,
    hashes: Sequence[int],
    host_numbers: Sequence[int],
    timestamps: Sequence[int],
    *,
    wall: int,
    expire_s: int,
    special: Container[int],
) -> tuple[list[int], list[int]]:
    columns = hashes, host_numbers, timestamps
    changed, slow = _merge(self, *columns, wall=wall, expire_s=expire_s, special=special)
    for row, (h, number, t) in enumerate(zip(*columns, strict=True)):
        if number >= 0 and t <= wall - expire_s and self.find(h) == ABSENT:
            self.store(h, number, t)
            changed.append(row)
    return changed, slow


def _merge_in_order_of_arrival(
    self: UserTable,
    hashes: Sequence[int],
    host_numbers: Sequence[int],
    timestamps: Sequence[int],
    *,
    wall: int,
    expire_s: int,
    special: Container[int],
) -> tuple[list[int], list[int]]:
    changed = []
    for row, (h, number, t) in enumerate(zip(hashes, host_numbers, timestamps, strict=True)):
        if number >= 0 and t > wall - expire_s and h not in special:
            if t > self.find(h) >> 16:
                changed.append(row)
            self.store(h, number, t)
    return changed, []


_kick = Gossip.kick


def _kick_for_moves_only(self: Gossip, what: KickName | KickField | KickHash) -> None:
    if not (isinstance(what, KickHash) and what.except_ip is not None):
        _kick(self, what)


# --- moves --------------------------------------------------------------------------------------


def _drop_user_killed(self: Moves, message: UserKilled) -> None:
    pass


def _release_when_done_here(self: Moves, move: Move) -> None:
    self._finish(move, is_idle=False)


_finish = Moves._finish


def _finish_as_initiator(self: Moves, move: Move, *, is_idle: bool = False) -> None:
    move.is_ours = True
    _finish(self, move, is_idle=is_idle)


def _expect_every_kick_to_be_of_a_move(
    self: Moves, kick_id: int, error: str | None, *, was_idle: bool
) -> None:
    self._local_done(self._by_kick.pop(kick_id))


# --- lookups and users --------------------------------------------------------------------------


def _is_never_near_expiry(timestamp: int, wall: int, expire_s: int) -> bool:
    return False


def _retry_nobody(self: Lookups, keys: list[tuple[bytes, int]]) -> None:
    pass


def _sweep_nothing(self: UserTable, index: int, expired_before: int, keep: Container[int]) -> int:
    return 0


# --- hosts and ring -----------------------------------------------------------------------------

_sync_received = Synchroniser.received


def _ignore_hosts_hash(self: Synchroniser, message: Sync) -> None:
    _sync_received(self, attrs.evolve(message, hosts_hash=0))


_preferred_due = Neighbours.preferred_due


def _return_to_nobody_who_failed(self: Neighbours) -> None:
    state = self._state
    preferred = state.directors.preferred_right()
    if preferred is not None and preferred.has_failed_since(state.now - HOLD_OFF_S):
        state.timers.set("preferred", state.now + self._sync.preferred_right_s)
    else:
        _preferred_due(self)


_points = MailHost.points


def _points_of_hosts_that_are_down(self: MailHost) -> list[int]:
    is_down, self.is_down = self.is_down, False
    points = _points(self)
    self.is_down = is_down
    return points


def _points_of_equal_hosts(self: MailHost) -> list[int]:
    weight, self.weight = self.weight, 100
    points = _points(self)
    self.weight = weight
    return points


BUGS = (
    PlantedBug("forgets a seen stamp", Promise.QUIET, Gossip, "accept", _accept_seen_stamps),
    PlantedBug("forwards to the sender", Promise.QUIET, Gossip, "_targets", _targets_with_sender),
    PlantedBug(
        "keeps an export to itself",
        Promise.SAME_USERS,
        Gossip,
        "is_export_forwarded",
        _export_is_no_news,
    ),
    PlantedBug("accepts an expired user", Promise.QUIET, UserTable, "merge", _merge_expired_users),
    PlantedBug(
        "merges by arrival order",
        Promise.QUIET,
        UserTable,
        "merge",
        _merge_in_order_of_arrival,
    ),
    PlantedBug(
        "settles a conflict and closes nothing",
        Promise.SETTLED,
        Gossip,
        "kick",
        _kick_for_moves_only,
        first_seed=40,
    ),
    PlantedBug("drops a USER-KILLED", Promise.MOVES, Moves, "killed_received", _drop_user_killed),
    PlantedBug(
        "releases a move too early", Promise.MOVES, Moves, "_local_done", _release_when_done_here
    ),
    PlantedBug(
        "runs the flush program everywhere", Promise.MOVES, Moves, "_finish", _finish_as_initiator
    ),
    PlantedBug(
        "takes every kick for a move's",
        Promise.NO_BUG,
        Moves,
        "kick_finished",
        _expect_every_kick_to_be_of_a_move,
    ),
    PlantedBug(
        "skips the weak round",
        Promise.ONE_HOST,
        ring.lookups,
        "is_near_expiry",
        _is_never_near_expiry,
        first_seed=50,
    ),
    PlantedBug(
        "forgets who waits for a move", Promise.ANSWERED, Lookups, "retry_users", _retry_nobody
    ),
    PlantedBug("forgets to forget users", Promise.AT_REST, UserTable, "sweep", _sweep_nothing),
    PlantedBug(
        "ignores the hosts hash", Promise.SAME_HOSTS, Synchroniser, "received", _ignore_hosts_hash
    ),
    PlantedBug(
        "holds off its preferred neighbour",
        Promise.ONE_RING,
        Neighbours,
        "preferred_due",
        _return_to_nobody_who_failed,
    ),
    PlantedBug(
        "sends users to a host that is down",
        Promise.UP_HOST,
        MailHost,
        "points",
        _points_of_hosts_that_are_down,
    ),
    PlantedBug("ignores weights", Promise.WEIGHTS, MailHost, "points", _points_of_equal_hosts),
)
