"""Plans are drawn so that they make sense, and so that everything is drawn at some time."""

from __future__ import annotations

import attrs
import pytest

from sim.actions import ACTIONS, verb_of
from sim.plan import Plan, format_plan, parse_plan
from sim.swarm import DRAWERS, START_S, draw_plan

PLANS = [draw_plan(seed) for seed in range(300)]


def test_a_seed_is_one_plan_and_another_seed_another() -> None:
    assert draw_plan(7) == draw_plan(7)
    assert len({format_plan(attrs.evolve(plan, seed=0)) for plan in PLANS}) > 290


def test_a_drawn_plan_can_be_kept_as_a_scenario() -> None:
    for plan in PLANS[:50]:
        assert plan == parse_plan(format_plan(plan))[0]


def test_every_kind_of_action_is_drawn_and_some_runs_are_calm() -> None:
    drawn = {verb_of(action) for plan in PLANS for action in plan.actions}

    assert drawn == set(DRAWERS) == set(ACTIONS) - {"login"}
    assert any(not plan.actions for plan in PLANS)


def test_actions_come_in_order_while_faults_may_happen() -> None:
    for plan in PLANS:
        times = [action.at for action in plan.actions]

        assert sorted(times) == times
        assert all(START_S <= at <= plan.faults_s for at in times)


def numbers(plan: Plan, *names: str) -> set[int]:
    """Return what the plan's actions say in fields of these names."""
    return {
        getattr(action, name) for action in plan.actions for name in names if hasattr(action, name)
    }


def test_actions_name_what_exists() -> None:
    for plan in PLANS:
        directors = set(range(1, plan.directors + 1))

        assert numbers(plan, "director", "other", "one", "source", "removed") <= directors
        assert numbers(plan, "user") <= set(range(1, plan.users + 1))
        assert numbers(plan, "host", "other_host") <= set(range(plan.hosts + 2))  # 0: all, +1: new


def test_no_director_is_cut_off_from_itself() -> None:
    pairs = [
        (action.one, action.other) for plan in PLANS for action in plan.actions
        if hasattr(action, "one")
    ]  # fmt: skip

    assert pairs
    assert all(one != other for one, other in pairs)


def test_some_host_of_each_tag_is_never_taken_away() -> None:
    for plan in PLANS:
        taken = {
            action.host
            for action in plan.actions
            if verb_of(action) in ("down", "remove-host", "forget-users")
        }
        left = set(range(1, plan.hosts + 1)) - taken
        for tag in range(plan.tags):
            assert any(host % plan.tags == tag for host in left)


@pytest.mark.parametrize("directors", [1, 2, 6])
def test_what_is_given_is_not_drawn(directors: int) -> None:
    for seed in range(20):
        plan = draw_plan(
            seed, directors=directors, users=5, hours=0.1, faults=["crash", "cut"], codec="mixed"
        )

        assert (directors, 5, 360.0, "mixed") == (
            plan.directors,
            plan.users,
            plan.faults_s,
            plan.codec,
        )
        assert {verb_of(a) for a in plan.actions} == (
            {"crash", "cut"} if directors > 1 else {"crash"}
        )
