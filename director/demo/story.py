"""What happens in the demo, step by step, and the checks that must hold for exit status 0.

1. Everybody logs in through one login process.
2. Everybody logs in once more, through another: to the same backend, every one.
3. One backend dies. The operator says so; its users get another one, nobody else is disturbed.
4. It comes back. The operator says so; its users go home.

The director is started and asked as an operator would: as a process, and with its commands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
import trio

NAMES = """
    alice bob carol dave erin frank grace heidi ivan judy kathy leo mallory niaj olivia peggy
    quentin rupert sybil trent ursula victor walter xenia yvonne zoe anna boris clara dora emil
    fritz gerda hans ilse jakob
"""
USERS = tuple(NAMES.split())
BACKEND_IPS = ("127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.14")
FAILING_INDEX = 1

Say = Callable[[str], None]


class Commands(Protocol):
    """The director, as an administrator sees it."""

    async def command(self, *words: str) -> str:
        """Run a command; return what it printed."""


class Backend(Protocol):
    """A backend that can die and come back."""

    @property
    def name(self) -> str: ...

    @property
    def ip(self) -> str: ...

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Be up until `stop`."""

    def stop(self) -> None:
        """Go down, and take the sessions along."""


class Session(Protocol):
    """A user's open session; `backend_name` is what the backend itself said."""

    @property
    def user(self) -> str: ...

    @property
    def backend_name(self) -> str: ...

    async def is_alive(self) -> bool:
        """Return whether the backend still answers."""


class Proxy(Protocol):
    """Where users log in."""

    @property
    def name(self) -> str: ...

    async def log_in(self, user: str) -> Session:
        """Log a user in, to wherever the director says."""


@attrs.frozen
class Check:
    """One thing that must hold."""

    sentence: str
    is_held: bool


@attrs.frozen(kw_only=True)
class Step:
    """Where everybody was after a step; `changed` are the users whose backend is another now."""

    title: str
    backend_by_user: dict[str, str]
    changed: frozenset[str] = frozenset()


@attrs.define
class Outcome:
    """What the story showed."""

    steps: list[Step] = attrs.field(factory=list)
    checks: list[Check] = attrs.field(factory=list)

    @property
    def is_good(self) -> bool:
        return bool(self.checks) and all(check.is_held for check in self.checks)

    def check(self, sentence: str, is_held: bool) -> None:
        self.checks.append(Check(sentence, is_held))


@attrs.define(eq=False, kw_only=True)
class Play:
    """The steps, once everything is up."""

    director: Commands
    backends: Sequence[Backend]
    proxies: tuple[Proxy, Proxy]
    say: Say
    outcome: Outcome = attrs.field(factory=Outcome)

    async def run(self, nursery: trio.Nursery) -> Outcome:
        outcome, (first, second) = self.outcome, self.proxies
        failing = self.backends[FAILING_INDEX]
        sessions = await self._log_everybody_in("first login", first)
        before = outcome.steps[0].backend_by_user
        outcome.check(
            f"{len(USERS)} users are spread over {len(self.backends)} backends",
            set(before.values()) == {backend.name for backend in self.backends},
        )
        sessions += await self._log_everybody_in("second login", second)
        outcome.check(
            f"the second login, through {second.name}, went to the same backend",
            outcome.steps[1].backend_by_user == before,
        )
        await self._check_map(before)

        failing.stop()
        await self._command("down", failing.ip)
        await self._command("flush", failing.ip)
        await self._log_everybody_in(f"{failing.name} down", first)
        await self._check_while_down(before, sessions, failing)

        await nursery.start(failing.run)
        await self._command("up", failing.ip)
        await self._command("flush", "all")
        await self._log_everybody_in(f"{failing.name} up again", second)
        outcome.check(
            f"when {failing.name} was back, its users went home",
            outcome.steps[3].backend_by_user == before,
        )
        return outcome

    async def _command(self, *words: str) -> None:
        self.say(f"$ director {' '.join(words)}")
        await self.director.command(*words)

    async def _log_everybody_in(self, title: str, proxy: Proxy) -> list[Session]:
        sessions: list[Session] = []

        async def log_in(user: str) -> None:
            sessions.append(await proxy.log_in(user))

        async with trio.open_nursery() as nursery:
            for user in USERS:
                nursery.start_soon(log_in, user)
        places = {session.user: session.backend_name for session in sessions}
        last = self.outcome.steps[-1].backend_by_user if self.outcome.steps else places
        changed = frozenset(user for user in USERS if places[user] != last[user])
        self.outcome.steps.append(Step(title=title, backend_by_user=places, changed=changed))
        self.say(f"{len(sessions)} users logged in through {proxy.name}.")
        return sessions

    async def _check_map(self, before: dict[str, str]) -> None:
        ips = {backend.name: backend.ip for backend in self.backends}
        user = USERS[0]
        answer = await self.director.command("status", user)
        self.outcome.check(
            f"`director status {user}` names the backend that {user} is on",
            ips[before[user]] in answer,
        )

    async def _check_while_down(
        self, before: dict[str, str], sessions: list[Session], failing: Backend
    ) -> None:
        places = self.outcome.steps[2].backend_by_user
        is_alive = {session: await session.is_alive() for session in sessions}
        hit = {user for user in USERS if before[user] == failing.name}
        self.outcome.check(
            f"while {failing.name} was down, nobody was sent there",
            failing.name not in places.values(),
        )
        self.outcome.check(
            "the users of the other backends stayed where they were, sessions and all",
            all(places[user] == before[user] for user in USERS if user not in hit)
            and all(alive for s, alive in is_alive.items() if s.user not in hit),
        )
        self.outcome.check(
            f"the sessions that had been on {failing.name} are closed",
            not any(alive for s, alive in is_alive.items() if s.user in hit),
        )
