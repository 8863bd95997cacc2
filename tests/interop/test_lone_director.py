"""One director without a ring: what it forgets at a restart, and what a hanging ipc does to it.

It keeps no snapshot here, so that what it knows after a restart it was told by the login processes.
"""

from __future__ import annotations

import signal
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest

from tests.interop.backends import Backends
from tests.interop.lab import Lab
from tests.interop.live import Clients, Timeline
from tests.interop.programs import signal_nowait, wait_until
from tests.interop.proxies import DirectorKind, Proxy, ProxySettings
from tests.interop.terminal import director

pytestmark = [pytest.mark.interop, pytest.mark.slow]

LIVE = [f"live{n}@example.com" for n in range(6)]
GONE = [f"gone{n}@example.com" for n in range(6)]
ALIAS, TARGET = "alias@example.com", "target@example.com"
WAIT_S = 20.0


@attrs.frozen(kw_only=True)
class World:
    proxy: Proxy
    backends: Backends

    def configure(self, hosts: list[str]) -> None:
        """Name these hosts in the configuration that the next start reads."""
        settings = self.proxy.settings
        named = {**settings.director, "director_mail_servers": " ".join(hosts)}
        self.proxy.settings = attrs.evolve(settings, director=named)

    def place(self, user: str) -> str:
        with self.proxy.admin() as admin:
            return admin.where(user).current

    def hashed(self, user: str) -> str:
        with self.proxy.admin() as admin:
            return admin.where(user).hashed

    def move_off_hash(self, users: list[str]) -> dict[str, set[str]]:
        """Move each user to a host where the hash does not lead; return where they are."""
        places = {}
        for user in users:
            hosts = self.backends.ips[:2]
            places[user] = {hosts[hosts.index(self.hashed(user)) - 1]}
            with self.proxy.admin() as admin:
                assert admin.ask("USER-MOVE", user, *places[user]) == "OK"
        return places


@pytest.fixture
def world() -> Generator[World]:
    with Lab() as lab:
        backends = Backends(lab, 3)
        settings = ProxySettings(
            kind=DirectorKind.STANDALONE,
            director={
                "director_mail_servers": " ".join(backends.ips[:2]),
                "director_user_kick_delay": "1 s",
                "director_max_parallel_moves": "1",
            },
            users={ALIAS: f"proxy=y destuser={TARGET}"},
            protocols=("imap",),
            accepts_everybody=True,
        )
        proxy = Proxy(lab, "proxy", lab.address(), settings)
        proxy.start()
        yield World(proxy=proxy, backends=backends)


def test_live_users_stay_over_restarts_with_other_hosts(world: World) -> None:
    proxy = world.proxy
    with Clients([proxy]) as clients:
        away = world.move_off_hash([*LIVE, TARGET, *GONE])
        clients.next_logins([*LIVE, TARGET, *GONE])
        held = clients.open([*LIVE, ALIAS])
        for end, hosts in (
            (proxy.kill_director, world.backends.ips[:2]),
            (proxy.stop_director, world.backends.ips),
        ):
            end()
            world.configure(hosts)
            proxy.start_director()

            assert {user: {world.place(user)} for user in [*LIVE, TARGET]} == {
                user: away[user] for user in [*LIVE, TARGET]
            }
            assert {user: world.place(user) for user in GONE} == dict.fromkeys(GONE, "")
            reached = clients.next_logins([*LIVE, TARGET])
            assert reached == {user: away[user] for user in [*LIVE, TARGET]}
            assert clients.alive() == held

        with proxy.admin() as admin:
            assert admin.ask("USER-MOVE", TARGET, world.backends.ips[2]) == "OK"
        assert clients.next_logins([ALIAS]) == {ALIAS: {world.backends.ips[2]}}
        assert clients.alive() == held - {(ALIAS, proxy.name)}
    assert Timeline(world.backends).splits == []


def test_moves_whose_kick_hangs_end_and_are_seen_meanwhile(world: World) -> None:
    """With one move at a time a slot that is not given back would stop the flush."""
    proxy = world.proxy
    host = world.backends.ips[0]
    socket = proxy.dovecot.run / "director-admin"
    names = [f"hung{n}@example.com" for n in range(40)]
    users = [user for user in names if world.hashed(user) == host][:2]
    with Clients([proxy]) as clients, ThreadPoolExecutor(1) as pool:
        clients.open(users)
        ipc = proxy.dovecot.service_pid("ipc")
        with proxy.admin() as admin:
            assert admin.ask("HOST-UPDATE", host, "0") == "OK"
        signal_nowait(ipc, signal.SIGSTOP)
        try:
            flush = pool.submit(director, socket, "flush", host)
            stages = wait_until(
                lambda: [line for line in stage_lines(world, users) if "killing" in line],
                WAIT_S,
                "a move in its first stage",
            )

            assert len(stages) == 1
            assert flush.result().returncode == 0
        finally:
            signal_nowait(ipc, signal.SIGCONT)

        wait_until(lambda: clients.alive() == set(), WAIT_S, "end of the sessions")

        assert clients.next_logins(users) == {user: {world.backends.ips[1]} for user in users}
        assert stage_lines(world, users) == []


def stage_lines(world: World, users: list[str]) -> list[str]:
    """Return what `director -v status USER` says about moves."""
    socket = world.proxy.dovecot.run / "director-admin"
    answers = [director(socket, "-v", "status", user) for user in users]
    lines = [line for answer in answers for line in answer.stderr.splitlines()]
    return [line for line in lines if "move" in line]
