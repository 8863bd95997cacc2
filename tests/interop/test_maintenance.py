"""Work on a backend: a site of two directors and two backends takes one out and puts it back.

The operator's procedure (director-docs-facts.md section 7) with clients that come back as soon as
they lose their session, on either director, with the `director` command, once on a terminal.
"""

from __future__ import annotations

from collections.abc import Generator

import attrs
import pytest

from tests.interop.backends import Backends
from tests.interop.clients import backends_of, imap_backend
from tests.interop.lab import Lab
from tests.interop.live import ReturningClients, Timeline
from tests.interop.programs import wait_until
from tests.interop.proxies import DirectorKind
from tests.interop.rings import Ring, host_list
from tests.interop.terminal import OnTerminal, director

pytestmark = [pytest.mark.interop, pytest.mark.slow]

USERS = [f"user{n}@example.com" for n in range(8)]


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


@pytest.mark.parametrize("at", [0, 1], ids=["first-director", "second-director"])
def test_a_backend_is_emptied_worked_on_and_used_again(site: Site, at: int) -> None:
    ring, node = site.ring, site.ring.nodes[at]
    worked_on, other = ring.hosts if at == 0 else reversed(ring.hosts)
    socket = node.dovecot.run / "director-admin"
    clients = ReturningClients(ring.nodes, USERS)
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
    with ReturningClients(site.ring.nodes, USERS).running():  # a flush waits for those alone
        fullest = max(host_list(node), key=lambda host: host.users_count)
        assert director(socket, "update", fullest.ip, "0").returncode == 0
        with OnTerminal(socket, "flush", fullest.ip, "--max-parallel", "4") as flush:
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
