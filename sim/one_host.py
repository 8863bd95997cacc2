"""Is anybody live on two mail hosts, and is that settled?

    one-host    no user is live on two mail hosts, except inside a window that has a name
    settled     a user that was is live on one again, within a stated time after the window

A session is excused for itself if nobody could end it (`workload.py` says when and why), so here
also stands what the ring cannot know: users it was told to forget, whose sessions go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import attrs

from ring import limits
from ring.address import IpAddress
from sim.verdict import Judge, Promise

if TYPE_CHECKING:
    from sim.machine import Machine
    from sim.workload import Session, User
    from sim.world import World

SETTLE_S = {"native": 15.0, "classic": 120.0, "mixed": 120.0}
"""How long after the last window a user may stay on two hosts."""

KICKED_S = 5.0
"""How long a session may live on when the ring is whole and has been told that it must not."""

FORGOTTEN = "users forgotten by an administrator"
FORGET_SPREAD_S = 5.0


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


class OneHost:
    """`moved_at` and `hung_until` are told by `promises.py`, by user hash."""

    def __init__(self, world: World, judge: Judge) -> None:
        self._world = world
        self._judge = judge
        self.conflicts_count = 0
        self.conflicts_settled_count = 0
        self.worst_conflict_s = 0.0
        self.worst_by_window: dict[str, float] = {}
        self.open_conflicts: dict[int, Conflict] = {}
        self.moved_at: dict[int, float] = {}
        self.hung_until: dict[int, float] = {}
        self._to_be_kicked: deque[Reported] = deque()
        self._forgotten: dict[IpAddress, float] = {}

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

    def session_begun(self, session: Session) -> None:
        world = self._world
        if self._is_being_forgotten(session.ip):
            session.forgive(FORGOTTEN, world.now)
        user = session.user
        others = [s for s in user.sessions if s.is_live and s.ip != session.ip]
        if not others or user.number in self.open_conflicts:
            return
        excuse = next((s.excuse for s in [*others, session] if s.excuse), "")
        window = excuse or self._judge.window(session.machine, others[0].machine)
        detail = (
            f"user {user.number} is live on {session.ip} through {session.machine.lane} and on"
            f" {others[0].ip} through {others[0].machine.lane}"
        )
        if window:
            self._judge.excuse(Promise.ONE_HOST, window, detail)
        elif self._judge.classic_window(
            Promise.ONE_HOST, defect := self._defect_of(user.user_hash), detail
        ):
            window = f"classic {defect}"
        else:
            self._judge.break_(Promise.ONE_HOST, detail)
        self.conflicts_count += 1
        self.open_conflicts[user.number] = Conflict(user=user, began_at=world.now, window=window)

    def _defect_of(self, user_hash: int) -> str:
        """Return which defect of the original gives this user two hosts."""
        moved_at = self.moved_at.get(user_hash, float("-inf"))
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
            since = max(conflict.began_at, self._judge.faults.quiet_since)
            if world.now <= since + SETTLE_S[world.plan.codec]:
                continue
            hosts = ", ".join(f"{s.ip} through {s.machine.lane}" for s in live)
            detail = f"user {conflict.user.number} is still live on {hosts}"
            if not self._judge.classic_window(Promise.SETTLED, "export not forwarded", detail):
                self._judge.break_(Promise.SETTLED, detail)
            del self.open_conflicts[conflict.user.number]

    def _reported(self, machine: Machine, user_hash: int, loser: str) -> None:
        """A director says that two hosts had a user: whoever is on the loser is to be kicked.

        Its own sessions in any case; those of others if everybody can be told.
        """
        world = self._world
        is_told = world.now >= self._judge.faults.quiet_since and world.is_whole()
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
            is_told = reported.is_own or reported.at >= self._judge.faults.quiet_since
            if session.is_ended or is_excused or is_late or not is_told:
                continue
            detail = (
                f"user {session.user.number} is still live on {session.ip} through {machine.lane},"
                f" {KICKED_S:.0f} s after that was reported"
            )
            self._judge.break_(Promise.SETTLED, detail)

    def conflict_noted(self, machine: Machine, values: Mapping[str, object], fields: str) -> None:
        """Two directors gave a user two hosts, whether or not it had sessions on both by then."""
        user_hash = int(str(values["user_hash"]))
        self._reported(machine, user_hash, str(values["loser"]))
        is_forgotten = any(self._is_being_forgotten(values[host]) for host in ("host", "loser"))
        excuse = FORGOTTEN if is_forgotten else ""
        detail = f"{machine.lane} heard of two hosts for one user: {fields}"
        is_hung = self.hung_until.get(user_hash, float("-inf")) >= self._world.now
        hung = "kick that hangs" if is_hung else ""  # its director says so when that is over
        if window := excuse or self._judge.window() or hung:
            self._judge.excuse(Promise.ONE_HOST, window, detail)
        elif not self._judge.classic_window(Promise.ONE_HOST, self._defect_of(user_hash), detail):
            self._judge.break_(Promise.ONE_HOST, detail)
