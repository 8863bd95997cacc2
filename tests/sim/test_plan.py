"""Scenario files: a plan as text, and what is said about lines that mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.actions import Pause
from sim.plan import Plan, changed, format_plan, parse_plan, read_plan

PAUSE = Pause(at=12.5, director=2, seconds=8.0)


def test_only_what_differs_from_the_defaults_is_written() -> None:
    assert "set seed=3 users=7\n" == format_plan(Plan(seed=3, users=7, directors=3))


def test_a_plan_is_read_back_with_its_comment_and_its_outcome(tmp_path: Path) -> None:
    plan = Plan(seed=3, codec="classic", skew_s=0.5, has_flush_program=True, actions=(PAUSE,))
    path = tmp_path / "pause.scenario"
    path.write_text(format_plan(plan, comment="One.\n\nTwo.", expected="kept\nwell"))

    assert (plan, "One.\n\nTwo.", "kept\nwell\n") == read_plan(path)


def test_actions_are_sorted_by_time() -> None:
    text = "set seed=1\n12.5 pause director=2 seconds=8\n3 reset one=1 other=2\n"
    plan, _, _ = parse_plan(text)

    assert [3.0, 12.5] == [action.at for action in plan.actions]


def test_a_setting_can_be_changed() -> None:
    assert Plan(seed=1, directors=5) == changed(Plan(seed=1), {"directors": 5})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("12.5 pause director=2 seconds=8\n", "no line `set seed="),
        ("set seed=1 colour=red\n", "'colour=red': no such setting, expected one of seed"),
        ("set seed=1 actions=3\n", "no such setting"),
        ("set seed=1 codec=morse\n", "codec=morse, expected one of native, classic, mixed"),
        ("set seed=many\n", "many"),
    ],
)
def test_what_means_nothing_is_quoted(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_plan(text)
