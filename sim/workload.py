"""Users who log in, stay, and log out, on proxies that ask their machine's director.

Each user has devices; a device sleeps, logs in at any proxy, keeps its session for a while, and
starts over. In some runs all devices of a user log in at the same moments, about as far apart as
the user's entry lives: some directors may have forgotten it by then, others not. Sessions that are
kicked come back soon, as mail clients do. While a session lives its proxy refreshes the user every
half expiry, over proxy-notify; a director that is away is told when it is back, if that is not too
late. A login whose director is gone fails and is tried elsewhere.

A kick ends, when it is carried out, every session of the user that this machine's director has
given a host to, even one whose connection to the mail host is still being made; that is what login
processes do, up to the few milliseconds in which an answer is on its way to them.

Some sessions nobody can end: their kick failed, hung or was lost in a crash, their director was
away when they were to be kicked or could not refresh them in time, all who knew of them lost their
memory, or an administrator told the ring to forget their users (which leaves sessions alone on
purpose). The ring knows hosts of users and not of sessions, and repeats no kick, so no time can be
named after which such a session must be gone: it lives until it ends by itself. But it is excused
only from what was before: when a conflict of its user is reported again, it must be closed like any
other. How long each of these reasons has kept a user on two hosts is in the summary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import TYPE_CHECKING

import attrs

from ring.address import IpAddress
from ring.effects import KickField, KickHash, KickName, LookupAnswered
from ring.lifetime import expiry_margin_s
from sim.randomness import Stream, digest32

if TYPE_CHECKING:
    from sim.machine import Machine
    from sim.world import World

CONNECT_S = 0.005
CONNECT_JITTER_S = 0.05
"""From the director's answer to a session on the mail host."""

RETRY_S = 1.0
"""A client whose login failed tries again after about this long."""

ABANDON_S = 5.0

POLL_EARLY_S = 2.5
POLL_LATE_S = 2.0
"""How far before and after the expiry of its entry a polling user comes back."""

WAITS_MAX = 200_000


@attrs.define(eq=False)
class Device:
    """`session_s`: how long its sessions last; None: as long as the plan says, more or less."""

    user: User
    stream: Stream
    session_s: float | None = attrs.field(default=None, kw_only=True)


@attrs.define(eq=False, kw_only=True)
class User:
    number: int
    name: bytes
    user_hash: int
    tag: bytes
    sessions: list[Session] = attrs.Factory(list)
    polls: Stream
    poll_at: float


@attrs.define(eq=False, kw_only=True)
class Session:
    """`is_live` from the moment the mail host sees it; `excuse` why nobody could end it, and when
    that was the last time."""

    user: User
    device: Device
    machine: Machine
    ip: IpAddress
    is_live: bool = False
    is_ended: bool = False
    refreshed_at: float = 0.0
    excuse: str = ""
    excused_at: float = float("-inf")

    def forgive(self, excuse: str, now: float) -> None:
        """Let the session be a second one, until a kick is due that comes later."""
        self.excuse = self.excuse or excuse
        self.excused_at = now


@attrs.define(eq=False, kw_only=True)
class Pending:
    device: Device
    machine: Machine
    asked_at: float
    is_parked: bool = False
    parked_at: float = 0.0
    is_abandoned: bool = False


class Workload:
    def __init__(self, world: World) -> None:
        self._world = world
        plan = world.plan
        self.users: list[User] = []
        self.by_hash: dict[int, list[User]] = {}
        self.pending: dict[Hashable, Pending] = {}
        self.away: dict[int, deque[tuple[Hashable, Device]]] = {}
        self.is_open = True
        self.has_left = False
        self.logins_count = 0
        self.failed_count = 0
        self.parked_count = 0
        self.kicked_count = 0
        self.sessions_count = 0
        self.waits: list[float] = []
        self._tokens = 0
        for number in range(1, plan.users + 1):
            tag = plan.tag_of(number)
            polls = Stream(plan.seed, "polls", number)
            user = User(
                number=number,
                name=f"u{number}".encode(),
                user_hash=digest32("user", plan.seed, number) or 1,
                tag=tag,
                polls=polls,
                poll_at=polls.uniform(0.0, plan.expire_s),
            )
            self.users.append(user)
            self.by_hash.setdefault(user.user_hash, []).append(user)
            for index in range(plan.devices):
                device = Device(user, Stream(plan.seed, "device", number, index))
                if plan.is_polling:
                    self._pause(device)
                else:
                    self._sleep(device, device.stream.uniform(0.0, 2 * plan.pause_s))

    # --- logging in -------------------------------------------------------------------------------

    def _sleep(self, device: Device, seconds: float) -> None:
        self._world.at(self._world.now + seconds, self._log_in, device)

    def _pause(self, device: Device) -> None:
        """Sleep until the user wants to log in again."""
        world, user = self._world, device.user
        if not world.plan.is_polling:
            self._sleep(device, device.stream.exponential(world.plan.pause_s))
            return
        while user.poll_at <= world.now:
            user.poll_at += world.plan.expire_s + user.polls.uniform(-POLL_EARLY_S, POLL_LATE_S)
        self._sleep(device, user.poll_at - world.now)

    def _retry(self, device: Device) -> None:
        self._sleep(device, RETRY_S * device.stream.uniform(0.5, 1.5))

    def _log_in(self, device: Device) -> None:
        if self.is_open:
            self.log_in(device, device.stream.choice(self._world.machines))

    def log_in(self, device: Device, machine: Machine) -> None:
        if machine.is_off:
            self._retry(device)
            return
        self._tokens += 1
        token = self._tokens
        if machine.number in self.away:
            self.away[machine.number].append((token, device))
            return
        self._ask(machine, token, device)

    def _ask(self, machine: Machine, token: Hashable, device: Device) -> None:
        world = self._world
        self.logins_count += 1
        self.pending[token] = Pending(device=device, machine=machine, asked_at=world.now)
        user = device.user
        world.trace.add(world.now, machine.lane, "login", f"user={user.number} token={token}")
        if world.plan.abandon and device.stream.chance(world.plan.abandon):
            patience_s = ABANDON_S * device.stream.fraction()
            world.at(world.now + patience_s, self._give_up, token)
        machine.post(machine.lookup, token, user.user_hash, user.tag)

    def auth_away(self, machine: Machine) -> None:
        self.away.setdefault(machine.number, deque())

    def auth_back(self, machine: Machine) -> None:
        for token, device in self.away.pop(machine.number, ()):
            if machine.is_off:
                self._retry(device)
            else:
                self._ask(machine, token, device)

    def _give_up(self, token: Hashable) -> None:
        pending = self.pending.get(token)
        if pending is not None and pending.is_parked:
            pending.is_abandoned = True
            pending.machine.post(self._abandon, token, pending)

    def _abandon(self, token: Hashable, pending: Pending) -> None:
        node = pending.machine.node
        if node is not None and self.pending.pop(token, None) is not None:
            node.abandon(token)
            self._retry(pending.device)

    def parked(self, machine: Machine, token: Hashable) -> None:
        self.pending[token].is_parked = True
        self.pending[token].parked_at = self._world.now
        self.parked_count += 1
        self._world.trace.add(self._world.now, machine.lane, "parked", f"token={token}")

    def answered(self, machine: Machine, answer: LookupAnswered) -> None:
        """A parked lookup was decided by an effect."""
        self._world.wire.touched(machine, answer.user_hash)
        if answer.ip is not None:
            self.decided(machine, answer.token, answer.ip, answer.waited_s)
            return
        pending = self.pending.pop(answer.token, None)
        self._world.promises.lookup_failed(machine, answer, pending)
        self.failed_count += 1
        self._world.trace.add(
            self._world.now, machine.lane, "login failed", f"token={answer.token} {answer.detail}"
        )
        if pending is not None:
            self.waits.append(answer.waited_s)
            self._retry(pending.device)

    def decided(self, machine: Machine, token: Hashable, ip: IpAddress, waited_s: float) -> None:
        """The director said where the user goes: connect there."""
        world = self._world
        pending = self.pending.pop(token, None)
        world.promises.lookup_decided(machine, token, pending, ip, waited_s)
        if pending is None:
            return
        if len(self.waits) < WAITS_MAX:
            self.waits.append(waited_s)
        device = pending.device
        session = Session(user=device.user, device=device, machine=machine, ip=ip)
        device.user.sessions.append(session)
        world.trace.add(
            world.now,
            machine.lane,
            "sent to",
            f"user={device.user.number} host={ip} {waited_s:.3f}",
        )
        delay = CONNECT_S + CONNECT_JITTER_S * device.stream.fraction()
        world.at(world.now + delay, self._begin, session)

    # --- sessions ---------------------------------------------------------------------------------

    def _begin(self, session: Session) -> None:
        if session.is_ended:
            return
        world = self._world
        if self.has_left:
            self.end(session, False)
            return
        session.is_live = True
        session.refreshed_at = world.now
        self.sessions_count += 1
        world.promises.one_host.session_begun(session)
        device = session.device
        length_s = device.session_s or device.stream.exponential(world.plan.session_s)
        world.at(world.now + length_s, self.end, session, False)
        if length_s > world.plan.expire_s / 2:
            world.at(world.now + world.plan.expire_s / 2, self._refresh, session)

    def _refresh(self, session: Session) -> None:
        if session.is_ended:
            return
        world = self._world
        expire_s = world.plan.expire_s
        if session.machine.is_off:
            if session.refreshed_at + expire_s - expiry_margin_s(expire_s) < world.now:
                session.forgive("director away for long", world.now)
            world.at(world.now + RETRY_S, self._refresh, session)
            return
        session.refreshed_at = world.now
        session.machine.post(session.machine.refresh, session.user.user_hash)
        world.at(world.now + expire_s / 2, self._refresh, session)

    def end(self, session: Session, is_kicked: bool) -> None:
        if session.is_ended:
            return
        session.is_ended = True
        session.user.sessions.remove(session)
        if session.is_live:
            self._world.promises.one_host.session_ended(session)
        device = session.device
        if is_kicked:
            self.kicked_count += 1
            self._sleep(device, device.stream.exponential(RETRY_S))
        else:
            self._pause(device)

    def kick(
        self, machine: Machine, what: KickName | KickField | KickHash, *, is_failing: bool
    ) -> bool:
        """End sessions on one machine, or fail to; return whether there were any."""
        sessions = list(self._meant(machine, what))
        for session in sessions:
            if is_failing:
                session.forgive("kick failed", self._world.now)
            else:
                self.end(session, True)
        return bool(sessions)

    def excuse(
        self, what: KickName | KickField | KickHash, excuse: str, *, machine: Machine
    ) -> None:
        """Nobody there will carry out this kick."""
        for session in self._meant(machine, what):
            session.forgive(excuse, self._world.now)

    def _meant(self, machine: Machine, what: KickName | KickField | KickHash) -> list[Session]:
        if isinstance(what, KickHash):
            users = self.by_hash.get(what.user_hash, [])
            except_ip = what.except_ip
        elif isinstance(what, KickName):
            users = [user for user in self.users if user.name == what.user]
            except_ip = None
        else:
            return []
        return [
            session
            for user in users
            for session in user.sessions
            if session.machine is machine and session.ip != except_ip
        ]

    def director_died(self, machine: Machine) -> None:
        """Logins in progress fail; without power the sessions end too."""
        for token, pending in list(self.pending.items()):
            if pending.machine is machine:
                del self.pending[token]
                self._retry(pending.device)
        for user in self.users if not machine.has_power else ():
            for session in list(user.sessions):
                if session.machine is machine:
                    self.end(session, False)

    def close(self) -> None:
        """Nobody logs in any more, and whoever is logged in leaves."""
        self.is_open = False
        self.has_left = True
        for user in self.users:
            for session in list(user.sessions):
                self.end(session, False)

    def burst(self, logins: int, stream: Stream) -> None:
        """Many users come at once, each with one more device that logs in only once."""
        for _ in range(logins):
            device = Device(stream.choice(self.users), Stream(stream.bits(), "burst"))
            self._world.at(self._world.now + 0.1 * stream.fraction(), self._log_in, device)
