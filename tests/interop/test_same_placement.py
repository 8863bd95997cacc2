"""Ours and the real director put every user on the same backend, host for host."""

from __future__ import annotations

import pytest

from tests.interop.backends import Backends
from tests.interop.clients import backends_of, imap_backend
from tests.interop.lab import Lab
from tests.interop.proxies import DirectorKind, Proxy, ProxySettings

pytestmark = [pytest.mark.interop, pytest.mark.slow]

KINDS = list(DirectorKind)
USERS = [f"user{n:03}@example.com" for n in range(160)] + [f"Gold.{n}" for n in range(40)]


def test_each_of_200_users_gets_the_backend_that_the_real_director_gives_him() -> None:
    with Lab() as lab:
        backends = Backends(lab, 6)
        passdb = {
            user.lower(): "proxy=y director_tag=gold" if user.startswith("Gold") else "proxy=y"
            for user in USERS
        }
        reached: dict[DirectorKind, dict[str, str]] = {}
        for kind in KINDS:
            settings = ProxySettings(
                kind=kind,
                director={
                    "director_mail_servers": " ".join(
                        backends.ips[:3] + [f"{ip}@gold" for ip in backends.ips[3:]]
                    ),
                },
                users=passdb,
                protocols=("imap",),
                is_busy=True,
            )
            proxy = Proxy(lab, f"proxy-{kind.value}", lab.address(), settings)
            proxy.start()
            with proxy.admin() as admin:
                assert admin.ask("HOST-UPDATE", backends.ips[0], "33") == "OK"
                assert admin.ask("HOST-DOWN", backends.ips[5]) == "OK"
            reached[kind] = backends_of(imap_backend, proxy.ip, USERS)

        assert set(reached[DirectorKind.REAL].values()) == set(backends.ips[:5])
        assert reached == dict.fromkeys(KINDS, reached[DirectorKind.REAL])
