"""The order of rounds and kinds, with a bench that only counts."""

from pathlib import Path

from sim.bench.results import Kind, Metric
from sim.bench.rings import Addresses, Site
from sim.bench.runner import run
from sim.bench.tools import Tools

SITE = Site(
    tools=Tools(Path("unused")), directory=Path("unused"), addresses=Addresses(), is_quick=True
)


class Counting:
    name = "counting"
    metrics = (Metric(name="turn", unit="1"), Metric(name="only ours", unit="1"))

    def __init__(self) -> None:
        self.turns: list[Kind] = []
        self.is_closed = False

    def measure(self, site: Site, kind: Kind) -> dict[str, float]:
        self.turns.append(kind)
        found = {"turn": float(len(self.turns))}
        return found | ({"only ours": 7.0} if kind is Kind.OURS else {})

    def close(self) -> None:
        self.is_closed = True


def test_every_round_measures_both_and_the_order_alternates() -> None:
    bench, done = Counting(), list[str]()

    turn, only_ours = run(bench, SITE, [Kind.OURS, Kind.REAL], 3, done.append)

    assert turn.rounds == [(1.0, 2.0), (4.0, 3.0), (5.0, 6.0)]
    assert only_ours.rounds == [(7.0, None)] * 3
    assert bench.is_closed
    assert done[0] == "counting, round 1, ours"
    assert len(done) == 6


def test_without_the_real_director_there_is_only_ours() -> None:
    turn, _ = run(Counting(), SITE, [Kind.OURS], 2, lambda _: None)

    assert turn.rounds == [(1.0, None), (2.0, None)]
