"""Logins of every protocol through Dovecot 2.4: each user on the backend the director names."""

from __future__ import annotations

from collections.abc import Callable, Generator

import pytest

from tests.interop.clients import backends_of, imap_backend, lmtp_deliver, probe_store
from tests.interop.loopback import IMAP_PORT
from tests.interop.programs import wait_until
from tests.interop24.clients import LOGINS, haproxy_backend, imaps_backend, starttls_backend
from tests.interop24.proxies import HAPROXY_PORT, IMAPS_PORT, Way
from tests.interop24.worlds import World, world_of

pytestmark = [pytest.mark.interop24, pytest.mark.slow]

USERS = [f"user{n:02}@example.com" for n in range(20)]
SOME = USERS[:5]

Login = Callable[[str, str], str]


@pytest.fixture(scope="module", params=list(Way), ids=lambda way: way.value)
def world(request: pytest.FixtureRequest) -> Generator[World, None, None]:
    with world_of(request.param, users=USERS) as made:
        yield made


@pytest.mark.parametrize("login", LOGINS.values(), ids=LOGINS)
def test_every_login_reaches_the_backend_that_the_director_names(
    world: World, login: Login
) -> None:
    reached = backends_of(login, world.ip, USERS)

    assert reached == world.proxy.named_by_director(USERS)
    assert len(set(reached.values())) > 1


def test_lmtp_delivers_to_the_backend_that_the_director_names(world: World) -> None:
    refused = lmtp_deliver(world.ip, USERS, "delivery-1")
    delivered = {user: world.backends.stores_with(user, "delivery-1") for user in USERS}

    assert refused == {}
    assert delivered == {user: [ip] for user, ip in world.proxy.named_by_director(USERS).items()}


def test_doveadm_commands_reach_the_backend_that_the_director_names(world: World) -> None:
    def fetch(_: str, user: str) -> str:
        result = world.proxy.dovecot.doveadm(
            "-f", "tab", "fetch", "-u", user, "hdr", "header", "subject", "probe"
        )
        assert result.returncode == 0, result.stderr
        return probe_store(result.stdout.splitlines())

    reached = backends_of(fetch, "", SOME)

    assert reached == world.proxy.named_by_director(SOME)


def test_director_map_names_the_same_backend(world: World) -> None:
    reached = backends_of(imap_backend, world.ip, USERS)
    names = world.proxy.directory / "names"
    names.write_text("\n".join(USERS) + "\n")
    rows = [line.split() for line in world.run("map", "-f", str(names)).splitlines()]
    mapped = {row[0]: row[2] for row in rows if row[0] in USERS}

    assert mapped == reached


def test_logins_over_tls(world: World) -> None:
    certificate = world.proxy.certificate
    for port, login in ((IMAPS_PORT, imaps_backend), (IMAP_PORT, starttls_backend)):
        reached = {user: login(world.ip, port, certificate, user) for user in SOME}

        assert reached == world.proxy.named_by_director(SOME)


def test_logins_behind_a_load_balancer(world: World) -> None:
    """The PROXY protocol tells the client's address; the director passes it on untouched."""
    reached = {
        user: haproxy_backend(world.ip, HAPROXY_PORT, f"198.51.100.{n}", user)
        for n, user in enumerate(SOME, 1)
    }
    addresses = [
        f"user=<{user}>, method=PLAIN, rip=198.51.100.{n}" for n, user in enumerate(SOME, 1)
    ]

    assert reached == world.proxy.named_by_director(SOME)
    wait_until(
        lambda: all(address in world.proxy.dovecot.log_text() for address in addresses),
        10.0,
        f"all of {addresses} in the log",
    )
