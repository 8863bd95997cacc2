"""director_flush_socket with real sessions: what is asked, when, and what the answer does.

The kick delay is a minute, longer than any login here waits: a login that arrives was let in by the
program's success. The same tests run with Dovecot's own director, which shows that the exchange
over TCP is right, too.
"""

from __future__ import annotations

import socket
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest

from tests.hashing import HASHER
from tests.interop.backends import Backends
from tests.interop.clients import imap_backend
from tests.interop.flush_service import FlushService
from tests.interop.lab import Lab
from tests.interop.live import Clients, Timeline
from tests.interop.programs import wait_until
from tests.interop.proxies import DirectorKind, Proxy
from tests.interop.rings import Ring

pytestmark = [pytest.mark.interop, pytest.mark.slow]

FLUSH_PORT = 20777
OURS, REAL = DirectorKind.STANDALONE, DirectorKind.REAL
CASES = {
    "ours-unix": (OURS, "unix:flush-%i-%{host}"),
    "ours-tcp": (OURS, f"tcp:%i:{FLUSH_PORT}"),
    "real-unix": (REAL, "unix:flush-%i-%{host}"),
    "real-tcp": (REAL, f"tcp:%i:{FLUSH_PORT}"),
}
WAIT_S = 10.0


@attrs.frozen(kw_only=True)
class World:
    scheme: str
    ring: Ring
    backends: Backends

    @property
    def node(self) -> Proxy:
        return self.ring.nodes[0]

    @property
    def is_ours(self) -> bool:
        return self.node.settings.kind is OURS

    def service(self, ip: str) -> FlushService:
        """Serve where the director will look for the program of a new host.

        The hosts are configured by address and have no name, so that it is empty.
        """
        if self.scheme == "unix":
            path = self.node.dovecot.run / f"flush-{ip}-"
            listener = socket.socket(socket.AF_UNIX)
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            path.chmod(0o666)
        else:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((ip, FLUSH_PORT))
        listener.listen()
        return FlushService(listener)

    def next_move(self, user: str) -> tuple[str, str]:
        """Return the host where the user is, and another one."""
        with self.node.admin() as admin:
            old = admin.where(user).current
        return old, self.backends.ips[self.backends.ips.index(old) - 1]

    def move(self, user: str, ip: str) -> str:
        with self.node.admin() as admin:
            return admin.ask("USER-MOVE", user, ip)

    def reply(self, text: str, code: str) -> bytes:
        dots = ".\n" if self.scheme == "tcp" else ""
        return f"{text}\n{dots}{code}\n".encode()

    def stage(self, user: str) -> str:
        with self.node.admin() as admin:
            return admin.ask("USER-STATUS", user).split("\t")[0]


@pytest.fixture(scope="module", params=CASES.values(), ids=list(CASES))
def world(request: pytest.FixtureRequest) -> Generator[World]:
    kind, address = request.param
    with Lab() as lab:
        backends = Backends(lab, 3)
        settings = {"director_flush_socket": address, "director_user_kick_delay": "60 s"}
        ring = Ring(lab, [kind] * 2, backends.ips, settings)
        ring.start()
        yield World(scheme=address.split(":")[0], ring=ring, backends=backends)


def request_for(world: World, user: str, old: str, new: str) -> bytes:
    words = ["FLUSH", str(HASHER.hash(user.encode())), old, new, "up", "100", ""]
    text = "VERSION\tscript\t4\t0\n-\n" + "".join(word + "\n" for word in words)
    return text.encode() + (b"\r\n.\r\n" if world.scheme == "tcp" else b"")


def test_success_lets_logins_in_at_once(world: World) -> None:
    user = "success@example.com"
    with Clients(world.ring.nodes) as clients, ThreadPoolExecutor(2) as pool:
        clients.open([user])
        spared = clients.open(["bystander@example.com"])
        old, new = world.next_move(user)
        with world.service(new) as service:
            assert world.move(user, new) == "OK"
            login = pool.submit(imap_backend, world.node.ip, user)
            wait_until(lambda: service.requests, WAIT_S, "call of the flush program")

            assert clients.alive() == spared
            assert not login.done()
            if world.is_ours:
                assert world.stage(user) == "flushing"

            service.answer(world.reply("caches flushed", "+"))

            assert login.result() == new
        assert service.requests == [request_for(world, user, old, new)]
    assert Timeline(world.backends).splits == []


def test_failure_is_logged_and_the_delay_applies(world: World) -> None:
    user = "failure@example.com"
    with Clients(world.ring.nodes) as clients:
        clients.open([user])
        old, new = world.next_move(user)
        with world.service(new) as service:
            service.answer(world.reply("no such cache", "-"))

            assert world.move(user, new) == "OK"

            wait_until(
                lambda: "no such cache" in world.node.log_text(), WAIT_S, "the failure in the log"
            )

        assert service.requests == [request_for(world, user, old, new)]
        assert clients.alive() == set()
        assert world.move(user, old) == "TRYAGAIN"
        if world.is_ours:
            assert world.stage(user) == "delay"
