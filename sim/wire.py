"""What directors say to each other, looked at from outside: no storms, no echoes.

Every byte is decoded once more, where it is sent and where it is heard, by decoders of this file's
own. Promises checked here:

- a director passes a stamped message on once per connection;
- a user that did not change is not passed on: the same row twice on one connection, or back on the
  only one it came from, is an echo, unless something local asked for it in between;
- nobody gossips users that have expired by its own clock.

Exports of a handshake are no gossip. What is gathered before it is sent (`batch_s`, a full window)
may cross what comes in, so that echoes are not looked for there. The original lets a DIRECTOR line
reset what it remembers of stamps (ring-protocol.md section 17, defect 2); with classic links that
is a window with a name.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from ring.address import IpAddress
from ring.link import Link
from ring.messages import HostsStart, Message, Ping, Pong, Stamp, Sync, Users, UserWeak
from sim.network import End

if TYPE_CHECKING:
    from sim.machine import Machine
    from sim.world import World

Row = tuple[IpAddress, int]
EXPIRED_SLACK_S = 1

CLOCK_SET_S = 1.0
"""What a director said just before its clock was set may be on its way out."""

WEAK_COPIES_MAX = 12
"""Weak marks travel in both directions and are copied a few times on purpose."""

DIALS_WITHIN_S = 4.0
DIALS_MAX = 60
DIALS_PER_DIRECTOR_MAX = 6
"""More connections than either are a loop. Ten directors that are all away cost ten dials a second,
for the twenty seconds in which nobody believes to be alone."""

STAMPS_REMEMBERED = 4000


class Wire:
    def __init__(self, world: World) -> None:
        self._world = world
        self.messages: Counter[str] = Counter()
        self.rows_count = 0
        self.last_talk_at = 0.0
        self._sent_stamps: dict[tuple[int, Hashable], int] = {}
        self._sent_rows: dict[End, dict[int, Row]] = {}
        self._sources: dict[tuple[int, int], dict[End, Row]] = {}
        self._weak: set[tuple[int, int]] = set()
        self._marks: dict[tuple[int, int], tuple[float, int]] = {}
        self._answers: Counter[tuple[End, int]] = Counter()
        self._slow: set[End] = set()
        self._dials: dict[int, deque[float]] = {}
        self._dials_max = max(DIALS_MAX, DIALS_PER_DIRECTOR_MAX * world.plan.directors)

    # --- what the world tells -----------------------------------------------------------------

    def touched(self, machine: Machine, user_hash: int) -> None:
        """Something local may make this director speak of the user again."""
        self._sources.pop((machine.number, user_hash), None)
        for end, rows in self._sent_rows.items():
            if end.machine is machine:
                rows.pop(user_hash, None)

    def blocked(self, end: End) -> None:
        """The window is full: what is said from now on may be older than it looks."""
        self._slow.add(end)

    def dialled(self, machine: Machine) -> None:
        """Count dials: nobody may go round in circles."""
        now = self._world.now
        dials = self._dials.setdefault(machine.number, deque(maxlen=self._dials_max))
        dials.append(now)
        if len(dials) == self._dials_max and dials[0] > now - DIALS_WITHIN_S:
            dials.clear()
            self._world.promises.echoed(
                machine, f"{self._dials_max} connections dialled within {DIALS_WITHIN_S:.0f} s"
            )

    def forget(self, machine: Machine) -> None:
        """The process died, and with it what it had said."""
        self._sent_rows = {e: r for e, r in self._sent_rows.items() if e.machine is not machine}
        self._sent_stamps.clear()

    def brought_back(self, machine: Machine) -> None:
        """It says of users from the future what was said of them before, to whoever told it."""
        self.forget(machine)
        self._sources = {k: v for k, v in self._sources.items() if k[0] != machine.number}

    def _list_replaced(self, machine: Machine) -> None:
        """A director that is new takes another host list, and forgets the users of its own."""
        if machine.node is not None and not machine.node.statistics().is_handshaked:
            self._sent_rows = {e: r for e, r in self._sent_rows.items() if e.machine is not machine}

    # --- what is said ---------------------------------------------------------------------------

    def sent(self, end: End, messages: Sequence[Message]) -> None:
        world = self._world
        for message in messages:
            self.messages[type(message).__name__] += 1
            if isinstance(message, Users):
                self.last_talk_at = world.now
                self.rows_count += len(message)
                if not message.is_handshake:
                    self._users_sent(end, message)
                continue
            if not isinstance(message, Ping | Pong):
                self.last_talk_at = world.now
            if isinstance(message, UserWeak):
                self.touched(end.machine, message.user_hash)
            stamp = getattr(message, "stamp", None)
            if stamp is not None and not isinstance(message, Sync):
                self._stamp_sent(end, stamp, message)

    def heard(self, end: End, messages: Sequence[Message]) -> None:
        link = _link_of(end)
        if link is None or link.is_leaving:
            return  # it does not listen any more
        marks = Counter(m.user_hash for m in messages if isinstance(m, UserWeak))
        for user_hash, count in marks.items():
            self._marks[end.machine.number, user_hash] = self._world.now, count
            for other in self._sent_rows:
                if other.machine is end.machine:
                    self._answers.pop((other, user_hash), None)
        for message in messages:
            if isinstance(message, UserWeak):
                self.touched(end.machine, message.user_hash)
            if isinstance(message, HostsStart) and message.is_complete:
                self._list_replaced(end.machine)
            if not isinstance(message, Users):
                continue
            for row in message.weak:
                self.touched(end.machine, message.hashes[row])
                self._weak.add((end.machine.number, message.hashes[row]))
            for row, user_hash in enumerate(message.hashes):
                key = end.machine.number, user_hash
                if key in self._weak and row not in message.weak:
                    self._weak.discard(key)  # passed on, so that it is weak nowhere
                    self.touched(end.machine, user_hash)
                ip, timestamp = message.hosts[message.host_indexes[row]], message.timestamps[row]
                known = self._sources.setdefault(key, {})
                before = known.get(end)
                if before is None or before[0] != ip or before[1] < timestamp:
                    known[end] = ip, timestamp

    # --- judging --------------------------------------------------------------------------------

    def _stamp_sent(self, end: End, stamp: Stamp, message: Message) -> None:
        if len(self._sent_stamps) > STAMPS_REMEMBERED:
            self._sent_stamps.clear()
        key = end.serial, message
        count = self._sent_stamps[key] = self._sent_stamps.get(key, 0) + 1
        allowed = WEAK_COPIES_MAX if isinstance(message, UserWeak) else 1
        if count > allowed:
            self._world.promises.echoed(
                end.machine,
                f"{type(message).__name__} of {stamp} sent {count} times to"
                f" {end.peer.machine.lane}",
                is_stamped=True,
            )

    def _users_sent(self, end: End, message: Users) -> None:
        world = self._world
        machine = end.machine
        rows = self._sent_rows.setdefault(end, {})
        oldest = int(machine.wall) - world.plan.expire_s - EXPIRED_SLACK_S
        is_late = end in self._slow or machine.clock_set_at + CLOCK_SET_S >= world.now
        link = _link_of(end)
        is_late = is_late or link is None or not link.is_done  # it waited for the connection
        for row, user_hash in enumerate(message.hashes):
            ip, timestamp = message.hosts[message.host_indexes[row]], message.timestamps[row]
            value = ip, timestamp
            if timestamp <= oldest and not is_late and not world.plan.batch_s:
                world.promises.echoed(
                    machine, f"user {user_hash} gossiped {oldest - timestamp} s after its expiry"
                )
            if rows.get(user_hash) == value and not world.plan.batch_s:
                self._repeated(end, user_hash)
            known = self._sources.get((machine.number, user_hash), {})
            sources = [e for e, (i, t) in known.items() if i == ip and t >= timestamp]
            if sources == [end] and end not in self._slow and not world.plan.batch_s:
                world.promises.echoed(
                    machine, f"user {user_hash} sent back to {end.peer.machine.lane}"
                )
            rows[user_hash] = value

    def _repeated(self, end: End, user_hash: int) -> None:
        """Every weak mark is answered at once, and several may have come in one read."""
        self._answers[end, user_hash] += 1
        read_at, count = self._marks.get((end.machine.number, user_hash), (0.0, 1))
        if read_at < self._world.now or self._answers[end, user_hash] >= count:
            self._world.promises.echoed(
                end.machine, f"user {user_hash} sent twice unchanged to {end.peer.machine.lane}"
            )


def _link_of(end: End) -> Link | None:
    """Return what the director at this end makes of the connection."""
    node = end.machine.node
    return node.link(end.link_id) if node is not None and end.link_id is not None else None
