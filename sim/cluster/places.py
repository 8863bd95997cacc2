"""Where a cluster lives: loopback addresses, ports, and how a proxy comes between two daemons.

A director announces the address it listens on (ME must be the entry its neighbours dial,
ring-protocol.md section 6), so nothing can stand between two directors at another address. But the
kernel prefers a listener on one address to a listener on all of them: the proxy listens on the
announced address and port, the daemon on the same port of every address, and the proxy reaches it
at an address that nobody announces. The daemon is given that listener as systemd gives sockets to
services, and believes that it is the one in its configuration. No privileges are needed.

The price is a port of its own for each daemon, on all of 127.0.0.0/8; `Places` sees to it that no
other cluster of this machine shares it.
"""

from __future__ import annotations

import os
import socket

import attrs

FIRST_PORT, PORTS_COUNT = 20400, 4000
_NETS_COUNT = 200 * 250


@attrs.frozen(kw_only=True)
class Place:
    """`ip` and `port` are what everybody knows, `hidden_ip` is where the daemon is reached."""

    ip: str
    port: int
    hidden_ip: str


class Places:
    """Addresses and ports nobody else has, until `release`."""

    def __init__(self) -> None:
        self._locks: list[socket.socket] = []
        self._net = self._take_net()
        self._nodes_count = 0

    def node(self) -> Place:
        self._nodes_count += 1
        number = self._nodes_count
        assert number < 100, "a cluster has less than 100 nodes"
        return Place(
            ip=f"{self._net}.{number}",
            port=self._take_port(),
            hidden_ip=f"{self._net}.{100 + number}",
        )

    def backends(self, count: int) -> list[str]:
        """Return addresses at which nothing listens; nobody is ever proxied there."""
        return [f"{self._net}.{200 + number}" for number in range(count)]

    def test_port(self) -> int:
        """Return the port at which real directors are told to dial everybody."""
        return self._take_port()

    def release(self) -> None:
        for lock in self._locks:
            lock.close()

    def _take_net(self) -> str:
        for attempt in range(_NETS_COUNT):
            number = (os.getpid() * 7 + attempt) % _NETS_COUNT
            net = f"127.{50 + number // 250 % 200}.{1 + number % 250}"
            if self._lock(f"net-{net}"):
                return net
        raise OSError("all nets of 127.0.0.0/8 are in use")

    def _take_port(self) -> int:
        for attempt in range(PORTS_COUNT):
            port = FIRST_PORT + (os.getpid() * 16 + attempt) % PORTS_COUNT
            if self._lock(f"port-{port}") and _is_free(port):
                return port
        raise OSError(f"no port from {FIRST_PORT} to {FIRST_PORT + PORTS_COUNT - 1} is free")

    def _lock(self, name: str) -> bool:
        """Take a name that one process at a time can have; the kernel gives it back."""
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            lock.bind(f"\0ringdirector-cluster-{name}")
        except OSError:
            lock.close()
            return False
        self._locks.append(lock)
        return True


def listen(ip: str, port: int) -> socket.socket:
    """Return a listener that bears another one on the same port of other addresses."""
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((ip, port))
        sock.listen(64)
    except OSError:
        sock.close()
        raise
    return sock


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
            probe.listen(1)
        except OSError:
            return False
    return True
