"""(e) A director that hangs (SIGSTOP) between two others: alone, and while a host is set down.

A real ring needs a minute to get over it, so the real rings of all rounds hang at the same time:
what is measured are its timers, and the machine has nothing to do meanwhile. Ours hang one by one.
"""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor

from sim.bench.results import Kind, Metric
from sim.bench.rings import Ring, Site
from sim.bench.stalls import STALL_MS_MAX, Logins, stall_metrics, stall_numbers

PREFIX = "h"
USERS_COUNT = 10_000
WHOLE_TIMEOUT_S = 90.0
HOST_DOWN_S = 1.0
"""From the stop of the director until a host is set down."""

ALONE = "nothing else"
HOST_DOWN = "host down meanwhile"


class Hung:
    name = "one of 3 hangs"
    metrics = (
        Metric(name=f"{ALONE}, whole again", unit="s"),
        *stall_metrics(ALONE, STALL_MS_MAX),
        Metric(name=f"{HOST_DOWN}, whole again", unit="s"),
        *stall_metrics(HOST_DOWN, 4000.0),
    )

    def __init__(self, rounds_count: int) -> None:
        self._rounds_count = rounds_count
        self._real: list[dict[str, float]] = []

    def measure(self, site: Site, kind: Kind) -> dict[str, float]:
        if kind is Kind.OURS:
            return _hang(site, kind, ALONE) | _hang(site, kind, HOST_DOWN)
        if not self._real:
            with ThreadPoolExecutor(2 * self._rounds_count) as pool:
                both = [
                    [pool.submit(_hang, site, kind, event) for event in (ALONE, HOST_DOWN)]
                    for _ in range(self._rounds_count)
                ]
                self._real = [alone.result() | down.result() for alone, down in both]
        return self._real.pop()

    def close(self) -> None:
        pass


def _hang(site: Site, kind: Kind, event: str) -> dict[str, float]:
    with Ring(site, kind, 3) as ring:
        ring.start()
        ring.fill(USERS_COUNT, PREFIX)
        ring.rest()
        logins = Logins(ring, (0, 2), PREFIX, "hang")
        time.sleep(1.0)
        hung = ring.nodes[1]
        started_at = time.monotonic()
        hung.signal(signal.SIGSTOP)
        ring.up.remove(hung)
        if event == HOST_DOWN:
            time.sleep(HOST_DOWN_S)
            with ring.up[0].admin(timeout_s=WHOLE_TIMEOUT_S) as admin:
                admin.ask("HOST-DOWN", ring.backends[3])
        ring.wait_without(hung, WHOLE_TIMEOUT_S)
        whole_s = time.monotonic() - started_at
        time.sleep(1.0)
        return {f"{event}, whole again": whole_s} | stall_numbers(event, logins.end())
