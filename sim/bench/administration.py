"""(f) What administrators wait for: a host set down, a flush, a service that is stopped."""

from __future__ import annotations

import statistics
import time

from sim.bench.results import Bound, Kind, Metric, Target
from sim.bench.rings import WHOLE_TIMEOUT_S, Ring, Site
from sim.bench.stalls import STALL_MS_MAX, Logins, stall_metrics, stall_numbers

PREFIX = "a"
CHANGES_COUNT = 16
AGREE_TIMEOUT_S = 30.0
QUIET_S = 4.0
"""Before the flush: ours holds whoever logged in later, because a session may be beginning."""


class Administration:
    """Host changes, then a flush with the default limits, of which the first seconds are counted.

    Kicks go through Dovecot's `ipc` on both sides; nobody has a session.
    """

    name = "administration, 3 nodes"
    metrics = (
        Metric(name="host down or up until all agree", unit="ms"),
        Metric(name="the same, worst", unit="ms"),
        Metric(
            name="default flush",
            unit="moves/s",
            target=Target(Bound.RATIO_AT_LEAST, 10.0),
        ),
        Metric(name="default flush, node with the command", unit="us CPU/move"),
    )

    def measure(self, site: Site, kind: Kind) -> dict[str, float]:
        users_count = 20_000 if site.is_quick else 50_000
        with Ring(site, kind, 3, has_dovecot_auth=True) as ring:
            ring.start()
            ring.fill(users_count, PREFIX)
            ring.rest()
            agreed_ms = [self._change(ring, number) for number in range(CHANGES_COUNT)]
            time.sleep(QUIET_S)
            return {
                "host down or up until all agree": statistics.median(agreed_ms),
                "the same, worst": max(agreed_ms),
            } | self._flush(ring, 4.0 if site.is_quick else 8.0)

    def close(self) -> None:
        pass

    def _change(self, ring: Ring, number: int) -> float:
        """Set a host down or up; return the milliseconds until every node says so."""
        ip = ring.backends[number // 2 % len(ring.backends)]
        command, state = ("HOST-UP", "U") if number % 2 else ("HOST-DOWN", "D")
        others = [node.admin() for node in ring.up]
        started_at = time.monotonic()
        with ring.up[0].admin() as admin:
            assert admin.ask(command, ip) == "OK"
        while not all(
            any(host.ip == ip and host.state == state for host in other.hosts()) for other in others
        ):
            assert time.monotonic() - started_at < AGREE_TIMEOUT_S
        took_ms = (time.monotonic() - started_at) * 1e3
        for other in others:
            other.close()
        time.sleep(0.05)
        return took_ms

    def _flush(self, ring: Ring, seconds: float) -> dict[str, float]:
        ip = ring.backends[0]
        node = ring.up[0]
        with node.admin() as admin, node.admin() as flushing:
            assert admin.ask("HOST-DOWN", ip) == "OK"
            before = next(host.users_count for host in admin.hosts() if host.ip == ip)
            cpu_s, started_at = node.cpu_s(), time.monotonic()
            flushing.send("HOST-RESET-USERS", ip)
            left = before
            while left and time.monotonic() - started_at < seconds:
                time.sleep(0.1)
                left = next(host.users_count for host in admin.hosts() if host.ip == ip)
            took_s = time.monotonic() - started_at
            moved = max(1, before - left)
            return {
                "default flush": moved / took_s,
                "default flush, node with the command": (node.cpu_s() - cpu_s) * 1e6 / moved,
            }


class CleanStop:
    """The service of the middle node is stopped while logins go on at the two others."""

    metrics = (
        Metric(name="whole again", unit="s"),
        *stall_metrics("clean stop", STALL_MS_MAX),
    )

    def __init__(self, users_count: int) -> None:
        self._users_count = users_count
        self.name = f"clean stop, {users_count // 1000} k users, 3 nodes"

    def measure(self, site: Site, kind: Kind) -> dict[str, float]:
        with Ring(site, kind, 3) as ring:
            ring.start()
            ring.fill(self._users_count, PREFIX)
            ring.rest()
            gone = ring.nodes[1]
            logins = Logins(ring, (0, 2), PREFIX, "stop")
            time.sleep(1.0)
            started_at = time.monotonic()
            gone.stop()
            ring.up.remove(gone)
            ring.wait_without(gone, WHOLE_TIMEOUT_S)
            whole_s = time.monotonic() - started_at
            time.sleep(1.0)
            return {"whole again": whole_s} | stall_numbers("clean stop", logins.end())

    def close(self) -> None:
        pass


class Refusal:
    """The auth service takes no new connections for five seconds; logins go on over old ones.

    Every half second a new client comes, who has to wait.
    """

    name = "auth refuses for 5 s"
    metrics = (
        Metric(
            name="logins on healthy connections, p99",
            unit="ms",
            target=Target(Bound.VALUE_AT_MOST, STALL_MS_MAX),
        ),
        Metric(name="logins on healthy connections, worst", unit="ms"),
        Metric(name="failed", unit="1", target=Target(Bound.VALUE_AT_MOST, 0.0)),
    )

    def measure(self, site: Site, kind: Kind) -> dict[str, float]:
        with Ring(site, kind, 1) as ring:
            ring.start()
            ring.load(0, "-n", 500, "-u", PREFIX).finish()
            node = ring.nodes[0]
            load = ring.load(0, "-c", 2, "-r", 200, "-n", 1300, "-d", 500, "-u", PREFIX)
            time.sleep(0.75)
            with node.refused_auth():
                for _ in range(10):
                    with node.login_client():
                        time.sleep(0.5)
            outcome = load.finish()
            return {
                "logins on healthy connections, p99": outcome.p99_us / 1e3,
                "logins on healthy connections, worst": outcome.worst_us / 1e3,
                "failed": outcome.failed,
            }

    def close(self) -> None:
        pass
