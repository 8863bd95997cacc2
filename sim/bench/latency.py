"""(g) How long one lookup takes on an idle machine: one connection, 500 requests a second."""

from __future__ import annotations

from sim.bench.nodes import Auth
from sim.bench.results import Bound, Kind, Metric, Target
from sim.bench.rings import Ring, Site

RATE = 500
COUNT = 1500


class Latency:
    name = "idle latency"
    metrics = tuple(
        Metric(
            name=f"{nodes} node{'s' if nodes > 1 else ''}, new users, {quantile}",
            unit="ms",
            target=Target(Bound.RATIO_AT_MOST, 1.5) if quantile == "p50" else None,
        )
        for nodes in (1, 3)
        for quantile in ("p50", "p99")
    )

    def __init__(self) -> None:
        self._rings: dict[tuple[Kind, int], Ring] = {}
        self._turn = 0

    def measure(self, site: Site, kind: Kind) -> dict[str, float]:
        self._turn += 1
        count = COUNT // (2 if site.is_quick else 1)
        options = ("-r", RATE, "-n", count, "-u", f"l{self._turn}-")
        found: dict[str, float] = {}
        for nodes_count in (1, 3):
            ring = self._ring(site, kind, nodes_count)
            outcome = ring.load(0, *options).finish()
            name = f"{nodes_count} node{'s' if nodes_count > 1 else ''}, new users"
            found[f"{name}, p50"] = outcome.p50_us / 1e3
            found[f"{name}, p99"] = outcome.p99_us / 1e3
        return found

    def _ring(self, site: Site, kind: Kind, nodes_count: int) -> Ring:
        ring = self._rings.get((kind, nodes_count))
        if ring is None:
            ring = self._rings[kind, nodes_count] = Ring(
                site, kind, nodes_count, has_dovecot_auth=True
            )
            ring.start()
            for node in ring.nodes:
                node.use_auth(Auth.DOVECOT)
            ring.load(0, "-n", 200, "-u", "warm").finish()
            ring.rest()
        return ring

    def close(self) -> None:
        for ring in self._rings.values():
            ring.__exit__(None, None, None)
