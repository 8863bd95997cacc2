"""Seed after seed, until a promise breaks or it is enough."""

from __future__ import annotations

import itertools

import pytest

from sim.report import Summary
from sim.run import Outcome
from sim.soak import Drawn, outcomes, run_seed, soak
from sim.swarm import draw_plan

SHORT = Drawn(
    directors=2, users=3, hours=0.003, faults=(), codec="native", settings=("expire_s=5",)
)
NEVER_WHOLE = Drawn(directors=2, users=3, hours=0.003, faults=(), settings=("latency_s=20",))


def soaked(drawn: Drawn, **changes: float) -> tuple[Summary, Outcome | None, list[int]]:
    seeds: list[int] = []
    limits = {"minutes": 10.0, "virtual_hours": 0.0, **changes}
    summary, broken = soak(
        7,
        minutes=limits["minutes"],
        virtual_hours=limits["virtual_hours"],
        jobs=1,
        drawn=drawn,
        progress=lambda _summary, seed: seeds.append(seed),
    )
    return summary, broken, seeds


def test_what_is_given_is_not_drawn() -> None:
    plan = SHORT.plan(7)

    assert (2, 3, "native", 5, ()) == (
        plan.directors,
        plan.users,
        plan.codec,
        plan.expire_s,
        plan.actions,
    )


def test_both_paces_take_turns() -> None:
    both = Drawn(pace="both")

    assert ["daily", "rush", "daily"] == [both.pace_of(seed) for seed in (1, 2, 3)]
    assert draw_plan(2) == both.plan(2)
    assert draw_plan(3, pace="daily") == both.plan(3)


def test_a_daily_run_lasts_hours_and_has_few_faults_an_hour() -> None:
    plan = draw_plan(5, pace="daily", faults=("crash", "reset"))

    assert 3600 <= plan.faults_s <= 4 * 3600
    assert 900 == plan.expire_s
    assert 2 <= len(plan.actions) <= 2 * 5 * 4


def test_an_outcome_without_a_violation_brings_no_lines() -> None:
    assert () == run_seed(7, SHORT).lines


def test_seeds_follow_one_another() -> None:
    played = itertools.islice(outcomes(7, SHORT, 1), 2)

    assert [7, 8] == [outcome.plan.seed for outcome in played]


def test_a_soak_ends_when_it_is_enough() -> None:
    one_run_h = run_seed(7, SHORT).virtual_s / 3600
    summary, broken, seeds = soaked(SHORT, virtual_hours=1.5 * one_run_h)

    assert broken is None
    assert [7, 8] == seeds
    assert 2 == summary.runs


def test_a_soak_plays_at_least_one_seed() -> None:
    assert 1 == soaked(SHORT, minutes=0.0)[0].runs


def test_a_soak_stops_at_the_first_broken_promise() -> None:
    summary, broken, seeds = soaked(NEVER_WHOLE)

    assert [7] == seeds
    assert broken is not None
    assert broken.violation is not None
    assert broken.lines
    assert 1 == summary.runs


@pytest.mark.slow
def test_several_processes_play_the_same_seeds_in_order() -> None:
    stream = outcomes(7, SHORT, 2)
    played = list(itertools.islice(stream, 3))
    stream.close()

    assert [7, 8, 9] == [outcome.plan.seed for outcome in played]
    assert run_seed(8, SHORT).digest == played[1].digest
