"""Bugs of the ring that the simulator found, each as it was, with the scenario that it left behind.

Planted like those of `planted.py`, so that a scenario can show that it would be red without the
mending. Where the ring has been written anew since, the old behaviour is put into what does the
work today: a new director once passed on what it was told row by row, now `Exports.spread` does.

Bugs of which only a test in `tests/ring` is left, because no small plan breaks a promise any more
when they are put back: the older of two states of a mail host, a move that timed out in silence,
eight copies of a DIRECTOR line, users told after a handshake that nobody passed on; and a timer
that rounding made due for ever, as the simulator's clock goes on by itself.
"""

from __future__ import annotations

import attrs

import ring.places
import ring.sync
from ring.directors import Director, Directors
from ring.errors import RemoteProtocolError
from ring.exports import Exports
from ring.gossip import Gossip, Refreshed
from ring.host_list import HostList
from ring.hosts import MailHost
from ring.link import Link
from ring.lookups import Lookups
from ring.messages import HostsStart, Users
from ring.move import Move
from ring.moves import Moves
from ring.neighbours import Neighbours
from ring.settings import NodeSettings
from ring.state import Pool, State
from sim.verdict import Promise
from tests.sim.planted import PlantedBug


@attrs.frozen
class MendedBug:
    """`scenario` is the name of a file in `tests/scenarios`, without `.native.txt`."""

    scenario: str
    bug: PlantedBug


def _spread_nothing(self: Exports, source: Link) -> None:
    pass


_forget_sequences = Director.forget_sequences


def _forget_every_sequence(self: Director) -> None:
    _forget_sequences(self)
    self.last_sequence = 0


_lost = Neighbours.lost


def _lost_and_held_against_it(self: Neighbours, link: Link, reason: str) -> None:
    assert link.director is not None
    link.director.network_failed_at = self._state.now
    _lost(self, link, reason)


_init = State.__init__


def _count_from_nought(
    self: State, settings: NodeSettings, directors: Directors, now: float, wall: float
) -> None:
    _init(self, settings, directors, now, wall)
    self.sync_sequence = 0


def _mark_nobody_again(self: Lookups) -> None:
    pass


_users_received = Gossip.users_received


def _refuse_users_of_removed_hosts(self: Gossip, link: Link, users: Users) -> None:
    if users.is_handshake and None in [self._state.hosts.get(ip) for ip in users.hosts]:
        raise RemoteProtocolError("handshake user on an unknown host", token="U", is_stamped=False)
    _users_received(self, link, users)


def _refresh_what_was_told(self: Lookups, pool: Pool, user_hash: int, host: MailHost) -> None:
    wall = self._state.wall
    pool.table.store(user_hash, host.number, wall)
    self._gossip.flood_user(pool, user_hash, wall << 16 | host.number, exclude=None)


def _never_overlapped(self: Moves, pool: Pool, user_hash: int) -> Move | None:
    return None


def _ask_nobody_again(self: Moves) -> None:
    pass


def _miss_users_in_silence(self: Exports) -> None:
    pass


def _is_right_missing(self: Moves) -> bool:
    return self._state.right is None


_end = Moves._end


def _end_in_silence(self: Moves, move: Move, *, is_repeated: bool = False) -> None:
    move.pool.moving[move.user_hash] = False
    _end(self, move, is_repeated=is_repeated)


def _greet_again(self: Exports, link: Link, its_users_count: int) -> None:
    comparison = self._comparisons.get(link.link_id)
    if comparison is None:
        return
    if 2 * its_users_count < self.users_count():
        self._end_comparison(link)
        link.start_export(self._everything())
    else:
        self._compare(link, comparison)


_refresh_user = Gossip.refresh_user


def _refresh_without_telling_the_loser(
    self: Gossip, pool: Pool, user_hash: int, host: MailHost, timestamp: int, *, is_weak: bool
) -> Refreshed:
    outcome = _refresh_user(self, pool, user_hash, host, timestamp, is_weak=is_weak)
    return attrs.evolve(outcome, is_settled=False)


_block_started = HostList.block_started


def _take_hosts_of_each(self: HostList, link: Link, message: HostsStart) -> None:
    self._has_taken_hosts = False
    _block_started(self, link, message)


SPREADS_NOTHING = PlantedBug(
    "spreads nothing", Promise.SAME_USERS, Exports, "spread", _spread_nothing
)
BEARS_A_GRUDGE = PlantedBug(
    "holds a young link that broke against its peer",
    Promise.ONE_HOST,
    Neighbours,
    "lost",
    _lost_and_held_against_it,
)
COUNTS_FROM_NOUGHT = PlantedBug(
    "counts its rounds of SYNC from nought",
    Promise.ONE_RING,
    State,
    "__init__",
    _count_from_nought,
)
MARKS_ONCE = PlantedBug(
    "marks a user as weak only once",
    Promise.ANSWERED,
    Lookups,
    "ring_synced",
    _mark_nobody_again,
)
RESTS_FOR_LONG = PlantedBug(
    "looks for a lost half every thirty seconds",
    Promise.ONE_HOST,
    ring.sync,
    "NATIVE_PREFERRED_RIGHT_S",
    30.0,
)
RUNS_IN_CIRCLES = PlantedBug(
    "obeys redirects in circles", Promise.QUIET, ring.places, "REDIRECT_FAILED_S", 0.0
)
FORGETS_STAMPS = PlantedBug(
    "forgets stamps when announced",
    Promise.QUIET,
    Director,
    "forget_sequences",
    _forget_every_sequence,
)
REFUSES_USERS = PlantedBug(
    "refuses users of removed hosts",
    Promise.NO_BUG,
    Gossip,
    "users_received",
    _refuse_users_of_removed_hosts,
)
TELLS_AGAIN = PlantedBug(
    "tells what was told in this second", Promise.QUIET, Lookups, "_refresh", _refresh_what_was_told
)
KEEPS_THE_FIRST = PlantedBug(
    "keeps the first of two moves", Promise.MOVES, Moves, "_overlapped", _never_overlapped
)
ASKS_NOBODY = PlantedBug(
    "asks nobody again who has kicked", Promise.MOVES, Moves, "ring_synced", _ask_nobody_again
)
GOES_ALONE = PlantedBug(
    "takes itself for alone without a right neighbour",
    Promise.MOVES,
    Moves,
    "_has_nobody_to_ask",
    property(_is_right_missing),
)
ENDS_IN_SILENCE = PlantedBug(
    "ends a contradicted move in silence", Promise.SAME_USERS, Moves, "_end", _end_in_silence
)
MISSES_IN_SILENCE = PlantedBug(
    "asks nobody for the users it missed",
    Promise.ONE_HOST,
    Exports,
    "users_missed",
    _miss_users_in_silence,
)
GREETS_AGAIN = PlantedBug(
    "asks again when it is greeted", Promise.NO_BUG, Exports, "hello_received", _greet_again
)
LEAVES_THE_LOSER = PlantedBug(
    "leaves the loser of a conflict untold",
    Promise.SAME_USERS,
    Gossip,
    "refresh_user",
    _refresh_without_telling_the_loser,
)
TAKES_HOSTS_OF_EACH = PlantedBug(
    "takes the hosts of each caller",
    Promise.SAME_USERS,
    HostList,
    "block_started",
    _take_hosts_of_each,
)

MENDED = (
    MendedBug("hosts-taken-twice", TAKES_HOSTS_OF_EACH),
    MendedBug("removed-while-it-is-set", MISSES_IN_SILENCE),
    MendedBug("five-start-at-once", GREETS_AGAIN),
    MendedBug("moved-in-a-partition", LEAVES_THE_LOSER),
    MendedBug("two-new-at-once", SPREADS_NOTHING),
    MendedBug("second-outage", RESTS_FOR_LONG),
    MendedBug("reset-of-a-young-link", BEARS_A_GRUDGE),
    MendedBug("hung-while-another-restarts", COUNTS_FROM_NOUGHT),
    MendedBug("weak-mark-cut-off", MARKS_ONCE),
    MendedBug("redirected-in-circles", RUNS_IN_CIRCLES),
    MendedBug("kicks-while-a-ring-forms", FORGETS_STAMPS),
    MendedBug("back-with-a-removed-host", REFUSES_USERS),
    MendedBug("lookups-retried-at-once", TELLS_AGAIN),
    MendedBug("two-moves-of-one-user", KEEPS_THE_FIRST),
    MendedBug("lost-report-of-a-kill", ASKS_NOBODY),
    MendedBug("initiator-without-a-right", GOES_ALONE),
    MendedBug("hung-through-a-move", ENDS_IN_SILENCE),
    MendedBug(
        "healed-in-the-delay-of-a-move", attrs.evolve(ENDS_IN_SILENCE, promise=Promise.ONE_HOST)
    ),
)
