"""Faults in turn on nodes that only remember what was done to them."""

from __future__ import annotations

from collections import Counter

import attrs
import trio.testing

from sim.cluster.faults import Faults
from sim.cluster.places import Place

KINDS = {"kill", "clean stop", "hang", "cut", "silence one way", "partition"}


@attrs.define(eq=False)
class Fragile:
    """A node that runs, or not."""

    place: Place
    running: set[Fragile]
    least_running: list[int]

    def _go(self) -> None:
        self.running.remove(self)
        self.least_running.append(len(self.running))

    kill = pause = _go

    async def stop(self) -> None:
        self._go()

    def resume(self) -> None:
        assert self not in self.running
        self.running.add(self)

    async def start(self) -> None:
        self.resume()


@attrs.define(eq=False)
class Paths:
    """Remembers what is wrong now."""

    wrong: Counter[tuple[str, ...]] = attrs.Factory(Counter)

    def cut(self, first: str, second: str) -> None:
        self.wrong["cut", *sorted((first, second))] += 1

    def mend(self, first: str, second: str) -> None:
        self.wrong["cut", *sorted((first, second))] -= 1

    def silence(self, source: str, target: str) -> None:
        self.wrong["silent", source, target] += 1

    def let_flow(self, source: str, target: str) -> None:
        self.wrong["silent", source, target] -= 1


async def let_fail(
    seed: int, seconds: float, nodes_count: int = 3
) -> tuple[Counter[str], list[int]]:
    """Return how often what happened, and the numbers of nodes that ran after each fall."""
    running: set[Fragile] = set()
    least_running: list[int] = []
    nodes = [
        Fragile(Place(ip=f"127.0.3.{n}", port=1, hidden_ip=""), running, least_running)
        for n in range(nodes_count)
    ]
    running.update(nodes)
    paths = Paths()
    counts: Counter[str] = Counter()
    await Faults(nodes, paths, counts).run(seed, seconds)

    assert set(nodes) == running
    assert paths.wrong
    assert {0} == set(paths.wrong.values())
    return counts, least_running


async def test_everything_happens_and_all_is_undone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    counts, _ = await let_fail(1, 200.0)

    assert KINDS == set(counts)


async def test_one_node_always_runs(autojump_clock: trio.testing.MockClock) -> None:
    _, least_running = await let_fail(2, 200.0)

    assert 1 == min(least_running)


async def test_the_seed_decides_what_happens(autojump_clock: trio.testing.MockClock) -> None:
    first, again, other = [(await let_fail(seed, 60.0))[0] for seed in (1, 1, 2)]

    assert first == again
    assert first != other


async def test_a_node_alone_is_never_taken_down(autojump_clock: trio.testing.MockClock) -> None:
    """Method: of two nodes one may be down; then the other is left alone."""
    _, least_running = await let_fail(3, 100.0, nodes_count=2)

    assert {1} == set(least_running)
