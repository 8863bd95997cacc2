"""Moves, kicks, flushes and drains on Dovecot 2.4 close the right sessions and no others.

In both modes of login processes, beside Dovecot and below its master. Where login processes serve
one client each, the director runs as root: before 2.4.5 nobody else can end their sessions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import ExitStack

import pytest

from tests.interop.clients import ImapSession, backends_of, imap_backend
from tests.interop.programs import wait_until
from tests.interop24.proxies import Way
from tests.interop24.worlds import Mode, World, world_of

pytestmark = [pytest.mark.interop24, pytest.mark.slow]

USERS = [f"user{n}@{domain}.example" for n in range(4) for domain in ("red", "blue")]
CLOSE_TIMEOUT_S = 20.0


MODES = [Mode(way=way, is_busy=is_busy) for way in Way for is_busy in (True, False)]


@pytest.fixture(scope="module", params=MODES, ids=str)
def world(request: pytest.FixtureRequest) -> Generator[World, None, None]:
    mode: Mode = request.param
    user = "" if mode.is_busy else "root"
    with world_of(mode.way, users=[], is_busy=mode.is_busy, user=user) as made:
        yield made


@pytest.fixture
def sessions(world: World) -> Generator[list[ImapSession], None, None]:
    """Two sessions of each user; all backends are in use, and nobody is where a test moved him."""
    with world.proxy.admin() as admin:
        for ip in world.backends.ips:
            assert admin.ask("HOST-UPDATE", ip, "100") == "OK"
            assert admin.ask("HOST-UP", ip) == "OK"
        assert admin.ask("HOST-FLUSH") == "OK"
    with ExitStack() as stack:
        yield [stack.enter_context(ImapSession(world.ip, user)) for user in USERS for _ in "12"]


def wait_closed(sessions: list[ImapSession], users: Iterable[str]) -> None:
    """Return when the sessions of these users are closed; fail if one of another user is."""
    expected = set(users)

    def is_done() -> bool:
        return not any(session.is_open() for session in sessions if session.user in expected)

    wait_until(is_done, CLOSE_TIMEOUT_S, f"end of the sessions of {sorted(expected)}")

    assert {session.user for session in sessions if session.is_open()} == set(USERS) - expected


def test_a_move_closes_the_sessions_of_the_user(world: World, sessions: list[ImapSession]) -> None:
    user = USERS[0]
    target = world.elsewhere(sessions[0].backend())
    world.run("move", user, target)
    wait_closed(sessions, [user])

    assert imap_backend(world.ip, user) == target
    assert world.proxy.named_by_director([user]) == {user: target}


def test_a_kick_closes_the_sessions_of_the_user(world: World, sessions: list[ImapSession]) -> None:
    user = USERS[1]
    before = world.proxy.named_by_director([user])
    world.run("kick", user)
    wait_closed(sessions, [user])

    assert {user: imap_backend(world.ip, user)} == before


def test_a_kick_by_field(world: World, sessions: list[ImapSession]) -> None:
    """`user_tenant` comes from the passdb."""
    red = [user for user in USERS if user.endswith("@red.example")]
    before = world.proxy.named_by_director(red)
    world.run("kick", "-f", "user_tenant", "red.example")
    wait_closed(sessions, red)

    assert backends_of(imap_backend, world.ip, red) == before


def test_a_flush_closes_the_sessions_of_those_who_belong_elsewhere(
    world: World, sessions: list[ImapSession]
) -> None:
    user = USERS[2]
    home = world.proxy.named_by_director([user])[user]
    away = world.elsewhere(home)
    world.run("move", user, away)
    wait_closed(sessions, [user])
    with ImapSession(world.ip, user) as session:
        assert session.backend() == away
        world.run("flush", away)
        wait_until(lambda: not session.is_open(), CLOSE_TIMEOUT_S, "end of the session")

    assert {s.user for s in sessions if s.is_open()} == set(USERS) - {user}
    assert imap_backend(world.ip, user) == world.proxy.named_by_director([user])[user]


@pytest.mark.parametrize("retire", [("down",), ("update", "0")], ids=["down", "weight-0"])
def test_a_drained_backend_has_no_sessions_left(
    world: World, sessions: list[ImapSession], retire: tuple[str, ...]
) -> None:
    before = world.proxy.named_by_director(USERS)
    backend = before[USERS[0]]
    there = [user for user in USERS if before[user] == backend]
    verb, *weight = retire
    world.run(verb, backend, *weight)
    world.run("flush", backend)
    wait_closed(sessions, there)
    reached = backends_of(imap_backend, world.ip, USERS)

    assert backend not in reached.values()
    assert {user: reached[user] for user in USERS if user not in there} == {
        user: before[user] for user in USERS if user not in there
    }


def test_a_backend_is_drained_by_one_verb(world: World, sessions: list[ImapSession]) -> None:
    """It returns when nobody is left there; whoever comes back lands elsewhere."""
    before = world.proxy.named_by_director(USERS)
    backend = before[USERS[0]]
    there = [user for user in USERS if before[user] == backend]
    counts = dict.fromkeys(world.backends.ips, 0) | Counter(before[s.user] for s in sessions)

    assert shown_sessions(world) == counts

    printed = world.run("drain", "--max-parallel", "2", backend)

    assert printed == f"{backend}: empty. It stays down until `director up {backend}`.\n"
    assert shown_sessions(world)[backend] == 0

    wait_closed(sessions, there)
    reached = backends_of(imap_backend, world.ip, USERS)

    assert backend not in reached.values()
    assert reached == world.proxy.named_by_director(USERS)


def shown_sessions(world: World) -> dict[str, int]:
    rows = [row.split("\t") for row in world.run("-f", "tab", "status", "--sessions").splitlines()]
    return {row[0]: int(row[-1]) for row in rows[1:]}
