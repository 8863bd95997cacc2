"""Work on a backend: a site of two directors and two backends takes one out and puts it back.

The operator's procedure (director-docs-facts.md section 7) with clients that come back as soon as
they lose their session, on either director, with the `director` command, once on a terminal.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import attrs
import pytest

from tests.interop.backends import Backends
from tests.interop.clients import ImapSession, backends_of, imap_backend
from tests.interop.lab import Lab
from tests.interop.live import Timeline
from tests.interop.programs import wait_until
from tests.interop.proxies import DirectorKind, Proxy
from tests.interop.rings import Ring, host_list
from tests.interop.terminal import OnTerminal, director

pytestmark = [pytest.mark.interop, pytest.mark.slow]

USERS = [f"user{n}@example.com" for n in range(8)]
LOOK_INTERVAL_S = 0.05


@attrs.frozen(kw_only=True)
class Site:
    ring: Ring
    backends: Backends


@pytest.fixture(scope="module")
def site() -> Generator[Site]:
    with Lab() as lab:
        backends = Backends(lab, 2)
        ring = Ring(lab, [DirectorKind.STANDALONE] * 2, backends.ips, {})
        ring.start()
        yield Site(ring=ring, backends=backends)


class ReturningClients:
    """Each user keeps a session over each proxy, and opens another when that is closed."""

    def __init__(self, proxies: list[Proxy]) -> None:
        self.places: dict[tuple[str, str], str] = {}
        self._proxies = proxies
        self._is_over = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        with ThreadPoolExecutor(len(self._proxies) * len(USERS)) as pool:
            clients = [
                pool.submit(self._stay, proxy, user) for proxy in self._proxies for user in USERS
            ]
            try:
                wait_until(lambda: len(self.places) == len(clients), 30.0, "first logins")
                yield
            finally:
                self._is_over.set()
            for client in clients:
                client.result()

    def _stay(self, proxy: Proxy, user: str) -> None:
        while not self._is_over.is_set():
            with ImapSession(proxy.ip, user) as session:
                self.places[user, proxy.name] = session.backend()
                while session.is_open() and not self._is_over.wait(LOOK_INTERVAL_S):
                    pass


@pytest.mark.parametrize("at", [0, 1], ids=["first-director", "second-director"])
def test_a_backend_is_emptied_worked_on_and_used_again(site: Site, at: int) -> None:
    ring, node = site.ring, site.ring.nodes[at]
    worked_on, other = ring.hosts if at == 0 else reversed(ring.hosts)
    socket = node.dovecot.run / "director-admin"
    clients = ReturningClients(ring.nodes)
    with clients.running():
        assert worked_on in clients.places.values()

        assert director(socket, "add", worked_on, "0").returncode == 0
        assert director(socket, "flush", worked_on).returncode == 0
        wait_until(lambda: set(clients.places.values()) == {other}, 30.0, f"all clients on {other}")

        newcomers = [f"newcomer{at}{n}@example.com" for n in range(6)]
        for proxy in ring.nodes:
            assert set(backends_of(imap_backend, proxy.ip, newcomers).values()) == {other}
        assert Timeline(site.backends).users_on(worked_on) == set()

        assert director(socket, "add", worked_on, "100").returncode == 0
        ring.wait_agreed()

        with node.admin() as admin:
            guests = [f"guest{at}{n}@example.com" for n in range(20)]
            hashed = {guest: admin.where(guest).hashed for guest in guests}
        assert backends_of(imap_backend, ring.nodes[1 - at].ip, guests) == hashed
        assert set(hashed.values()) == {worked_on, other}
        assert set(clients.places.values()) == {other}
    assert Timeline(site.backends).splits == []


def test_a_terminal_shows_how_far_a_flush_is(site: Site) -> None:
    node = site.ring.nodes[0]
    socket = node.dovecot.run / "director-admin"
    backends_of(imap_backend, node.ip, USERS)
    fullest = max(host_list(node), key=lambda host: host.users_count)
    third = fullest.users_count // 3 + 1
    assert director(socket, "update", fullest.ip, "0").returncode == 0
    with OnTerminal(socket, "flush", fullest.ip, "--max-parallel", str(third)) as flush:
        assert flush.wait() == 0
    assert director(socket, "update", fullest.ip, "100").returncode == 0

    assert f"{fullest.ip}: " in flush.shown
    assert " users left" in flush.shown


def test_a_terminal_watches_the_status_until_interrupted(site: Site) -> None:
    node = site.ring.nodes[0]
    with OnTerminal(node.dovecot.run / "director-admin", "status", "--watch") as watch:
        watch.wait_shown(site.ring.hosts[0], count=2)
        watch.interrupt()

        assert watch.wait() == 0
    assert watch.shown.count("mail server ip") >= 2
