"""What happens in the demo, step by step, and the checks that must hold for exit status 0.

1. Everybody logs in through one login process.
2. Everybody logs in once more, through another: to the same backend, every one.
3. One backend dies. The operator says so; its users get another one, nobody else is disturbed.
4. It comes back. The operator says so; its users go home.

The director is started and asked as an operator would: as a process, and with its commands.
"""

from __future__ import annotations

import math
import os
import pwd
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import trio

from director.demo.proxies import LoginProcess, Session, SessionRegister
from director.demo.standins import AuthService, Backend, find_common_port, listen_unix

NAMES = """
    alice bob carol dave erin frank grace heidi ivan judy kathy leo mallory niaj olivia peggy
    quentin rupert sybil trent ursula victor walter xenia yvonne zoe anna boris clara dora emil
    fritz gerda hans ilse jakob
"""
USERS = tuple(NAMES.split())
BACKEND_IPS = ("127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.14")
FAILING_INDEX = 1
READY_S = 10.0

CONFIGURATION = """\
base_dir = {base_dir}
default_internal_user = {user}
director_mail_servers = {ips}
director_user_kick_delay = 0 s

service director {{
  user = {user}
  unix_listener login/director {{
    mode = 0600
  }}
  unix_listener director-admin {{
    mode = 0600
  }}
}}
"""

Say = Callable[[str], None]


class StoryFailed(Exception):
    """The story could not be told to its end; the text says why."""


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


class Director:
    """The daemon as a process of its own, with its configuration and log in `directory`."""

    def __init__(self, directory: Path, ips: Sequence[str]) -> None:
        self.directory = directory
        self.config = directory / "director.conf"
        self.log = directory / "director.log"
        (directory / "login").mkdir()
        user = pwd.getpwuid(os.geteuid()).pw_name
        text = CONFIGURATION.format(base_dir=directory, user=user, ips=" ".join(ips))
        self.config.write_text(text)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run it until cancelled; it is started when it says so, as a service manager sees it.

        Raises:
            StoryFailed: it ended by itself, or was not ready in time.
        """
        command = [sys.executable, "-m", "director", "serve", "-c", str(self.config)]
        address = self.directory / "notify"
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            await notify.bind(str(address))
            environ = {**os.environ, "NOTIFY_SOCKET": str(address)}
            with self.log.open("wb") as log:
                process = await trio.lowlevel.open_process(command, stderr=log, env=environ)
            try:
                with trio.move_on_after(READY_S) as patience:
                    await _wait_ready(notify, process)
                    patience.deadline = math.inf
                    if process.returncode is None:
                        task_status.started()
                    await process.wait()
                raise StoryFailed("the director did not stay up:\n" + self.log.read_text())
            finally:
                with trio.CancelScope(shield=True):
                    await _end(process)

    async def command(self, *words: str) -> str:
        """Run an administrator's command; return what it printed.

        Raises:
            StoryFailed: it did not work.
        """
        command = [sys.executable, "-m", "director", "-c", str(self.config), *words]
        result = await trio.run_process(
            command, check=False, capture_stdout=True, capture_stderr=True
        )
        if result.returncode:
            raise StoryFailed(f"director {' '.join(words)}: {result.stderr.decode()}")
        return result.stdout.decode()


async def tell_story(directory: Path, say: Say) -> Outcome:
    """Play all steps below `directory`, which must be empty and have a short name."""
    port = await find_common_port(list(BACKEND_IPS))
    backends = [
        Backend(name=f"backend-{number}", ip=ip, port=port)
        for number, ip in enumerate(BACKEND_IPS, 1)
    ]
    register = SessionRegister()
    async with trio.open_nursery() as nursery:
        for name, serve in (("auth-login", AuthService(port).serve), ("ipc", register.serve)):
            nursery.start_soon(trio.serve_listeners, serve, [await listen_unix(directory / name)])
        for backend in backends:
            await nursery.start(backend.run)
        say("4 backends and a director are up.")
        director = Director(directory, BACKEND_IPS)
        await nursery.start(director.run)
        logins = [LoginProcess(number, register) for number in (1, 2)]
        for login in logins:
            await nursery.start(login.run, directory / "login" / "director")
        play = Play(director=director, backends=backends, register=register, say=say)
        await play.run(logins, nursery)
        await register.close_all()
        nursery.cancel_scope.cancel()
    return play.outcome


@attrs.define(eq=False, kw_only=True)
class Play:
    """The steps, once everything is up."""

    director: Director
    backends: list[Backend]
    register: SessionRegister
    say: Say
    outcome: Outcome = attrs.field(factory=Outcome)

    async def run(self, logins: Sequence[LoginProcess], nursery: trio.Nursery) -> None:
        outcome, (first, second) = self.outcome, logins
        failing = self.backends[FAILING_INDEX]
        sessions = await self._log_everybody_in("first login", first)
        before = outcome.steps[0].backend_by_user
        outcome.check(
            f"{len(USERS)} users are spread over {len(self.backends)} backends",
            set(before.values()) == {backend.name for backend in self.backends},
        )
        sessions += await self._log_everybody_in("second login", second)
        outcome.check(
            "the second login, through another login process, went to the same backend",
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

    async def _command(self, *words: str) -> None:
        self.say(f"$ director {' '.join(words)}")
        await self.director.command(*words)

    async def _log_everybody_in(self, title: str, login: LoginProcess) -> list[Session]:
        sessions: list[Session] = []

        async def log_in(user: str) -> None:
            sessions.append(await login.log_in(user))

        async with trio.open_nursery() as nursery:
            for user in USERS:
                nursery.start_soon(log_in, user)
        names = {backend.ip: backend.name for backend in self.backends}
        places = {session.user: names[session.ip] for session in sessions}
        last = self.outcome.steps[-1].backend_by_user if self.outcome.steps else places
        changed = frozenset(user for user in USERS if places[user] != last[user])
        self.outcome.steps.append(Step(title=title, backend_by_user=places, changed=changed))
        is_true = all(s.greeting == f"* OK {names[s.ip]} ready\r\n" for s in sessions)
        self.outcome.check(f"{title}: all {len(sessions)} sessions reached it", is_true)
        self.say(f"{len(sessions)} users logged in through login process {login.number}.")
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


async def _wait_ready(notify: trio.socket.SocketType, process: trio.Process) -> None:
    async with trio.open_nursery() as nursery:

        async def give_up_at_end() -> None:
            await process.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(give_up_at_end)
        while b"READY=1" not in await notify.recv(4096):
            pass
        nursery.cancel_scope.cancel()


async def _end(process: trio.Process) -> None:
    process.terminate()
    with trio.move_on_after(5):
        await process.wait()
        return
    process.kill()
    await process.wait()
