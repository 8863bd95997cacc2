"""(c) What a user costs that is told around a ring of three: CPU, bytes, memory.

New users enter through the first node, with the stand-in auth. Bytes are those of all four
directions divided by four: how much of a user crosses one hop. Memory is the growth of the third
node, which does nothing else.
"""

from __future__ import annotations

from sim.bench.results import Bound, Kind, Metric, Target
from sim.bench.rings import Ring, Site

HOPS_COUNT = 4
USERS_COUNT = 100_000


class Gossip:
    name = "gossip, 100 k users, 3 nodes"
    metrics = (
        Metric(name="entering node", unit="us CPU/user", target=Target(Bound.RATIO_AT_MOST, 0.8)),
        Metric(name="other node", unit="us CPU/user", target=Target(Bound.RATIO_AT_MOST, 0.2)),
        Metric(name="each hop", unit="bytes/user", target=Target(Bound.RATIO_AT_MOST, 0.33)),
        Metric(name="memory", unit="bytes/user", target=Target(Bound.RATIO_AT_MOST, 0.42)),
        Metric(name="rate", unit="users/s"),
        Metric(name="last login until known everywhere", unit="ms"),
    )

    def measure(self, site: Site, kind: Kind) -> dict[str, float]:
        count = USERS_COUNT
        with Ring(site, kind, 3) as ring:
            ring.start()
            ring.load(0, "-n", 1000, "-u", "warm").finish()
            ring.rest()
            cpu_before, bytes_before = ring.cpu_s(), ring.bytes_sent()
            resident_before = ring.nodes[2].resident_bytes()
            load = ring.load(0, "-c", 4, "-w", 64, "-n", count, "-u", "g")
            outcome = load.finish()
            lag_s = ring.wait_same_users()
            ring.rest()
            spent = [
                (after - before) * 1e6 / count
                for before, after in zip(cpu_before, ring.cpu_s(), strict=True)
            ]
            resident = ring.nodes[2].resident_bytes() - resident_before
            return {
                "entering node": spent[0],
                "other node": (spent[1] + spent[2]) / 2,
                "each hop": (ring.bytes_sent() - bytes_before) / HOPS_COUNT / count,
                "memory": resident / count,
                "rate": count / outcome.seconds,
                "last login until known everywhere": lag_s * 1e3,
            }

    def close(self) -> None:
        pass
