"""Runs benches: round by round, in each round first one kind of director, then the other.

Who comes first changes with every round, so that a machine that gets busier favours nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from sim.bench.results import Kind, Metric, Result
from sim.bench.rings import Site

ROUNDS_COUNT = 3


class Bench(Protocol):
    """One question; `measure` answers it for one kind, once."""

    @property
    def name(self) -> str: ...

    @property
    def metrics(self) -> Sequence[Metric]: ...

    def measure(self, site: Site, kind: Kind) -> dict[str, float]:
        """Return one number for each metric's name; one that was not measured is left out."""

    def close(self) -> None:
        """End what was kept running between rounds."""


def run(
    bench: Bench,
    site: Site,
    kinds: Sequence[Kind],
    rounds_count: int,
    report: Callable[[str], None],
) -> list[Result]:
    """Return one result per metric of the bench."""
    rounds: list[dict[Kind, dict[str, float]]] = []
    try:
        for number in range(rounds_count):
            order = kinds if number % 2 == 0 else list(reversed(kinds))
            found = {}
            for kind in order:
                found[kind] = bench.measure(site, kind)
                report(f"{bench.name}, round {number + 1}, {kind.value}")
            rounds.append(found)
    finally:
        bench.close()
    return [
        Result(
            bench=bench.name,
            metric=metric,
            rounds=[
                (
                    found.get(Kind.OURS, {}).get(metric.name),
                    found.get(Kind.REAL, {}).get(metric.name),
                )
                for found in rounds
            ],
        )
        for metric in bench.metrics
    ]
