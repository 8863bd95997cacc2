"""(c, d, e) A ring with many users: memory, a node that joins, one that dies, one that hangs.

The users enter through the first node while it is alone, which is much faster than through a ring;
two more nodes then learn them as every joining node does. The fourth is the one that is watched: it
joins while logins go on at the first and the third, between which it stands. Then it is killed, it
comes back, and it is stopped (SIGSTOP). A real ring would not notice that for 45 s, so it is spared
that here (`hung.py` has it).

The rings are filled once and live through all rounds.

"Join" counts from the start of the director's process, Python's own start included.
"""

from __future__ import annotations

import signal
import time

from sim.bench.processes import wait_until
from sim.bench.results import Bound, Kind, Metric, Target
from sim.bench.rings import FILL_TIMEOUT_S, WHOLE_TIMEOUT_S, Ring, Site
from sim.bench.stalls import STALL_MS_MAX, Logins, stall_metrics, stall_numbers

AT_MOST_REAL = Target(Bound.RATIO_AT_MOST, 1.0)
QUIET_S = 1.0
"""Logins before an event and after the ring is whole again."""

WATCHED = (0, 2)
PREFIX = "m"


class Million:
    def __init__(self, users_count: int) -> None:
        self._users_count = users_count
        size = (
            f"{users_count // 1_000_000} M" if users_count >= 10**6 else f"{users_count // 1000} k"
        )
        self.name = f"{size} users"
        self.metrics = (
            Metric(name="memory", unit="bytes/user", target=Target(Bound.RATIO_AT_MOST, 0.42)),
            Metric(name="entered alone", unit="us CPU/user"),
            Metric(name="join, synced and complete", unit="s", target=AT_MOST_REAL),
            Metric(name="join, received by the joiner", unit="bytes/user"),
            Metric(name="join, joiner", unit="us CPU/user"),
            *stall_metrics("join", STALL_MS_MAX),
            Metric(name="kill, whole again", unit="s"),
            *stall_metrics("kill", STALL_MS_MAX),
            Metric(name="hang, whole again", unit="s"),
            *stall_metrics("hang", STALL_MS_MAX),
        )

        self._rings: dict[Kind, Ring] = {}
        self._events_count = 0

    def measure(self, site: Site, kind: Kind) -> dict[str, float]:
        found: dict[str, float] = {}
        ring = self._rings.get(kind)
        if ring is None:
            ring = self._rings[kind] = Ring(site, kind, 4, begins_alone=True)
            found |= self._fill(ring)
            ring.introduce()
            for node in ring.nodes[1:3]:
                # One by one: of two that join a real ring at once, one may stay without users.
                ring.start([node])
                ring.wait_same_users()
            ring.rest()
        found |= self._join(ring)
        found |= self._kill(ring)
        if kind is Kind.OURS:
            ring.start(ring.nodes[3:])
            ring.wait_same_users()
            ring.rest()
            found |= self._hang(ring)
        return found

    def close(self) -> None:
        for ring in self._rings.values():
            ring.__exit__(None, None, None)

    def _logins(self, ring: Ring, event: str) -> Logins:
        self._events_count += 1
        return Logins(ring, WATCHED, PREFIX, f"{event}{self._events_count}-")

    def _fill(self, ring: Ring) -> dict[str, float]:
        first = ring.nodes[0]
        ring.start([first])
        ring.load(0, "-n", 1000, "-u", "warm").finish()
        resident, cpu_s = first.resident_bytes(), first.cpu_s()
        ring.fill(self._users_count, PREFIX)
        return {
            "memory": (first.resident_bytes() - resident) / self._users_count,
            "entered alone": (first.cpu_s() - cpu_s) * 1e6 / self._users_count,
        }

    def _join(self, ring: Ring) -> dict[str, float]:
        joiner = ring.nodes[3]
        wanted = ring.users_counts()[0]
        joiner.start_surroundings()
        logins = self._logins(ring, "join")
        time.sleep(QUIET_S)
        started_at = time.monotonic()
        joiner.start_director()
        joiner.wait_answering()
        ring.up.append(joiner)
        ring.wait_whole()

        def is_complete() -> bool:
            with joiner.admin() as admin:
                return admin.users_count() >= wanted

        wait_until(is_complete, FILL_TIMEOUT_S, "the joiner knows every user")
        took_s = time.monotonic() - started_at
        cpu_s = joiner.cpu_s()
        with joiner.admin() as admin:
            received = sum(row.bytes_received for row in admin.directors())
        time.sleep(QUIET_S)
        return {
            "join, synced and complete": took_s,
            "join, received by the joiner": received / wanted,
            "join, joiner": cpu_s * 1e6 / wanted,
        } | stall_numbers("join", logins.end())

    def _kill(self, ring: Ring) -> dict[str, float]:
        logins = self._logins(ring, "kill")
        time.sleep(QUIET_S)
        started_at = time.monotonic()
        ring.kill(ring.nodes[3])
        whole_s = self._wait_without_last(ring, started_at)
        time.sleep(QUIET_S)
        return {"kill, whole again": whole_s} | stall_numbers("kill", logins.end())

    def _hang(self, ring: Ring) -> dict[str, float]:
        last = ring.nodes[3]
        logins = self._logins(ring, "hang")
        time.sleep(QUIET_S)
        started_at = time.monotonic()
        last.signal(signal.SIGSTOP)
        ring.up.remove(last)
        whole_s = self._wait_without_last(ring, started_at)
        time.sleep(QUIET_S)
        stall = logins.end()
        last.kill()
        return {"hang, whole again": whole_s} | stall_numbers("hang", stall)

    def _wait_without_last(self, ring: Ring, started_at: float) -> float:
        """Wait until the last node is nobody's neighbour and the others are a whole ring."""
        last = ring.nodes[3]
        ring.wait_without(last, WHOLE_TIMEOUT_S)
        return time.monotonic() - started_at
