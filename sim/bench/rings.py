"""Rings of directors of one kind on loopback, and what is asked of them between measurements."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

from sim.bench.nodes import RING_PORT, Node, NodeSettings
from sim.bench.processes import wait_until
from sim.bench.results import Kind
from sim.bench.tools import Load, Outcome, Tools

WHOLE_TIMEOUT_S = 60.0
FILL_TIMEOUT_S = 240.0
BACKENDS_COUNT = 4
LOCK_PORT = 20189


class Addresses:
    """Blocks of loopback addresses that no other bench on this machine uses at the same time.

    A block is 127.A.B.1 to 250; it is ours as long as a socket listens on 127.A.B.254.
    """

    def __init__(self) -> None:
        self._locks: list[socket.socket] = []
        self._next = os.getpid() * 13

    def next_block(self) -> str:
        """Return the first three numbers of the addresses of a new block."""
        while True:
            self._next += 1
            block = f"127.{100 + self._next // 250 % 100}.{1 + self._next % 250}"
            lock = socket.socket()
            try:
                lock.bind((f"{block}.254", LOCK_PORT))
                lock.listen(1)
            except OSError:
                lock.close()
                continue
            self._locks.append(lock)
            return block

    def release(self) -> None:
        """Let others have all our blocks."""
        while self._locks:
            self._locks.pop().close()


@attrs.frozen(kw_only=True)
class Site:
    """Where benches happen: built tools, a directory for run directories, free addresses."""

    tools: Tools
    directory: Path
    addresses: Addresses
    is_quick: bool


class Ring:
    """Use as a context manager: nodes that still run are killed at the end."""

    def __init__(
        self,
        site: Site,
        kind: Kind,
        nodes_count: int,
        *,
        settings: dict[str, str] | None = None,
        has_dovecot_auth: bool = False,
        is_relayed: bool = False,
        begins_alone: bool = False,
    ) -> None:
        """With `begins_alone` the first node knows nobody until `introduce` has told it."""
        self.kind = kind
        self._tools = site.tools
        block = site.addresses.next_block()
        directory = site.directory / f"{kind.value}-{block.replace('.', '-')}"
        directory.mkdir()
        directory.chmod(0o755)
        self.backends = [f"{block}.{200 + number}" for number in range(BACKENDS_COUNT)]
        ips = [f"{block}.{1 + number}" for number in range(nodes_count)]
        director = {
            "director_mail_servers": " ".join(self.backends),
            "director_user_expire": "15 min",
            **(settings or {}),
        }
        self.nodes = [
            Node(
                kind,
                f"node{number}",
                directory,
                site.tools,
                NodeSettings(
                    ip=ip,
                    director={
                        **director,
                        "director_servers": " ".join(
                            f"{member}:{RING_PORT}"
                            for member in (ips[:1] if begins_alone and number == 1 else ips)
                        ),
                    },
                    has_dovecot_auth=has_dovecot_auth,
                    is_relayed=is_relayed,
                ),
            )
            for number, ip in enumerate(ips, 1)
        ]
        self.up: list[Node] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for node in self.nodes:
            node.kill()

    # --- members ------------------------------------------------------------------------------

    def start(self, nodes: Sequence[Node] | None = None) -> None:
        """Start these nodes, all by default, and wait until the ring of all that run is whole."""
        fresh = self.nodes if nodes is None else nodes
        for node in fresh:
            node.start()
        for node in fresh:
            node.wait_answering()
            self.up.append(node)
        self.wait_whole()

    def introduce(self) -> None:
        """Tell the first node of all others."""
        with self.nodes[0].admin() as admin:
            for node in self.nodes[1:]:
                answer = admin.ask("DIRECTOR-ADD", node.ip, str(RING_PORT))
                assert answer == "OK", answer

    def kill(self, node: Node) -> None:
        self.up.remove(node)
        node.kill()

    def is_whole(self) -> bool:
        return all(_is_whole(node, len(self.up)) for node in self.up)

    def wait_whole(self, timeout_s: float = WHOLE_TIMEOUT_S) -> float:
        """Wait until every running node says so; return how many seconds it took."""
        return wait_until(self.is_whole, timeout_s, "every node reports the ring synced")

    def wait_without(self, gone: Node, timeout_s: float) -> None:
        """Wait until a director that went away is nobody's neighbour and the ring is whole."""

        def is_forgotten() -> bool:
            for node in self.up:
                with node.admin() as admin:
                    rows = admin.directors()
                if any(row.ip == gone.ip and row.kind in ("left", "right") for row in rows):
                    return False
            return self.is_whole()

        wait_until(is_forgotten, timeout_s, f"the ring is whole without {gone.ip}")

    # --- users --------------------------------------------------------------------------------

    def users_counts(self) -> list[int]:
        counts = []
        for node in self.up:
            with node.admin() as admin:
                counts.append(admin.users_count())
        return counts

    def wait_same_users(self) -> float:
        """Wait until all nodes know as many users as the first; return how many seconds it took."""
        return wait_until(
            lambda: len(set(self.users_counts())) == 1,
            FILL_TIMEOUT_S,
            "every node knows every user",
        )

    def fill(self, users_count: int, prefix: str) -> Outcome:
        """Log new users in through the first node, wait until all know them."""
        outcome = self.load(0, "-c", 4, "-w", 64, "-n", users_count, "-u", prefix).finish()
        assert outcome.failed == 0, f"{outcome.failed} of {outcome.sent} logins failed"
        self.wait_same_users()
        return outcome

    def load(self, number: int, *options: str | int) -> Load:
        """Start a load on one node; see load.c for the options."""
        return Load(self._tools, [self.nodes[number].login_socket], *options)

    def load_auth(self, *options: str | int) -> Load:
        """Start a load on the stand-in auth of the first node, with no director between."""
        return Load(self._tools, [self.nodes[0].stand_in_socket], *options)

    # --- what a measurement cost --------------------------------------------------------------

    def cpu_s(self) -> list[float]:
        """Return the CPU seconds of the director of every running node."""
        return [node.cpu_s() for node in self.up]

    def bytes_sent(self) -> int:
        """Return how much the running nodes have sent each other over the present links."""
        total = 0
        for node in self.up:
            with node.admin() as admin:
                total += sum(
                    row.bytes_sent for row in admin.directors() if row.kind in ("left", "right")
                )
        return total

    def rest(self) -> None:
        """Wait until the directors have nothing left to do: no CPU for a fifth of a second."""
        before = self.cpu_s()
        for _ in range(100):
            time.sleep(0.2)
            now = self.cpu_s()
            if sum(now) - sum(before) < 0.004 * len(now):
                return
            before = now


def _is_whole(node: Node, members_count: int) -> bool:
    with node.admin() as admin:
        return admin.is_whole(members_count)
