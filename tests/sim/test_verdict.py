"""What is forbidden ends the run; what a window excuses is counted by name."""

from __future__ import annotations

import pytest

from sim.verdict import Broken, Promise
from tests.sim.rig import events, quiet_world

DEFECT = "export not forwarded"


def test_a_broken_promise_ends_the_run_and_says_which_when_and_why() -> None:
    world = quiet_world()
    with pytest.raises(Broken) as caught:
        world.promises.break_(Promise.QUIET, "said twice")

    violation = caught.value.violation
    assert (world.now, Promise.QUIET, "said twice") == (
        violation.at,
        violation.promise,
        violation.detail,
    )
    assert f"quiet broken at {world.now:.3f} s: said twice" == str(violation)


def test_what_is_excused_is_counted_by_promise_and_window() -> None:
    world = quiet_world()
    for _ in range(2):
        world.promises.excuse(Promise.MOVES, "crash", "too late")

    assert {"moves: crash": 2} == world.promises.windows
    assert 2 == len(events(world, "excused"))


@pytest.mark.parametrize("codec", ["native", "classic"])
def test_only_the_original_is_excused_by_its_defects(codec: str) -> None:
    world = quiet_world(codec=codec)
    world.promises.faults.disturbed_at = world.now
    is_excused = world.promises.classic_window(Promise.SETTLED, DEFECT, "still live")

    assert is_excused == (codec == "classic")
    assert is_excused == (f"settled: classic {DEFECT}" in world.promises.windows)
