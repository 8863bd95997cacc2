"""The promises, checked where they can break.

    one-host    no user is live on two mail hosts, except inside a window that has a name
    settled     a user that was is live on one again, within a stated time after the window
    one-ring    healed, all directors stand in one synced ring, in the order of their addresses
    same-hosts  healed, all directors have the same mail hosts
    same-users  healed, all directors have every user on the same host
    answered    every lookup and command is answered once, in time
    up-host     a user who is new to a host is sent there only if it is up
    moves       a moved user logs in nowhere before every director has kicked; one flush program
    quiet       nothing is said twice, nothing unchanged is passed on, silence when all is said
    at-rest     limits hold, and nothing is left over when everybody has gone
    weights     hosts get their share of users, and few users move when a host comes or goes
    no-bug      no exception, no broken protocol between our own directors

Two more take several runs, which tests/sim/test_seeds.py compares: the same seed gives the same
trace, and administrators' work ends in the same state on classic, native and mixed rings.

What a promise may be excused by, and for how long, is in `windows.py`; each excuse is counted by
name. A session is excused for itself if nobody could end it (`workload.py` says when and why).
"""

from __future__ import annotations

import enum
from collections import Counter, deque
from collections.abc import Hashable
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import attrs

from ring import limits
from ring.address import IpAddress
from ring.effects import CommandAnswered, Kick, KickHash, LookupAnswered, Noted, RunFlushProgram
from ring.users import expiry_margin_s
from sim.windows import Windows

if TYPE_CHECKING:
    from sim.machine import Machine
    from sim.workload import Pending, Session, User
    from sim.world import World

SETTLE_S = {"native": 15.0, "classic": 120.0, "mixed": 120.0}
"""How long after the last window a user may stay on two hosts."""

KICKED_S = 5.0
"""How long a session may live on when the ring is whole and has been told that it must not."""

FORGOTTEN = "users forgotten by an administrator"
FORGET_SPREAD_S = 5.0
LOOKUP_SLACK_S = 2.0
FLUSH_MEMORY_S = 60.0
MOVED_S = 90.0
"""A user may be moved to a host that is going down elsewhere; whoever began it did not know yet."""


class Promise(enum.Enum):
    ONE_HOST = "one-host"
    SETTLED = "settled"
    ONE_RING = "one-ring"
    SAME_HOSTS = "same-hosts"
    SAME_USERS = "same-users"
    ANSWERED = "answered"
    UP_HOST = "up-host"
    MOVES = "moves"
    QUIET = "quiet"
    AT_REST = "at-rest"
    WEIGHTS = "weights"
    NO_BUG = "no-bug"


@attrs.frozen(kw_only=True)
class Violation:
    at: float
    promise: Promise
    detail: str

    def __str__(self) -> str:
        return f"{self.promise.value} broken at {self.at:.3f} s: {self.detail}"


class Broken(Exception):
    """Ends a run at its first violation."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(str(violation))
        self.violation = violation


@attrs.define(eq=False, kw_only=True)
class Conflict:
    """One user, live on two hosts; `window` is why that is allowed."""

    user: User
    began_at: float
    window: str


@attrs.frozen(kw_only=True)
class Reported:
    """A session on the losing host of a conflict; `is_own`: of the director that said so."""

    at: float
    session: Session
    is_own: bool


class Promises:
    def __init__(self, world: World) -> None:
        self._world = world
        self.faults = Windows(world)
        self.windows: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.conflicts_count = 0
        self.conflicts_settled_count = 0
        self.worst_conflict_s = 0.0
        self.worst_by_window: dict[str, float] = {}
        self.worst_jump_s = 0.0
        self.has_clock_window = False
        self.open_conflicts: dict[int, Conflict] = {}
        self._to_be_kicked: deque[Reported] = deque()
        self._forgotten: dict[IpAddress, float] = {}
        self._known: set[tuple[int, IpAddress]] = set()
        self._killing: dict[int, set[int]] = {}
        self._flushes: dict[int, list[float]] = {}
        self._hanging: set[int] = set()
        self._hung_until: dict[int, float] = {}
        self._moved: dict[int, float] = {}
        self._moves_begun: dict[int, list[float]] = {}

    # --- breaking -------------------------------------------------------------------------------

    def break_(self, promise: Promise, detail: str) -> None:
        world = self._world
        violation = Violation(at=world.now, promise=promise, detail=detail)
        world.trace.add(world.now, "-----", "PROMISE BROKEN", f"{promise.value}: {detail}")
        raise Broken(violation)

    def excuse(self, promise: Promise, window: str, detail: str) -> None:
        """Count something that is allowed in this window."""
        world = self._world
        self.windows[f"{promise.value}: {window}"] += 1
        world.trace.add(world.now, "-----", "excused", f"{promise.value} ({window}): {detail}")

    # --- windows --------------------------------------------------------------------------------

    def window(self, *machines: Machine, counts_clocks: bool = True) -> str:
        """Return the name of a window that excuses this, empty if there is none."""
        numbers = [machine.number for machine in machines]
        return self.faults.name(*numbers, counts_clocks=counts_clocks)

    def classic_window(self, promise: Promise, name: str, detail: str) -> bool:
        """Excuse what the original's protocol cannot do better; native links have no excuse."""
        if not self.faults.is_defect(name):
            return False
        self.excuse(promise, f"classic {name}", detail)
        return True

    def forgotten(self, ip: IpAddress) -> None:
        """An administrator told the ring to forget a host's users; their sessions go on."""
        self._forgotten[ip] = self._world.now
        for user in self._world.workload.users:
            for session in user.sessions:
                if session.ip == ip:
                    session.forgive(FORGOTTEN, self._world.now)

    def _is_being_forgotten(self, ip: object) -> bool:
        """Tell whether a command to forget a host's users may still be on its way somewhere."""
        assert isinstance(ip, IPv4Address)
        return self._forgotten.get(ip, float("-inf")) + FORGET_SPREAD_S >= self._world.now

    # --- one-host -------------------------------------------------------------------------------

    def session_begun(self, session: Session) -> None:
        world = self._world
        if self._is_being_forgotten(session.ip):
            session.forgive(FORGOTTEN, world.now)
        user = session.user
        others = [s for s in user.sessions if s.is_live and s.ip != session.ip]
        if not others or user.number in self.open_conflicts:
            return
        excuse = next((s.excuse for s in [*others, session] if s.excuse), "")
        window = excuse or self.window(session.machine, others[0].machine)
        detail = (
            f"user {user.number} is live on {session.ip} through {session.machine.lane} and on"
            f" {others[0].ip} through {others[0].machine.lane}"
        )
        if window:
            self.excuse(Promise.ONE_HOST, window, detail)
        elif self.classic_window(
            Promise.ONE_HOST, defect := self._defect_of(user.user_hash), detail
        ):
            window = f"classic {defect}"
        else:
            self.break_(Promise.ONE_HOST, detail)
        self.conflicts_count += 1
        self.open_conflicts[user.number] = Conflict(user=user, began_at=world.now, window=window)

    def _defect_of(self, user_hash: int) -> str:
        """Return which defect of the original gives this user two hosts."""
        moved_at = self._moved.get(user_hash, float("-inf"))
        if moved_at + limits.MOVE_TIMEOUT_S >= self._world.now:
            return "kill report without a name"
        return "export not forwarded"

    def session_ended(self, session: Session) -> None:
        user = session.user
        conflict = self.open_conflicts.get(user.number)
        if conflict is None or len({s.ip for s in user.sessions if s.is_live}) > 1:
            return
        del self.open_conflicts[user.number]
        self.conflicts_settled_count += 1
        seconds = self._world.now - conflict.began_at
        self.worst_conflict_s = max(self.worst_conflict_s, seconds)
        worst_s = max(self.worst_by_window.get(conflict.window, 0.0), seconds)
        self.worst_by_window[conflict.window] = worst_s
        self._world.trace.add(
            self._world.now, "-----", "one host again", f"user={user.number} after {seconds:.3f} s"
        )

    def check_conflicts(self) -> None:
        """Every second: is somebody on two hosts for longer than allowed?"""
        world = self._world
        for conflict in list(self.open_conflicts.values()):
            live = [s for s in conflict.user.sessions if s.is_live]
            if any(session.excuse for session in live):
                continue
            since = max(conflict.began_at, self.faults.quiet_since)
            if world.now <= since + SETTLE_S[world.plan.codec]:
                continue
            hosts = ", ".join(f"{s.ip} through {s.machine.lane}" for s in live)
            detail = f"user {conflict.user.number} is still live on {hosts}"
            if not self.classic_window(Promise.SETTLED, "export not forwarded", detail):
                self.break_(Promise.SETTLED, detail)
            del self.open_conflicts[conflict.user.number]

    def _conflict_reported(self, machine: Machine, user_hash: int, loser: str) -> None:
        """A director says that two hosts had a user: whoever is on the loser is to be kicked.

        Its own sessions in any case; those of others if everybody can be told.
        """
        world = self._world
        is_told = world.now >= self.faults.quiet_since and world.is_whole()
        for user in world.workload.by_hash.get(user_hash, ()):
            for session in user.sessions:
                is_own = session.machine is machine
                if str(session.ip) == loser and (is_own or is_told):
                    reported = Reported(at=world.now, session=session, is_own=is_own)
                    self._to_be_kicked.append(reported)

    def check_kicks(self) -> None:
        """Every second: has everybody been kicked who was to be?"""
        world = self._world
        while self._to_be_kicked and self._to_be_kicked[0].at + KICKED_S < world.now:
            reported = self._to_be_kicked.popleft()
            session = reported.session
            machine = session.machine
            is_forgiven = session.excused_at >= reported.at  # of what came later
            is_excused = is_forgiven or machine.is_off or machine.is_paused
            is_late = machine.resumed_at + KICKED_S > world.now or world.is_kicking_slow()
            is_told = reported.is_own or reported.at >= self.faults.quiet_since
            if session.is_ended or is_excused or is_late or not is_told:
                continue
            detail = (
                f"user {session.user.number} is still live on {session.ip} through {machine.lane},"
                f" {KICKED_S:.0f} s after that was reported"
            )
            self.break_(Promise.SETTLED, detail)

    # --- answered, up-host, moves -----------------------------------------------------------------

    def lookup_decided(
        self,
        machine: Machine,
        token: Hashable,
        pending: Pending | None,
        ip: IpAddress,
        waited_s: float,
    ) -> None:
        node = machine.node
        assert node is not None
        if pending is None:
            self.break_(Promise.ANSWERED, f"{machine.lane} answered token {token} nobody waits for")
            return
        if waited_s > limits.LOOKUP_TIMEOUT_S + LOOKUP_SLACK_S and not self.window(machine):
            self.break_(Promise.ANSWERED, f"{machine.lane} answered {token} after {waited_s:.1f} s")
        user = pending.device.user
        host = node.hosts.get(ip)
        if host is None:
            self.break_(
                Promise.UP_HOST,
                f"{machine.lane} sent user {user.number} to {ip}, which is not in its list",
            )
        elif (
            host.is_down
            and (user.number, ip) not in self._known
            and self._moved.get(user.user_hash, float("-inf")) + MOVED_S < self._world.now
        ):
            self.break_(
                Promise.UP_HOST,
                f"{machine.lane} sent user {user.number} to {ip}, which is down, and new to it",
            )
        self._known.add((user.number, ip))
        for number in self._killing.get(user.user_hash, ()):
            self._check_move(machine, self._world.machines[number - 1], user, ip)

    def _check_move(self, machine: Machine, killer: Machine, user: User, ip: IpAddress) -> None:
        node = killer.node
        if node is None or killer is machine:
            return
        current = node.user_status(user.user_hash, user.tag, self._world.now).current
        if current is None or current.ip != ip:
            return  # it does not know of the move yet, and will kick this login too
        detail = (
            f"{machine.lane} sent user {user.number} to its new host {ip} while {killer.lane}"
            " was still kicking"
        )
        window = self.window(machine, killer)
        if window:
            self.excuse(Promise.MOVES, window, detail)
        elif not self.classic_window(Promise.MOVES, "kill report without a name", detail):
            self.break_(Promise.MOVES, detail)

    def lookup_failed(
        self, machine: Machine, answer: LookupAnswered, pending: Pending | None
    ) -> None:
        world = self._world
        if pending is None:
            self.break_(
                Promise.ANSWERED, f"{machine.lane} failed token {answer.token} nobody waits for"
            )
        node = machine.node
        assert node is not None
        window = self.window(counts_clocks=False)
        if not window and node.hosts.lookup(answer.user_hash, answer.tag) is None:
            window = "no host is up"
        if not window and not node.is_synced:
            window = world.trouble()
        if not window and "kill waiting" in answer.detail:
            window = "kick-trouble" if world.is_kicking_slow() else ""
        is_weak = "weak user" in answer.detail
        if window:
            self.excuse(Promise.ANSWERED, window, f"{machine.lane}: {answer.detail}")
        elif is_weak and self.classic_window(Promise.ANSWERED, "weak mark lost", answer.detail):
            pass
        elif not self._is_left_missed(answer.detail):
            self.break_(Promise.ANSWERED, f"{machine.lane} failed a login: {answer.detail}")

    def check_parked(self) -> None:
        """Every second: has a lookup been forgotten?"""
        world = self._world
        for token, pending in world.workload.pending.items():
            machine = pending.machine
            overdue_s = limits.LOOKUP_TIMEOUT_S + LOOKUP_SLACK_S
            if (
                pending.is_parked
                and not machine.is_paused
                and pending.parked_at + overdue_s < world.now
            ):
                if machine.resumed_at + LOOKUP_SLACK_S >= world.now:
                    continue
                self.break_(Promise.ANSWERED, f"{machine.lane} has never answered token {token}")

    def command_answered_twice(self, machine: Machine, effect: CommandAnswered) -> None:
        self.break_(
            Promise.ANSWERED,
            f"{machine.lane} answered command {effect.token} again: {effect.answer}",
        )

    def command_timed_out(self, machine: Machine, command: str) -> None:
        detail = f"{machine.lane}: {command} timed out"
        window = self.window(counts_clocks=False) or self._world.trouble()
        if window:
            self.excuse(Promise.ANSWERED, window, detail)
        elif not self._is_left_missed(detail):
            self.break_(Promise.ANSWERED, detail)

    def _is_left_missed(self, detail: str) -> bool:
        """Excuse, on classic links, a ring in which one waits, or has until now, for a left."""
        is_missed = "never been synced" in detail or any(map(_lacks_left, self._world.live()))
        defect = "right neighbour but no left"
        return is_missed and self.classic_window(Promise.ANSWERED, defect, detail)

    def command_forgotten(self, machine: Machine, command: str) -> None:
        self.break_(Promise.ANSWERED, f"{machine.lane} never answered {command}")

    def kick_begun(self, machine: Machine, kick: Kick) -> None:
        for away in self._world.machines:
            if away.is_off and away.has_power:
                self._world.workload.excuse(kick.what, "director away when kicked", machine=away)
        if isinstance(kick.what, KickHash) and _is_for_move(kick.what):
            self._moved[kick.what.user_hash] = self._world.now
            self._killing.setdefault(kick.what.user_hash, set()).add(machine.number)
            if machine.kick_trouble == "hang":
                delay_s = limits.KICK_TIMEOUT_S + self._world.plan.kick_delay_s + LOOKUP_SLACK_S
                self._hung_until[kick.what.user_hash] = self._world.now + delay_s

    def kick_ended(self, machine: Machine, kick: Kick) -> None:
        if isinstance(kick.what, KickHash) and _is_for_move(kick.what):
            self._killing.get(kick.what.user_hash, set()).discard(machine.number)

    def director_died(self, machine: Machine) -> None:
        for numbers in self._killing.values():
            numbers.discard(machine.number)

    def user_moved(self, user_hash: int, ip: IpAddress | None) -> None:
        """An administrator moves a user, or all users (hash 0)."""
        self._moves_begun.setdefault(user_hash, []).append(self._world.now)
        if ip is not None:
            for user in self._world.workload.by_hash.get(user_hash, ()):
                self._known.add((user.number, ip))

    def flush_begun(self, machine: Machine, effect: RunFlushProgram) -> None:
        """Count the flush programs of a user against the moves that were asked for."""
        if machine.flush_trouble == "hang":
            self._hanging.add(effect.user_hash)
        since = self._world.now - FLUSH_MEMORY_S
        flushes = [at for at in self._flushes.get(effect.user_hash, []) if at > since]
        flushes.append(self._world.now)
        self._flushes[effect.user_hash] = flushes
        moves = [
            at
            for key in (0, effect.user_hash)
            for at in self._moves_begun.get(key, ())
            if at > since - limits.MOVE_TIMEOUT_S
        ]
        if len(flushes) > len(moves):
            self.break_(
                Promise.MOVES,
                f"{machine.lane} runs flush program {len(flushes)} for user hash"
                f" {effect.user_hash} after {len(moves)} moves",
            )

    # --- quiet, no-bug ----------------------------------------------------------------------------

    def echoed(self, machine: Machine, detail: str, *, is_stamped: bool = False) -> None:
        detail = f"{machine.lane}: {detail}"
        name = "stamps reset by DIRECTOR"
        if not is_stamped or not self.classic_window(Promise.QUIET, name, detail):
            self.break_(Promise.QUIET, detail)

    def storm(self, events: int) -> None:
        self.break_(Promise.QUIET, f"{events} events in one second: a storm")

    def noted(self, machine: Machine, note: Noted) -> None:
        self.notes[note.kind] += 1
        fields = " ".join(f"{name}={value}" for name, value in note.fields)
        self._world.trace.add(self._world.now, machine.lane, note.kind, fields)
        if note.kind == "bug":
            self.break_(Promise.NO_BUG, f"{machine.lane}: {fields}")
        if note.kind == "user_conflict_settled":
            values = dict(note.fields)
            user_hash = int(str(values["user_hash"]))
            self._conflict_reported(machine, user_hash, str(values["loser"]))
            is_forgotten = any(self._is_being_forgotten(values[host]) for host in ("host", "loser"))
            self._conflict_settled(machine, user_hash, fields, FORGOTTEN if is_forgotten else "")
        if note.kind == "host_went_down":
            self._host_went_down(machine, dict(note.fields)["host"])
        if note.kind == "move_timed_out":
            self._move_timed_out(machine, dict(note.fields))
        if note.kind == "ring_synced":
            self._ring_synced(machine)
        if note.kind == "link_broke_protocol" and not self._world.has_strays:
            if "broke the protocol" in fields:
                return  # a consequence of an earlier one, which was judged
            if "unknown host" in fields and self.classic_window(
                Promise.NO_BUG, "handshake user on a host that was removed", fields
            ):
                return
            self.break_(Promise.NO_BUG, f"{machine.lane} refused a director of ours: {fields}")

    def _host_went_down(self, machine: Machine, ip: object) -> None:
        """Whom it has stays there, even if it has not logged in since a flush sent it there."""
        users = self._world.workload.users
        for tag in {user.tag for user in users}:
            rows = [user for user in users if user.tag == tag]
            places = machine.places(tag, [user.user_hash for user in rows])
            self._known.update(
                (user.number, place)
                for user, place in zip(rows, places, strict=True)
                if place is not None and place == ip
            )

    def _conflict_settled(self, machine: Machine, user_hash: int, fields: str, excuse: str) -> None:
        """Two directors gave a user two hosts, whether or not it had sessions on both by then."""
        detail = f"{machine.lane} heard of two hosts for one user: {fields}"
        is_hung = self._hung_until.get(user_hash, float("-inf")) >= self._world.now
        hung = "kick that hangs" if is_hung else ""  # its director says so when that is over
        if window := excuse or self.window() or hung:
            self.excuse(Promise.ONE_HOST, window, detail)
        elif not self.classic_window(Promise.ONE_HOST, self._defect_of(user_hash), detail):
            self.break_(Promise.ONE_HOST, detail)

    def _ring_synced(self, machine: Machine) -> None:
        """Its SYNC came back: everybody has the same hosts, or is changing them again."""
        node = machine.node
        assert node is not None
        if not node.is_synced or node.is_alone:
            return
        for other in self._world.live():
            peer = other.node
            assert peer is not None
            is_settled = peer.is_synced and not peer.is_alone
            if not is_settled or peer.hosts.hosts_hash() == node.hosts.hosts_hash():
                continue
            detail = f"{machine.lane} is synced with {other.lane}, which has other mail hosts"
            if window := self.window():
                self.excuse(Promise.SAME_HOSTS, window, detail)
            else:
                self.break_(Promise.SAME_HOSTS, detail)

    def _move_timed_out(self, machine: Machine, fields: dict[str, object]) -> None:
        """A move that everybody could answer must not take thirty seconds."""
        detail = f"{machine.lane}: a move timed out: {fields}"
        window = self.window(counts_clocks=False) or self._world.trouble()
        if fields.get("stage") == "flushing" and fields["user_hash"] in self._hanging:
            window = "flush program that hangs"
        if window:
            self.excuse(Promise.MOVES, window, detail)
        elif not self.classic_window(Promise.MOVES, "kill report without a name", detail):
            self.break_(Promise.MOVES, detail)

    def margin_s(self) -> float:
        """How far two clocks may be apart before they disagree on who has expired."""
        plan = self._world.plan
        return expiry_margin_s(plan.expire_s) - 2 - plan.latency_s - plan.jitter_s


def _is_for_move(what: KickHash) -> bool:
    """Tell a move's kick from one that settles a conflict, which nobody waits for."""
    return what.except_ip is None


def _lacks_left(machine: Machine) -> bool:
    assert machine.node is not None
    roles = {status.role for status in machine.node.directors_status(machine.world.now)}
    return "right" in roles and "left" not in roles
