"""`director simulate` understands what the installed Dovecot logs, and expects what it does."""

from __future__ import annotations

import subprocess
from collections.abc import Generator

import attrs
import pytest

from director.login_log import Login, parse_line
from director.whatif import mail_hosts
from ring.address import parse_ip
from ring.settings import HostSetting
from tests.hashing import HASHER
from tests.interop.backends import Backends
from tests.interop.clients import LOGIN_PROTOCOLS, backends_of
from tests.interop.lab import Lab
from tests.interop.programs import wait_until
from tests.interop.proxies import DirectorKind, Proxy, ProxySettings

pytestmark = [pytest.mark.interop, pytest.mark.slow]

USERS = [f"user{n}@example.com" for n in range(8)]
RESIDENT = "resident@example.com"
ALIAS, TARGET = "alias@example.com", "Target@Example.COM"


@attrs.frozen
class World:
    """Everybody has logged in once over each protocol."""

    backends: Backends
    proxy: Proxy
    reached: dict[str, str]


@pytest.fixture(scope="module")
def world() -> Generator[World, None, None]:
    with Lab() as lab:
        backends = Backends(lab, 3)
        for user in (*USERS, TARGET.lower()):
            backends.put_probe_message(user)
        passdb = dict.fromkeys(USERS, "proxy=y")
        passdb |= {RESIDENT: "", ALIAS: f"proxy=y destuser={TARGET}"}
        settings = ProxySettings(
            kind=DirectorKind.REAL,
            director={"director_mail_servers": " ".join(backends.ips)},
            users=passdb,
        )
        proxy = Proxy(lab, "proxy", lab.address(), settings)
        proxy.put_probe_message(RESIDENT)
        proxy.start()
        reached: dict[str, str] = {}
        for login in LOGIN_PROTOCOLS.values():
            reached = backends_of(login, proxy.ip, [*passdb])
        yield World(backends, proxy, reached)


def logins_of(text: str) -> list[Login]:
    parsed = (parse_line(line.encode()) for line in text.splitlines())
    return [login for login in parsed if login is not None]


def test_each_proxied_session_is_read_from_the_log(world: World) -> None:
    count = len(world.reached) * len(LOGIN_PROTOCOLS)
    wait_until(lambda: len(logins_of(world.proxy.log_text())) >= count, 10.0, f"{count} lines")
    logins = logins_of(world.proxy.log_text())

    names = {user: TARGET if user == ALIAS else user for user in world.reached}
    expected = [
        Login(
            user=names[user].encode(),
            backend=b"" if user == RESIDENT else backend.encode(),
            is_proxied=user != RESIDENT,
        )
        for user, backend in world.reached.items()
        for _ in LOGIN_PROTOCOLS
    ]
    found = [login if login.is_proxied else attrs.evolve(login, backend=b"") for login in logins]
    assert sorted(found, key=repr) == sorted(expected, key=repr)


def test_users_stand_where_the_director_sent_them(world: World) -> None:
    hosts = mail_hosts(HostSetting(ip=parse_ip(ip)) for ip in world.backends.ips)
    hash_user = HASHER.hash
    wrong = []
    for login in logins_of(world.proxy.log_text()):
        host = hosts.lookup(hash_user(login.user), b"")
        if login.is_proxied and (host is None or host.ip_text != login.backend):
            wrong.append(login)

    assert wrong == []


def test_the_command_counts_everybody_of_the_log(world: World) -> None:
    outcome: subprocess.CompletedProcess[str] = world.proxy.director(
        "simulate",
        "-c",
        "/dev/null",
        "-o",
        f"director_mail_servers={' '.join(world.backends.ips)}",
        "--log",
        str(world.proxy.dovecot.log),
        "--remove",
        world.backends.ips[0],
    )

    proxied_count = len(USERS) + 1
    total = f"total\t{proxied_count}\t{proxied_count * len(LOGIN_PROTOCOLS)}"
    assert outcome.stderr == ""
    assert total in outcome.stdout.splitlines()
