"""(f) Every director starts in the same moment, with 0 to 100 ms of delay on every link.

Ours are held by `dial.c` in front of their first call to a neighbour until all have come so far: on
two processors ten Pythons need seconds to start, and that is not what is asked. A real director
starts in a moment, with its first client.

A real ring often needs a minute, so all real rings of all rounds form at the same time; they have
nothing to do but wait. One that is not whole by then counts as TIMEOUT_S.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sim.bench.nodes import RING_PORT, TEST_PORT
from sim.bench.processes import wait_until
from sim.bench.relay import Relay
from sim.bench.results import Bound, Kind, Metric, Target
from sim.bench.rings import Ring, Site

SIZES = (3, 5, 10)
DELAY_S_MAX = 0.1
TIMEOUT_S = 60.0
GATE_TIMEOUT_S = 60.0


class Formation:
    name = "all start at once, links delayed by 0 to 100 ms"
    metrics = tuple(
        Metric(name=f"{size} nodes, whole", unit="s", target=Target(Bound.VALUE_AT_MOST, 2.0))
        for size in SIZES
    )

    def __init__(self, rounds_count: int) -> None:
        self._rounds_count = rounds_count
        self._real: list[dict[str, float]] = []
        self._seed = 0

    def measure(self, site: Site, kind: Kind) -> dict[str, float]:
        if kind is Kind.OURS:
            self._seed += 1
            return {
                f"{size} nodes, whole": _Attempt(site, kind, size, self._seed).run()
                for size in SIZES
            }
        if not self._real:
            self._real = self._all_real(site)
        return self._real.pop()

    def close(self) -> None:
        pass

    def _all_real(self, site: Site) -> list[dict[str, float]]:
        attempts = [
            {size: _Attempt(site, Kind.REAL, size, seed) for size in SIZES}
            for seed in range(1, self._rounds_count + 1)
        ]
        for of_round in attempts:
            for attempt in of_round.values():
                attempt.prepare()
        with ThreadPoolExecutor(len(attempts) * len(SIZES)) as pool:
            running = [
                {size: pool.submit(attempt.finish) for size, attempt in of_round.items()}
                for of_round in attempts
            ]
            return [
                {f"{size} nodes, whole": future.result() for size, future in of_round.items()}
                for of_round in running
            ]


class _Attempt:
    """One ring that forms once."""

    def __init__(self, site: Site, kind: Kind, size: int, seed: int) -> None:
        self._ring = Ring(site, kind, size, is_relayed=True)
        self._seed = seed

    def run(self) -> float:
        self.prepare()
        return self.finish()

    def prepare(self) -> None:
        """Start everything but the directors' conversation."""
        ring = self._ring
        self._relay = Relay(
            [node.ip for node in ring.nodes],
            port=TEST_PORT,
            target_port=RING_PORT,
            delay_s_max=DELAY_S_MAX,
            seed=self._seed,
        )
        for node in ring.nodes:
            node.start()
        if ring.kind is Kind.OURS:
            wait_until(
                lambda: all(node.is_at_gate for node in ring.nodes),
                GATE_TIMEOUT_S,
                "every director wants to dial",
            )

    def finish(self) -> float:
        """Let them talk; return the seconds until the ring is whole."""
        ring = self._ring
        with ring:
            for node in ring.nodes:
                node.open_gate()
            started_at = time.monotonic()
            _at_once([node.wait_answering for node in ring.nodes])
            ring.up = list(ring.nodes)
            try:
                ring.wait_whole(TIMEOUT_S)
                return time.monotonic() - started_at
            except TimeoutError:
                return TIMEOUT_S
            finally:
                self._relay.close()


def _at_once(actions: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=action) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
