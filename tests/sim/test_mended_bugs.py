"""Each bug that the simulator found has a scenario, which is red when the bug is put back.

That it is green without the bug is `test_scenarios.py`. A scenario that is no half of a pair
and shows no bug would prove nothing.
"""

from __future__ import annotations

import pytest

from sim.expect import unmet
from sim.plan import read_plan
from sim.run import run
from tests.sim.mended import MENDED, MendedBug
from tests.sim.test_scenarios import SCENARIOS, files


@pytest.mark.slow
@pytest.mark.parametrize("mended", MENDED, ids=lambda mended: mended.scenario)
def test_a_scenario_is_red_when_its_bug_is_put_back(mended: MendedBug) -> None:
    plan, _, expected = read_plan(SCENARIOS / f"{mended.scenario}.native.txt")
    with mended.bug.planted():
        outcome = run(plan)

    assert outcome.violation is not None
    assert mended.bug.promise == outcome.violation.promise, str(outcome.violation)
    assert unmet(expected, outcome)


def test_every_scenario_without_its_pair_shows_a_bug() -> None:
    paired = {file.name.removesuffix(".classic.txt") for file in files("*.classic.txt")}
    native = {file.name.removesuffix(".native.txt") for file in files("*.native.txt")}

    assert native - paired == {mended.scenario for mended in MENDED} - paired
