"""One proxy, its director and some backends: what most tests of this directory start from."""

from __future__ import annotations

import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import attrs

from tests.interop.lab import Lab
from tests.interop24.backends import Backends
from tests.interop24.ours import chroot
from tests.interop24.proxies import Proxy, ProxySettings, Way

QUICK_SETTINGS = {"director_user_kick_delay": "1 s"}
"""A moved user waits 1 s, not 2."""


@attrs.frozen(kw_only=True)
class Mode:
    """`is_busy`: one login process serves many clients."""

    way: Way
    is_busy: bool

    def __str__(self) -> str:
        return f"{self.way.value}-{'many' if self.is_busy else 'one'}"


@attrs.frozen(kw_only=True)
class World:
    backends: Backends
    proxy: Proxy

    @property
    def ip(self) -> str:
        return self.proxy.ip

    def elsewhere(self, backend: str) -> str:
        """Return another backend than this one."""
        ips = self.backends.ips
        return ips[(ips.index(backend) + 1) % len(ips)]

    def run(self, *verb: str) -> str:
        """Run a verb of the `director` command; it must succeed."""
        done: subprocess.CompletedProcess[str] = self.proxy.director(*verb)
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def world_of(
    way: Way,
    *,
    users: list[str],
    backends_count: int = 3,
    is_busy: bool = True,
    user: str = "",
    has_events: bool = False,
    director: Mapping[str, str] | None = None,
) -> Generator[World, None, None]:
    """Start it all; `users` get a message that tells where it was read."""
    with Lab(chroot()) as lab:
        backends = Backends(lab, backends_count)
        for name in users:
            backends.put_probe_message(name)
        settings = ProxySettings(
            way=way,
            director={
                "director_mail_servers": " ".join(backends.ips),
                **QUICK_SETTINGS,
                **(director or {}),
            },
            is_busy=is_busy,
            user=user,
            has_events=has_events,
        )
        proxy = lab.keep(Proxy(lab, "proxy", lab.address(), settings))
        proxy.start()
        yield World(backends=backends, proxy=proxy)
