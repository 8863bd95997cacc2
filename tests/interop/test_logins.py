"""One director serves real logins: each user of every protocol on the backend the director names.

The same tests run with Dovecot's own director, which proves that they expect the right thing.
"""

from __future__ import annotations

import imaplib
from collections.abc import Callable, Generator

import attrs
import pytest

from tests.interop.backends import Backends
from tests.interop.clients import (
    LOGIN_PROTOCOLS,
    ImapSession,
    backends_of,
    imap_backend,
    lmtp_deliver,
    probe_store,
)
from tests.interop.lab import Lab
from tests.interop.proxies import LOCAL, DirectorKind, Proxy, ProxySettings

pytestmark = [pytest.mark.interop, pytest.mark.slow]

PLAIN = [f"user{n:02}@example.com" for n in range(44)]
GOLD = [f"gold{n}@example.com" for n in range(20)]
USERS = PLAIN + GOLD
HOSTED = "hosted@example.com"
RESIDENT = "resident@example.com"
ALIAS, TARGET = "alias@example.com", "Target@Example.COM"

Login = Callable[[str, str], str]
every_protocol = pytest.mark.parametrize("login", LOGIN_PROTOCOLS.values(), ids=LOGIN_PROTOCOLS)


@attrs.frozen(kw_only=True)
class World:
    """Five backends: two with tag gold; of the others one has no weight, one threefold."""

    backends: Backends
    proxy: Proxy

    @property
    def heavy(self) -> str:
        return self.backends.ips[0]

    @property
    def light(self) -> str:
        return self.backends.ips[1]

    @property
    def weightless(self) -> str:
        return self.backends.ips[2]

    @property
    def gold(self) -> list[str]:
        return self.backends.ips[3:]

    def set_weights(self) -> None:
        with self.proxy.admin() as admin:
            assert admin.ask("HOST-UPDATE", self.heavy, "300") == "OK"
            assert admin.ask("HOST-UPDATE", self.weightless, "0") == "OK"

    def named_by_director(self, users: list[str]) -> dict[str, str]:
        with self.proxy.admin() as admin:
            return {
                user: admin.where(user, "gold" if user in GOLD else "").current for user in users
            }


@pytest.fixture(scope="module", params=DirectorKind, ids=lambda kind: kind.value)
def world(request: pytest.FixtureRequest) -> Generator[World, None, None]:
    with Lab() as lab:
        backends = Backends(lab, 5)
        for user in [*USERS, HOSTED, TARGET]:
            backends.put_probe_message(user)
        passdb = dict.fromkeys(PLAIN, "proxy=y")
        passdb |= dict.fromkeys(GOLD, "proxy=y director_tag=gold")
        passdb |= {
            HOSTED: f"proxy=y host={backends.ips[2]}",
            RESIDENT: "",
            ALIAS: f"proxy=y destuser={TARGET}",
        }
        settings = ProxySettings(
            kind=request.param,
            director={
                "director_mail_servers": " ".join(
                    backends.ips[:3] + [f"{ip}@gold" for ip in backends.ips[3:]]
                ),
                "director_user_expire": "15 min",
            },
            users=passdb,
        )
        proxy = Proxy(lab, "proxy", lab.address(), settings)
        proxy.put_probe_message(RESIDENT)
        proxy.start()
        made = World(backends=backends, proxy=proxy)
        made.set_weights()
        yield made


@every_protocol
def test_every_login_reaches_the_backend_that_the_director_names(
    world: World, login: Login
) -> None:
    reached = backends_of(login, world.proxy.ip, USERS)

    assert reached == world.named_by_director(USERS)


def test_lmtp_delivers_to_the_backend_that_the_director_names(world: World) -> None:
    refused = lmtp_deliver(world.proxy.ip, USERS, "delivery-1")
    delivered = {user: world.backends.stores_with(user, "delivery-1") for user in USERS}

    assert refused == {}
    assert delivered == {user: [ip] for user, ip in world.named_by_director(USERS).items()}


def test_doveadm_commands_reach_the_backend_that_the_director_names(world: World) -> None:
    def fetch(_: str, user: str) -> str:
        result = world.proxy.dovecot.doveadm(
            "-f", "tab", "fetch", "-u", user, "hdr", "header", "subject", "probe"
        )
        assert result.returncode == 0, result.stderr
        return probe_store(result.stdout.splitlines())

    reached = backends_of(fetch, "", USERS)

    assert reached == world.named_by_director(USERS)


def test_doveadm_director_map_names_the_same_backend(world: World) -> None:
    reached = backends_of(imap_backend, world.proxy.ip, PLAIN)
    names = world.proxy.dovecot.directory / "names"
    names.write_text("\n".join(PLAIN) + "\n")
    result = world.proxy.doveadm_director("map", "-f", str(names))
    rows = [line.split() for line in result.stdout.splitlines()]
    mapped = {row[0]: row[2] for row in rows if row[0] in PLAIN}

    assert result.returncode == 0, result.stderr
    assert mapped == reached


def test_users_go_to_hosts_with_weight_and_tag_only(world: World) -> None:
    plain = set(backends_of(imap_backend, world.proxy.ip, PLAIN).values())
    gold = set(backends_of(imap_backend, world.proxy.ip, GOLD).values())

    assert plain == {world.heavy, world.light}
    assert gold == set(world.gold)


def test_a_host_with_more_weight_gets_more_users(world: World) -> None:
    reached = list(backends_of(imap_backend, world.proxy.ip, PLAIN).values())

    assert reached.count(world.heavy) > reached.count(world.light)


@every_protocol
def test_a_host_given_by_the_passdb_is_left_alone(world: World, login: Login) -> None:
    reached = login(world.proxy.ip, HOSTED)

    assert reached == world.weightless
    assert world.named_by_director([HOSTED]) == {HOSTED: ""}


@every_protocol
def test_a_login_without_proxy_stays_local(world: World, login: Login) -> None:
    reached = login(world.proxy.ip, RESIDENT)

    assert reached == LOCAL
    assert world.named_by_director([RESIDENT]) == {RESIDENT: ""}


def test_destuser_decides_the_backend(world: World) -> None:
    reached = imap_backend(world.proxy.ip, ALIAS)

    assert world.named_by_director([TARGET]) == {TARGET: reached}


def test_a_wrong_password_is_refused(world: World) -> None:
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        ImapSession(world.proxy.ip, PLAIN[0], "wrong")


def test_users_stay_when_the_auth_service_restarts(world: World) -> None:
    before = backends_of(imap_backend, world.proxy.ip, USERS)
    with ImapSession(world.proxy.ip, PLAIN[0]) as session:
        world.proxy.dovecot.end_service("auth")
        after = {
            name: backends_of(login, world.proxy.ip, USERS)
            for name, login in LOGIN_PROTOCOLS.items()
        }

        assert session.is_open()
    assert after == dict.fromkeys(LOGIN_PROTOCOLS, before)


def test_users_stay_when_the_director_restarts(world: World) -> None:
    """Nobody moves although a director alone forgets its users: the hash names the same host."""
    before = backends_of(imap_backend, world.proxy.ip, USERS)
    with ImapSession(world.proxy.ip, PLAIN[0]) as session:
        world.proxy.restart_director()
        world.set_weights()
        after = {
            name: backends_of(login, world.proxy.ip, USERS)
            for name, login in LOGIN_PROTOCOLS.items()
        }

        assert session.backend() == before[PLAIN[0]]
    assert after == dict.fromkeys(LOGIN_PROTOCOLS, before)
    assert world.named_by_director(USERS) == before
