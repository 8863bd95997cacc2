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

The first two are checked in `one_host.py`, what can only be judged when all is healed in
`healing.py`. What a promise may be excused by, and for how long, is in `windows.py`; each excuse is
counted by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import TYPE_CHECKING

from ring import limits
from ring.address import IpAddress
from ring.effects import CommandAnswered, Kick, KickHash, LookupAnswered, Noted, RunFlushProgram
from ring.lifetime import expiry_margin_s
from sim.one_host import OneHost
from sim.verdict import Judge, Promise

if TYPE_CHECKING:
    from sim.machine import Machine
    from sim.workload import Pending, User
    from sim.world import World

LOOKUP_SLACK_S = 2.0
FLUSH_MEMORY_S = 60.0
MOVED_S = 90.0
"""A user may be moved to a host that is going down elsewhere; whoever began it did not know yet."""


class Promises(Judge):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.one_host = OneHost(world, self)
        self.notes: Counter[str] = Counter()
        self.worst_jump_s = 0.0
        self.has_clock_window = False
        self._known: set[tuple[int, IpAddress]] = set()
        self._killing: dict[int, set[int]] = {}
        self._flushes: dict[int, list[float]] = {}
        self._hanging: set[int] = set()
        self._moves_begun: dict[int, list[float]] = {}

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
            and self.one_host.moved_at.get(user.user_hash, float("-inf")) + MOVED_S
            < self._world.now
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
            self.one_host.moved_at[kick.what.user_hash] = self._world.now
            self._killing.setdefault(kick.what.user_hash, set()).add(machine.number)
            if machine.kick_trouble == "hang":
                delay_s = limits.KICK_TIMEOUT_S + self._world.plan.kick_delay_s + LOOKUP_SLACK_S
                self.one_host.hung_until[kick.what.user_hash] = self._world.now + delay_s

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
            self.one_host.conflict_noted(machine, dict(note.fields), fields)
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
