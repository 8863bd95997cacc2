"""The lines of the benches in which something happens to a ring."""

import pytest

from sim.bench.administration import Administration, CleanStop, Refusal
from sim.bench.formation import Formation
from sim.bench.gossip import Gossip
from sim.bench.hung import Hung
from sim.bench.latency import Latency
from sim.bench.runner import Bench

BENCHES = [
    Administration(),
    CleanStop(100_000),
    Formation(3),
    Gossip(),
    Hung(3),
    Latency(),
    Refusal(),
]


@pytest.mark.parametrize("bench", BENCHES)
def test_every_number_has_a_line_of_its_own(bench: Bench) -> None:
    names = [metric.name for metric in bench.metrics]

    assert sorted(set(names)) == sorted(names)


def test_targets_are_those_of_the_design() -> None:
    targets = {
        f"{bench.name}: {metric.name}": str(metric.target)
        for bench in BENCHES
        for metric in bench.metrics
        if metric.target is not None
    }

    assert targets["administration, 3 nodes: default flush"] == ">= 10x"
    assert targets["gossip, 100 k users, 3 nodes: each hop"] == "<= 0.33x"
    assert targets["one of 3 hangs: host down meanwhile, worst new login"] == "<= 4000"
    assert targets["idle latency: 1 node, new users, p50"] == "<= 1.5x"
