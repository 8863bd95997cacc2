"""Everything a login needs goes away for a while, under load, and nobody is sent elsewhere.

One user was moved away from the backend of the hash and has a session open: only a director that
remembers, or asks who is logged in, sends further logins of that user to the same backend.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import attrs
import pytest

from tests.interop.clients import ImapSession, backends_of, imap_backend, lmtp_deliver
from tests.interop.programs import signal_nowait, wait_until
from tests.interop24.clients import LOGINS
from tests.interop24.load import Accident, Load
from tests.interop24.proxies import Way
from tests.interop24.worlds import Mode, World, world_of

pytestmark = [pytest.mark.interop24, pytest.mark.slow]

USERS = [f"user{n:02}@example.com" for n in range(16)]
MOVED = USERS[0]
NOT_RESUMED = "connection_not_resumed"
FAREWELLS = ("Server shutting down", "Auth process broken")
"""What Dovecot 2.4.1 says to clients whose login process a reload ends, where each client has one:
to 10 of 1,450 in 60 reloads of a proxy without a director, to none where processes are shared."""
AUTH_AWAY_S = 20.0
"""Below the 30 s after which IMAP clients are told to be patient."""


MODES = [
    Mode(way=Way.STANDALONE, is_busy=True),
    Mode(way=Way.STANDALONE, is_busy=False),
    Mode(way=Way.UNDER_MASTER, is_busy=True),
]


@pytest.fixture(scope="module", params=MODES, ids=str)
def world(request: pytest.FixtureRequest) -> Generator[World, None, None]:
    mode: Mode = request.param
    with world_of(mode.way, users=USERS, is_busy=mode.is_busy) as made:
        target = made.elsewhere(imap_backend(made.ip, MOVED))
        made.run("move", MOVED, target)
        wait_until(lambda: imap_backend(made.ip, MOVED) == target, 10, "login of the moved user")
        yield made


@attrs.frozen(kw_only=True)
class Trial:
    world: World
    load: Load
    expected: dict[str, str]


@contextmanager
def trial_of(world: World) -> Iterator[Trial]:
    """Load while the block runs; nobody may be sent to another backend than before."""
    expected = backends_of(imap_backend, world.ip, USERS)
    load = Load(world.ip, USERS)
    with ImapSession(world.ip, MOVED), load:
        load.wait_logins(10)
        yield Trial(world=world, load=load, expected=expected)
        load.wait_logins(2 * len(USERS))

    assert load.strays(expected) == []
    assert world.proxy.named_by_director(USERS) == expected


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_the_director_ends_and_starts_again(world: World, number: signal.Signals) -> None:
    """Stopped as after an upgrade: `systemctl restart ringdirector`. No login fails.

    Nor when it is killed, unless that was between reading a request and passing it on: then the
    connection ends, which the log says, and with it the logins that were under way there.
    """
    ends = [Accident() for _ in range(3)]
    noted_before = world.proxy.log_text().count(NOT_RESUMED)
    with trial_of(world) as trial:
        for end in ends:
            with end:
                world.proxy.end_director(number)
                world.proxy.wait_answering()
            trial.load.wait_logins(20)
    failures = trial.load.failures()
    if number is signal.SIGKILL and world.proxy.log_text().count(NOT_RESUMED) > noted_before:
        failures = [login for login in failures if not any(end.hit(login) for end in ends)]

    assert failures == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_logins_that_wait_for_auth_when_the_director_ends(
    world: World, number: signal.Signals
) -> None:
    """What auth was asked through the old director it answers through the new one."""
    expected = backends_of(imap_backend, world.ip, USERS)
    backends_of(LOGINS["sieve"], world.ip, USERS[:1])
    auth_pid = world.proxy.dovecot.service_pid("auth")
    asked = [(protocol, user) for protocol in LOGINS for user in USERS[1:3]]
    with ThreadPoolExecutor(len(asked) + 1) as pool:
        signal_nowait(auth_pid, signal.SIGSTOP)
        try:
            logins = {key: pool.submit(LOGINS[key[0]], world.ip, key[1]) for key in asked}
            delivery = pool.submit(lmtp_deliver, world.ip, USERS[1:3], f"while {number.name}")
            asked_at = time.monotonic()
            wait_until(lambda: time.monotonic() > asked_at + 1, 10, "1 s, in which all have asked")
            world.proxy.end_director(number)
            world.proxy.wait_answering()
            assert not any(login.done() for login in logins.values())
        finally:
            signal_nowait(auth_pid, signal.SIGCONT)
        reached = {key: login.result() for key, login in logins.items()}

    assert reached == {key: expected[key[1]] for key in asked}
    assert delivery.result() == {}


def test_dovecot_is_reloaded(world: World) -> None:
    """Below the master that replaces the director, too."""
    with trial_of(world) as trial:
        for _ in range(2):
            world.proxy.reload_dovecot()
            trial.load.wait_logins(20)
            world.proxy.wait_answering()
    failures = trial.load.failures()
    if not world.proxy.settings.is_busy:
        failures = [login for login in failures if not login.error_has(FAREWELLS)]

    assert failures == []


def test_dovecot_is_restarted(world: World) -> None:
    """Clients find nobody while Dovecot is away; the first that get in land where they were."""
    accident = Accident()
    with trial_of(world) as trial:
        with accident:
            world.proxy.dovecot.stop()
            world.proxy.dovecot.start()
        world.proxy.wait_answering()

    assert trial.load.failures(accident) == []


def test_auth_is_away_for_20_seconds(world: World) -> None:
    """Its sockets are gone and its process ended: whoever logs in meanwhile waits."""
    expected = backends_of(imap_backend, world.ip, USERS)
    run = world.proxy.dovecot.run
    names = ("auth-login", "auth-userdb")
    with ThreadPoolExecutor(8) as pool:
        for name in names:
            (run / name).rename(run / f"{name}.away")
        away_at = time.monotonic()
        world.proxy.dovecot.end_service("auth")
        waiting = {
            (protocol, user): pool.submit(login, world.ip, user)
            for user in USERS[1:3]
            for protocol, login in LOGINS.items()
            if protocol != "submission" or user == USERS[1]
        }
        wait_until(lambda: time.monotonic() > away_at + AUTH_AWAY_S, 30, "20 s")
        assert not any(login.done() for login in waiting.values())
        for name in names:
            (run / f"{name}.away").rename(run / name)
        reached = {key: login.result() for key, login in waiting.items()}

    assert reached == {key: expected[key[1]] for key in waiting}
    assert lmtp_deliver(world.ip, USERS, "after auth") == {}
