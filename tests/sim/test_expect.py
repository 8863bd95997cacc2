"""What a scenario expects is compared with what was found, and replaced by it when asked."""

from __future__ import annotations

import functools

import attrs
import pytest

from sim.expect import rewritten, unmet
from sim.plan import Plan
from sim.run import Outcome, run
from sim.verdict import Promise, Violation

BROKEN = Violation(at=3.0, promise=Promise.MOVES, detail="of no importance")


@functools.cache
def calm() -> Outcome:
    outcome = run(Plan(seed=1, directors=2, users=2, faults_s=5.0))
    return attrs.evolve(
        outcome,
        waits=(0.0, 20.4),
        longest_apart_s=21.0,
        rest_s=33.0,
        worst_conflict_s=6.4,
        notes={"move_timed_out": 2},
        windows={"moves: pause": 3, "one-host: crash": 1},
    )


@pytest.mark.parametrize(
    "line",
    [
        "kept",
        "longest_wait_s > 20",
        "longest_wait_s <= 20.4",
        "longest_conflict_s ~ 6.0",
        "longest_wait_s ~ 22",
        "failed_logins == 0",
        "note move_timed_out == 2",
        "note never_heard_of == 0",
        "window moves: pause >= 3",
        "windows < 5",
        "longest_apart_s ~ 20",
        "rest_s < 40",
        "weight 2 == 100",
        "weight 9 == 0",
    ],
)
def test_a_line_that_is_true_is_met_and_kept(line: str) -> None:
    assert [] == unmet(line, calm())
    assert f"{line}\n" == rewritten(line, calm())


@pytest.mark.parametrize(
    ("line", "found", "instead"),
    [
        ("broken moves", "all promises were kept", "kept"),
        ("longest_wait_s < 20", "got 20.4", "longest_wait_s ~ 20.4"),
        ("longest_wait_s ~ 23", "got 20.4", "longest_wait_s ~ 20.4"),
        ("longest_conflict_s ~ 5.6", "got 6.4", "longest_conflict_s ~ 6.4"),
        ("note move_timed_out == 0", "got 2", "note move_timed_out ~ 2.0"),
        ("window one-host: crash > 1", "got 1", "window one-host: crash ~ 1.0"),
    ],
)
def test_a_line_that_is_wrong_is_named_and_replaced_by_one_that_is_true(
    line: str, found: str, instead: str
) -> None:
    assert [f"expected {line}, "] == [p[: len(line) + 11] for p in unmet(line, calm())]
    assert found in unmet(line, calm())[0]
    assert f"{instead}\n" == rewritten(line, calm())
    assert [] == unmet(instead, calm())


def test_a_broken_promise_is_expected_by_its_name() -> None:
    broken = attrs.evolve(calm(), violation=BROKEN)

    assert [] == unmet("broken moves", broken)
    assert [f"expected kept, but {BROKEN}"] == unmet("kept", broken)
    assert [f"expected broken quiet, but {BROKEN}"] == unmet("broken quiet", broken)
    assert "broken moves\nlogins >= 0\n" == rewritten("kept\nlogins >= 0\n", broken)


@pytest.mark.parametrize("line", ["nonsense", "longest_wait_s is 3", "unheard_of < 3"])
def test_what_is_no_expectation_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=line.split()[0]):
        unmet(line, calm())
