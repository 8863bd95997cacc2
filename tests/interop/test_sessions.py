"""Moves, kicks and flushes with real sessions: exactly those end that should, on every proxy.

Three directors, two of them serving logins; the third only gives commands, and is once ours and
once Dovecot's own. After each test the backends' log must show that nobody was ever on two backends
at a time. A `destuser=` user logs in under another name than the director hashes, which the
original's moves miss; so the proxies are ours in both rings.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest

from tests.hashing import HASHER
from tests.interop.backends import Backends
from tests.interop.clients import imap_backend
from tests.interop.lab import Lab
from tests.interop.live import Clients, Held, ReturningClients, Timeline
from tests.interop.programs import wait_until
from tests.interop.proxies import DirectorKind, Proxy
from tests.interop.rings import Ring

pytestmark = [pytest.mark.interop, pytest.mark.slow]

R, S = DirectorKind.REAL, DirectorKind.STANDALONE
RINGS = {"native": [S, S, S], "mixed": [S, S, R]}
ALIASES = {f"alias{n}@example.com": f"target{n}@example.com" for n in range(4)}
WORK_S, ACTION_INTERVAL_S_MAX = 5.0, 0.3
MOVE_S_MAX = 60.0
"""A move whose report was lost waits for 30 s, and then its user may be settled between hosts."""
TEAM = "user_team"
REDS = ["red0@example.com", "red1@example.com"]
BLUE = "blue@example.com"
PASSDB = {alias: f"proxy=y destuser={target}" for alias, target in ALIASES.items()}
PASSDB |= dict.fromkeys(REDS, f"proxy=y {TEAM}=red")
PASSDB |= {BLUE: f"proxy=y {TEAM}=blue"}


@attrs.frozen(kw_only=True)
class World:
    ring: Ring
    backends: Backends

    @property
    def proxies(self) -> list[Proxy]:
        return self.ring.nodes[:2]

    @property
    def third(self) -> Proxy:
        return self.ring.nodes[2]

    def another(self, ip: str) -> str:
        return next(other for other in self.ring.hosts if other != ip)

    def names_at(self, host: str, count: int) -> list[str]:
        """Return users nobody knows yet whose hash leads to the host."""
        with self.third.admin() as admin:
            places = {user: admin.where(user) for user in names("hashed", 100)}
        found = [user for user, at in places.items() if at.hashed == host and not at.current]
        return found[:count]

    def place(self, user: str) -> str:
        """Return where the directors, who must agree, have the user."""
        self.ring.wait_agreed()
        with self.third.admin() as admin:
            return admin.where(user).current


@pytest.fixture(scope="module", params=RINGS.values(), ids=list(RINGS))
def world(request: pytest.FixtureRequest) -> Generator[World]:
    with Lab() as lab:
        backends = Backends(lab, 3)
        ring = Ring(lab, request.param, backends.ips, {}, PASSDB)
        ring.start()
        yield World(ring=ring, backends=backends)


@pytest.fixture
def clients(world: World) -> Generator[Clients]:
    with Clients(world.proxies) as made:
        yield made
    assert Timeline(world.backends).splits == []
    assert world.ring.complaints() == []


def director(node: Proxy, *words: str) -> None:
    result = node.doveadm_director(*words)

    assert result.returncode == 0, (words, result.stdout, result.stderr)


def tell_everybody(world: World, node: Proxy, *words: str) -> None:
    """Give a command that changes users; return when the other directors have heard of it, too."""
    director(node, *words)
    world.ring.wait_agreed()


def names(test: str, count: int) -> list[str]:
    return [f"{test}{n}@example.com" for n in range(count)]


@pytest.mark.parametrize("at", [0, 2], ids=["on-a-proxy", "elsewhere"])
def test_move_ends_the_users_sessions_everywhere(world: World, clients: Clients, at: int) -> None:
    moved, bystander = names(f"move{at}", 2)
    clients.open([moved])
    spared = clients.open([bystander])
    target = world.another(world.place(moved))
    tell_everybody(world, world.ring.nodes[at], "move", moved, target)

    assert clients.next_logins([moved]) == {moved: {target}}
    assert clients.alive() == spared
    assert world.place(moved) == target


@pytest.mark.parametrize("at", [0, 2], ids=["on-a-proxy", "elsewhere"])
def test_move_ends_sessions_of_every_login_name(world: World, clients: Clients, at: int) -> None:
    """Both the alias and the user itself are the same user of the backends."""
    alias = f"alias{at}@example.com"
    moved, other = ALIASES[alias], f"alias{at + 1}@example.com"
    clients.open([alias, moved])
    spared = clients.open([other])
    target = world.another(world.place(moved))
    tell_everybody(world, world.ring.nodes[at], "move", moved, target)

    assert clients.next_logins([alias, moved]) == {alias: {target}, moved: {target}}
    assert clients.alive() == spared


def test_logins_during_a_move_wait_and_reach_the_new_backend(
    world: World, clients: Clients
) -> None:
    (moved,) = names("waiting", 1)
    clients.open([moved])
    target = world.another(world.place(moved))
    with ThreadPoolExecutor(6) as pool:
        tell_everybody(world, world.third, "move", moved, target)
        logins = [
            pool.submit(imap_backend, proxy.ip, moved) for proxy in world.proxies for _ in range(3)
        ]

        assert {login.result() for login in logins} == {target}
    assert clients.alive() == set()


def test_kick_ends_the_sessions_of_a_name_and_moves_nobody(world: World, clients: Clients) -> None:
    kicked, bystander = names("kick", 2)
    clients.open([kicked])
    spared = clients.open([bystander])
    before = world.place(kicked)
    director(world.third, "kick", kicked)
    wait_ended(clients, spared)

    assert clients.next_logins([kicked]) == {kicked: {before}}
    assert clients.alive() == spared


def test_kick_by_field_ends_the_sessions_with_that_value(world: World, clients: Clients) -> None:
    clients.open(REDS)
    spared = clients.open([BLUE, "plain@example.com"])
    before = {user: {world.place(user)} for user in REDS}
    director(world.third, "kick", "-f", TEAM, "red")
    wait_ended(clients, spared)

    assert clients.next_logins(REDS) == before
    assert clients.alive() == spared


@pytest.mark.parametrize("verb", ["update", "down"])
def test_flush_empties_a_host_that_is_not_used(world: World, clients: Clients, verb: str) -> None:
    host = world.ring.hosts[0]
    users = [*world.names_at(host, 3), *names(f"flush-{verb}", 4)]
    held = clients.open([*users, *ALIASES])
    leaving = {user for user, here in clients.backends().items() if here == {host}}
    spared = {(user, proxy) for user, proxy in held if user not in leaving}
    staying = {user: here for user, here in clients.backends().items() if user not in leaving}
    director(world.ring.nodes[1], verb, host, *(["0"] if verb == "update" else []))
    tell_everybody(world, world.third, "flush", host)
    reached = clients.next_logins([*users, *ALIASES])

    assert leaving >= set(users[:3])
    assert clients.alive() == spared
    assert {user: reached[user] for user in staying} == staying
    assert all(len(here) == 1 and here != {host} for here in reached.values())
    assert not Timeline(world.backends).users_on(host)

    director(world.third, *(["update", host, "100"] if verb == "update" else ["up", host]))

    assert clients.next_logins([*users, *ALIASES]) == reached
    assert clients.alive() == spared


def test_flush_of_all_brings_home_whom_the_hash_leads_elsewhere(
    world: World, clients: Clients
) -> None:
    users = names("home", 6)
    at_home = clients.next_logins(users)
    for user in users[:3]:
        tell_everybody(world, world.third, "move", user, world.another(*at_home[user]))
    clients.next_logins(users)
    clients.open(users[:3])
    spared = clients.open(users[3:])
    tell_everybody(world, world.ring.nodes[0], "flush", "all")

    assert clients.next_logins(users) == at_home
    assert clients.alive() == spared


def wait_ended(clients: Clients, spared: set[Held]) -> None:
    """Return when all but the spared sessions have ended: the answer to a kick comes before."""
    wait_until(lambda: clients.alive() <= spared, 10.0, "end of the kicked sessions")


def test_administrators_at_work_never_let_a_user_live_on_two_backends(world: World) -> None:
    """Clients come back at once; moves, kicks and flushes come from every node at a time.

    One host stays in use: of a flush without any other host the original forgets users whose
    sessions it left open elsewhere. It complains of users who are moved from two nodes at a time,
    as it does among its own, so its complaints are not looked at. Such a user may have been on two
    backends, until the conflict was settled: users-and-hosts.md section 16, 4.
    """
    users = [*names("busy", 8), *ALIASES]
    moved = [ALIASES.get(user, user) for user in users]
    hosts = world.ring.hosts
    clients = ReturningClients(world.proxies, users)

    def work(number: int) -> None:
        dice = random.Random(number)
        with world.ring.nodes[number].admin() as admin:
            while not is_over.wait(dice.uniform(0, ACTION_INTERVAL_S_MAX)):
                verb = dice.choice(["move", "move", "move", "kick", "weight", "flush"])
                if verb == "move":
                    admin.ask("USER-MOVE", dice.choice(moved), dice.choice(hosts))
                elif verb == "kick":
                    admin.ask("USER-KICK", dice.choice(users))
                elif verb == "weight":
                    admin.ask("HOST-UPDATE", dice.choice(hosts[:2]), dice.choice(["0", "100"]))
                else:
                    admin.ask("HOST-RESET-USERS", dice.choice(hosts))

    is_over = threading.Event()
    with clients.running():
        with ThreadPoolExecutor(3) as pool:
            workers = [pool.submit(work, number) for number in range(3)]
            is_over.wait(WORK_S)
            is_over.set()
            for worker in workers:
                worker.result()
        for host in hosts:
            director(world.third, "update", host, "100")
        world.ring.wait_agreed(MOVE_S_MAX)
        with Clients(world.proxies) as more:
            reached = more.next_logins(users)
        wait_until(
            lambda: all({at} == reached[user] for (user, _), at in clients.places.items()),
            30.0,
            "everybody where he belongs",
        )
    splits = Timeline(world.backends).splits
    if world.third.settings.kind is R:
        conflicts = world.ring.conflicts()
        settled = {user for user in moved if HASHER.hash(user.encode()) in conflicts}
        splits = [line for line in splits if line.split()[0] not in settled]

    assert splits == []
