"""Rings of directors, real ones and ours in any mixture, each with its own Dovecot around it.

What counts as healthy is asked of every node over its admin socket, so that a test needs no
knowledge of who is who: synced, both neighbours there, the same hosts, the same users.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from tests.interop.admin_client import DirectorRow, HostRow
from tests.interop.auth_client import AuthClient
from tests.interop.lab import Lab
from tests.interop.loopback import RING_PORT
from tests.interop.programs import wait_until
from tests.interop.proxies import DirectorKind, Proxy, ProxySettings

SYNC_TIMEOUT_S = 120.0
"""Real directors need 31 s, and some 61 s, to be one ring again."""

AGREE_TIMEOUT_S = 20.0
"""After that."""

DIFFERENCES_SHOWN = 10

QUICK_SETTINGS = {
    "director_user_expire": "15 min",
    "director_user_kick_delay": "1 s",
    "director_ping_idle_timeout": "2 s",
    "director_ping_max_timeout": "4 s",
}
"""A hung neighbour is given up after seconds, not after a minute; a moved user waits 1 s."""

COMPLAINT = re.compile(r"(director: (Panic|Fatal|Error)|service\(director\)).*")
LOSSES = re.compile(
    r"connect\(\S+\) failed|Connection reset|Connection refused|Connection closed|Broken pipe|"
    r"disconnected|Disconnected|Ping timeout|Pong timeout|Handshake timeout|(?<!move )timed out|"
    r"killed with signal (9|15)"
)
"""Errors that a real director logs because a neighbour went away, not because of what it said."""

CONFLICT = re.compile(
    r"User hash (\d+) is being redirected to two hosts|user_conflict_settled user_hash=(\d+)"
)


class Ring:
    """`nodes` are the members in the order of their addresses, `down` those not running now.

    `users` are passdb fields by user name; everybody else is proxied without any.
    """

    def __init__(
        self,
        lab: Lab,
        kinds: Iterable[DirectorKind],
        hosts: list[str],
        extra: Mapping[str, str],
        users: Mapping[str, str] | None = None,
    ) -> None:
        self.lab = lab
        self.hosts = hosts
        self.extra = extra
        self.users = users or {}
        self.nodes: list[Proxy] = []
        self.down: list[Proxy] = []
        self.retired: list[Proxy] = []
        kinds = list(kinds)
        ips = sorted((lab.address() for _ in kinds), key=lambda ip: int(ip.split(".")[3]))
        self.servers = list(ips)
        for kind, ip in zip(kinds, ips, strict=True):
            self.nodes.append(self.make_node(kind, ip))

    def make_node(self, kind: DirectorKind, ip: str) -> Proxy:
        """Return a node that is not started; its configuration names `self.servers`."""
        number = len(self.nodes) + len(self.retired) + 1
        settings = ProxySettings(
            kind=kind,
            director={
                "director_servers": " ".join(f"{server}:{RING_PORT}" for server in self.servers),
                "director_mail_servers": " ".join(self.hosts),
                **QUICK_SETTINGS,
                **self.extra,
            },
            users=self.users,
            protocols=("imap",),
            is_ring_member=True,
            accepts_everybody=True,
            is_busy=True,
        )
        return Proxy(self.lab, f"node{number}-{kind.value}", ip, settings)

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        self.wait_synced()

    # --- members --------------------------------------------------------------------------

    @property
    def up(self) -> list[Proxy]:
        return [node for node in self.nodes if node not in self.down]

    def one_of_each(self) -> list[Proxy]:
        """Return one running real director, if there is one, and one of ours, if there is one."""
        real = [node for node in self.up if node.settings.kind is DirectorKind.REAL]
        ours = [node for node in self.up if node.settings.kind is not DirectorKind.REAL]
        return real[:1] + ours[:1]

    def kill(self, node: Proxy) -> None:
        """The machine of the node loses power."""
        node.kill()
        self.down.append(node)

    def stop(self, node: Proxy) -> None:
        """The machine of the node is shut down cleanly."""
        node.stop()
        self.down.append(node)

    def restart(self, node: Proxy) -> None:
        node.start()
        self.down.remove(node)

    def replace(self, node: Proxy, kind: DirectorKind) -> Proxy:
        """Put a director of another kind, not started yet, in the place of a stopped one."""
        self.down.remove(node)
        self.retired.append(node)
        made = self.make_node(kind, node.ip)
        self.nodes[self.nodes.index(node)] = made
        self.down.append(made)
        return made

    # --- health ---------------------------------------------------------------------------

    def is_synced(self) -> bool:
        return all(
            is_whole(node, members_count=len(self.nodes), up_count=len(self.up)) for node in self.up
        )

    def wait_synced(self) -> None:
        """Return when every node that is up reports the ring synced and knows all members."""
        wait_until(self.is_synced, SYNC_TIMEOUT_S, "every node reports the ring synced")

    def wait_agreed(self, timeout_s: float = AGREE_TIMEOUT_S) -> None:
        """Return when the ring is synced and all nodes have the same hosts and users."""

        def is_agreed() -> bool:
            return self.is_synced() and not self.differences()

        self.wait_synced()
        try:
            wait_until(is_agreed, timeout_s, "all nodes agree")
        except TimeoutError as error:
            found = self.differences()
            shown = found[:DIFFERENCES_SHOWN]
            raise AssertionError("\n".join([f"{len(found)}:", *shown, str(error)])) from None

    def differences(self) -> list[str]:
        """Return one line for each difference between the first running node and another."""
        found = []
        first, *others = self.up
        hosts, users = host_list(first), user_table(first)
        for other in others:
            names = f"{first.name} and {other.name}"
            if (other_hosts := host_list(other)) != hosts:
                found.append(f"{names} differ in hosts:\n  {hosts}\n  {other_hosts}")
            other_users = user_table(other)
            for user_hash in sorted(users.keys() | other_users.keys()):
                here, there = users.get(user_hash), other_users.get(user_hash)
                if here != there:
                    found.append(f"{names} differ in user {user_hash}: {here} and {there}")
        return found

    def complaints(self) -> list[str]:
        """Return what the real directors, retired ones too, logged about anybody's protocol."""
        return [
            f"{node.name}: {found[0]}"
            for node in [*self.nodes, *self.retired]
            if node.settings.kind is DirectorKind.REAL
            for line in node.log_text().splitlines()
            if (found := COMPLAINT.search(line)) and not LOSSES.search(line)
        ]

    def conflicts(self) -> set[int]:
        """Return the hashes of users that anybody says were sent to two hosts, and settled."""
        return {
            int(found[1] or found[2])
            for node in [*self.nodes, *self.retired]
            for found in CONFLICT.finditer(node.log_text())
        }

    # --- load -----------------------------------------------------------------------------

    def login_everywhere(self, users: list[str], turn: int = 0) -> dict[str, str]:
        """Log the users in, an equal part through each running node, all nodes at a time.

        With another `turn` each user comes through another node. Return where they were sent.
        """
        nodes = self.up

        def login(number: int) -> dict[str, str]:
            with AuthClient(nodes[(number + turn) % len(nodes)].login_socket) as client:
                return client.login(users[number :: len(nodes)])

        with ThreadPoolExecutor(len(nodes)) as pool:
            parts = pool.map(login, range(len(nodes)))
            return {user: host for part in parts for user, host in part.items()}


class Asked(Protocol):
    """Any node that tells what it knows of the ring."""

    def directors(self) -> list[DirectorRow]: ...


def is_whole(node: Asked, *, members_count: int, up_count: int) -> bool:
    """Return whether the node says: synced, so many members, a neighbour on either side."""
    rows = [row for row in node.directors() if row.kind not in ("removed", "in", "out")]
    kinds = {row.kind for row in rows}
    is_synced = any(row.kind == "self" and row.status == "ring synced" for row in rows)
    has_neighbours = up_count == 1 or {"left", "right"} <= kinds
    return is_synced and has_neighbours and len({(r.ip, r.port) for r in rows}) == members_count


def host_list(node: Proxy) -> list[HostRow]:
    """Return the hosts with their number of users, which must be equal too."""
    with node.admin() as admin:
        return admin.hosts()


def user_table(node: Proxy) -> dict[int, str]:
    with node.admin() as admin:
        return {row.user_hash: row.ip for row in admin.users()}
