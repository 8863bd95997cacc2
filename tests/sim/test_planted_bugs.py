"""The simulator can fail: each known bug, planted into the real node, breaks the promise it must.

From seed 0 on, as `python -m sim soak` plays them, until something breaks; that must be the right
promise, and the same seed must pass without the bug. A bug that needs more and more seeds is a
warning: the world has become milder. If another promise complains first, either the bug is a
different one than its name says, or a promise looks at consequences where it should see the cause.
"""

from __future__ import annotations

import pytest

from sim.run import Outcome, run
from sim.soak import Drawn, run_seed
from sim.verdict import Promise
from tests.sim.planted import BUGS, PlantedBug

SEEDS_MAX = 300


def first_broken(bug: PlantedBug) -> Outcome:
    """Return the first run that the bug spoils."""
    with bug.planted():
        outcomes = (run_seed(seed, Drawn()) for seed in range(bug.first_seed, SEEDS_MAX))
        return next(outcome for outcome in outcomes if outcome.violation is not None)


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "-"))
def test_a_planted_bug_is_caught_and_named(bug: PlantedBug) -> None:
    outcome = first_broken(bug)

    assert outcome.violation is not None
    assert bug.promise == outcome.violation.promise, str(outcome.violation)
    assert run(outcome.plan).violation is None, "the seed breaks without the bug too"


def test_a_planted_bug_is_gone_afterwards() -> None:
    for bug in BUGS:
        right = getattr(bug.owner, bug.attribute)
        with pytest.raises(KeyError), bug.planted():
            assert getattr(bug.owner, bug.attribute) is bug.version
            raise KeyError

        assert getattr(bug.owner, bug.attribute) is right


def test_every_promise_has_a_bug_that_breaks_it() -> None:
    assert set(Promise) == {bug.promise for bug in BUGS}
