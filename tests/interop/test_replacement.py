"""A live ring of real directors becomes a ring of ours, node by node, and nobody notices.

The operator's procedure: take a node out of service, replace its director, put it back when the
ring is synced. Meanwhile users log in through the nodes in service every 20 ms and others keep
IMAP sessions open. No user may be sent to two backends at any moment, and half of the users are
not where their hash leads, so that only the table handed from node to node can know.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.interop.backends import Backends
from tests.interop.clients import ImapSession, imap_backend
from tests.interop.lab import Lab
from tests.interop.proxies import DirectorKind, Proxy
from tests.interop.rings import Ring

pytestmark = [pytest.mark.interop, pytest.mark.slow]

USERS = [f"user{n:02}@example.com" for n in range(60)]
MOVED = USERS[::2]
SESSIONS_PER_NODE = 8
LOGIN_INTERVAL_S = 0.02
LOGIN_THREADS = 4


class LoginStream:
    """Logs random users in, one every 20 ms, through the nodes that are in service."""

    def __init__(self, nodes: list[Proxy]) -> None:
        self.seen: dict[str, set[str]] = {user: set() for user in USERS}
        self.logins_count = 0
        self._nodes = list(nodes)
        self._busy: dict[Proxy, int] = dict.fromkeys(nodes, 0)
        self._is_over = threading.Event()
        self._changed = threading.Condition()
        self._numbers = itertools.count()

    @contextmanager
    def running(self) -> Generator[None, None, None]:
        with ThreadPoolExecutor(LOGIN_THREADS) as pool:
            clients = [pool.submit(self._keep_logging_in) for _ in range(LOGIN_THREADS)]
            try:
                yield
            finally:
                self._is_over.set()
            for client in clients:
                client.result()

    def take_out_of_service(self, node: Proxy) -> None:
        """Return when no more logins go through the node."""
        with self._changed:
            self._nodes.remove(node)
            self._changed.wait_for(lambda: self._busy[node] == 0)

    def put_into_service(self, node: Proxy) -> None:
        with self._changed:
            self._busy[node] = 0
            self._nodes.append(node)

    def wait_logins(self, count: int) -> None:
        with self._changed:
            wanted = self.logins_count + count
            self._changed.wait_for(lambda: self.logins_count >= wanted or self._is_over.is_set())

    def _keep_logging_in(self) -> None:
        choice = random.Random(next(self._numbers))
        while not self._is_over.wait(LOGIN_INTERVAL_S * LOGIN_THREADS):
            user = choice.choice(USERS)
            with self._changed:
                node = choice.choice(self._nodes)
                self._busy[node] += 1
            try:
                backend = imap_backend(node.ip, user)
            except BaseException:
                self._is_over.set()
                raise
            finally:
                with self._changed:
                    self._busy[node] -= 1
                    self.logins_count += 1
                    self._changed.notify_all()
            self.seen[user].add(backend)


def spread(ring: Ring) -> dict[str, str]:
    """Log everybody in, move every second user away from his hash; return where each one is."""
    places = ring.login_everywhere(USERS)
    with ring.nodes[0].admin() as admin:
        for user in MOVED:
            places[user] = next(ip for ip in ring.hosts if ip != places[user])
            assert admin.ask("USER-MOVE", user, places[user]) == "OK"
    ring.wait_agreed()
    return places


def replace_in_service(
    ring: Ring, stream: LoginStream, node: Proxy, kind: DirectorKind, places: dict[str, str]
) -> Proxy:
    """Put a director of another kind in the place of a node, as an operator would."""
    stream.take_out_of_service(node)
    ring.stop(node)
    ring.wait_synced()
    stream.wait_logins(20)
    made = ring.replace(node, kind)
    ring.restart(made)
    ring.wait_agreed()
    stream.put_into_service(made)
    stream.wait_logins(20)

    assert ring.login_everywhere(USERS) == places
    return made


@pytest.fixture
def lab() -> Generator[Lab, None, None]:
    with Lab() as made:
        yield made


def test_a_live_ring_is_replaced_node_by_node_and_one_step_back(lab: Lab) -> None:
    backends = Backends(lab, 4)
    ring = Ring(lab, [DirectorKind.REAL] * 3, backends.ips, {})
    ring.start()
    places = spread(ring)
    stream = LoginStream(ring.nodes)
    with stream.running():
        sessions = {
            node: [ImapSession(node.ip, user) for user in USERS[:SESSIONS_PER_NODE]]
            for node in ring.nodes
        }
        for node in list(ring.nodes):
            live = [session for n in ring.nodes for session in sessions.get(n, [])]

            assert [session.backend() for session in live] == [places[s.user] for s in live]
            replace_in_service(ring, stream, node, DirectorKind.STANDALONE, places)
            for session in sessions.pop(node):
                session.close()

        assert link_statuses(ring) == {"synced (native)"}
        assert "synced (native)" in ring_status(ring.nodes[0])
        set_weight(ring, ring.nodes[1], 90)
        restored = replace_in_service(ring, stream, ring.nodes[1], DirectorKind.REAL, places)
        set_weight(ring, restored, 100)  # it counts its commands from one, and must be believed

    assert link_statuses(ring) == {"synced", "synced (native)"}
    assert stream.seen == {user: {places[user]} for user in USERS}
    assert ring.complaints() == []


def set_weight(ring: Ring, node: Proxy, weight: int) -> None:
    """Give a command at one node, and see it on every one."""
    with node.admin() as admin:
        assert admin.ask("HOST-SET", ring.hosts[0], str(weight)) == "OK"
    ring.wait_agreed()


def link_statuses(ring: Ring) -> set[str]:
    """Return what our nodes say about their links to neighbours."""
    ours = [node for node in ring.nodes if node.settings.kind is not DirectorKind.REAL]
    rows = [row for node in ours for row in node.directors()]
    return {row.status for row in rows if row.kind in ("left", "right")}


def ring_status(node: Proxy) -> str:
    return node.director("ring", "status", "-a", str(node.admin_socket)).stdout
