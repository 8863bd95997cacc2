"""What all benches have in common; what they measure needs minutes, and people who look at it."""

from __future__ import annotations

import click
import pytest

from sim.bench.__main__ import ALL, QUICK, make_bench


@pytest.mark.parametrize("is_quick", [True, False])
@pytest.mark.parametrize("name", ALL)
def test_every_number_of_a_bench_has_a_line_of_its_own(name: str, *, is_quick: bool) -> None:
    bench = make_bench(name, 3, is_quick=is_quick)
    names = [metric.name for metric in bench.metrics]

    assert names
    assert sorted(set(names)) == sorted(names)
    assert all(metric.unit for metric in bench.metrics)


def test_no_two_benches_have_the_same_name() -> None:
    assert len(ALL) == len({make_bench(name, 3, is_quick=False).name for name in ALL})
    assert set(QUICK) <= set(ALL)


def test_a_bench_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(click.UsageError, match="got the bench 'luck', expected one of login, ring"):
        make_bench("luck", 3, is_quick=True)
