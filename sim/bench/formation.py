"""(f) Directors start one after the other, with 0 to 100 ms of delay on every link.

That is how the baseline of the real director was taken: each node begins START_INTERVAL_S after the
one before, so its right neighbour, which it dials at once, is not there yet. (If all begin in the
very same moment, every first call is the right one, and either ring is whole after one handshake:
the real one in 0.5, 0.8 and 1.2 s.)

Ours are held by `dial.c` in front of opening their port until all have come so far: on two
processors ten Pythons need seconds to start, and that is not what is asked.

A real ring often needs 30 or 60 s, so all real rings of all rounds form at the same time; they have
nothing to do but wait. One that is not whole by then counts as TIMEOUT_S.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

from sim.bench.nodes import RING_PORT, TEST_PORT
from sim.bench.processes import wait_until
from sim.bench.relay import Relay
from sim.bench.results import Bound, Kind, Metric, Target
from sim.bench.rings import Ring, Site

SIZES = (3, 5, 10)
DELAY_S_MAX = 0.1
TIMEOUT_S = 40.0
START_INTERVAL_S = 0.15
GATE_TIMEOUT_S = 60.0


class Formation:
    name = "all start 0.15 s apart, links delayed by 0 to 100 ms"
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
        with ThreadPoolExecutor(len(attempts) * len(SIZES)) as pool:
            running: list[dict[int, Future[float]]] = []
            for of_round in attempts:
                running.append({})
                for size, attempt in of_round.items():
                    attempt.begin()
                    running[-1][size] = pool.submit(attempt.finish)
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
        self.begin()
        return self.finish()

    def begin(self) -> None:
        """Start one after the other, and return when all answer administrators."""
        ring = self._ring
        self._relay = Relay(
            [node.ip for node in ring.nodes],
            port=TEST_PORT,
            target_port=RING_PORT,
            delay_s_max=DELAY_S_MAX,
            seed=self._seed,
        )
        if ring.kind is Kind.OURS:
            for node in ring.nodes:
                node.start()
            wait_until(
                lambda: all(node.is_at_gate for node in ring.nodes),
                GATE_TIMEOUT_S,
                "every director wants to open its port",
            )
        threads = [threading.Thread(target=node.wait_answering) for node in ring.nodes]
        began_at = time.monotonic()
        for number, (node, thread) in enumerate(zip(ring.nodes, threads, strict=True)):
            time.sleep(max(0.0, began_at + number * START_INTERVAL_S - time.monotonic()))
            if ring.kind is Kind.OURS:
                node.open_gate()
            else:
                node.start()
            thread.start()
        for thread in threads:
            thread.join()
        ring.up = list(ring.nodes)
        self._started_at = time.monotonic()

    def finish(self) -> float:
        """Return the seconds from the last start until the ring is whole."""
        with self._ring as ring:
            try:
                ring.wait_whole(TIMEOUT_S)
                return time.monotonic() - self._started_at
            except TimeoutError:
                return TIMEOUT_S
            finally:
                self._relay.close()
