"""A failing plan becomes a small one that fails in the same way, and is a scenario to play."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from sim.actions import verb_of
from sim.cli import sim
from sim.plan import Plan, format_plan, read_plan
from sim.run import run
from sim.shrink import Shrinker
from sim.verdict import Promise
from tests.sim.planted import BUGS

PLAN = """\
set seed=1 directors=3 users=6 hosts=3 faults_s=40.0 chunk=100
5.000 kick-user director=1 user=3
6.000 move-user director=2 user=2 host=2
7.000 weight director=2 host=1 weight=50
8.000 burst director=1 logins=5
"""


@pytest.mark.slow
def test_a_real_failure_shrinks_to_a_scenario_that_fails_in_the_same_way(tmp_path: Path) -> None:
    """With USER-KILLED dropped: a move is all it takes, and two directors."""
    file = tmp_path / "failure.txt"
    file.write_text(f"# drawn\n{PLAN}")
    bug = next(bug for bug in BUGS if bug.name == "drops a USER-KILLED")
    with bug.planted():
        done = CliRunner().invoke(sim, ["shrink", str(file)], catch_exceptions=False)
        smaller, comment, expected = read_plan(file)
        broken = run(smaller).violation
        replayed = CliRunner().invoke(sim, ["replay", str(file)], catch_exceptions=False)

    assert 0 == done.exit_code, done.output
    assert ("drawn", "kept\n") == (comment, expected)
    assert ["move-user"] == [verb_of(action) for action in smaller.actions]
    assert (2, 0) == (smaller.directors, smaller.chunk)
    assert broken is not None
    assert Promise.MOVES is broken.promise
    assert 1 == replayed.exit_code
    mended = CliRunner().invoke(sim, ["replay", str(file)], catch_exceptions=False)
    assert (0, "as expected\n") == (mended.exit_code, mended.output)


def test_a_plan_that_keeps_all_promises_is_not_shrunk(tmp_path: Path) -> None:
    file = tmp_path / "calm.txt"
    file.write_text(format_plan(Plan(seed=1, directors=1, users=1, faults_s=5.0)))
    done = CliRunner().invoke(sim, ["shrink", str(file)])

    assert 2 == done.exit_code
    assert "nothing to shrink" in done.output


def test_shrinking_stops_when_nothing_smaller_fails() -> None:
    plan = Plan(seed=1, directors=2, users=2, faults_s=6.0)
    steps: list[str] = []
    shrinker = Shrinker(Promise.WEIGHTS, steps.append)

    assert plan == shrinker.shrink(plan)
    assert [] == steps
    assert 0 < shrinker.runs_count < 10
