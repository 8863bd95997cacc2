"""Virtual time, and how directors are set up from a plan."""

from __future__ import annotations

import attrs
import pytest

from ring.messages import CLASSIC_MINOR, NATIVE_MINOR
from sim.actions import parse_action
from sim.plan import Plan
from sim.verdict import Broken, Promise
from sim.windows import AFTERMATH_S
from sim.world import EPOCH, World
from tests.sim.rig import QUIET, is_one_ring, quiet_world


def test_events_of_one_instant_happen_in_the_order_they_were_planned() -> None:
    world = quiet_world()
    happened: list[int] = []
    at = world.now + 1.0
    for number in (3, 1, 2):
        world.at(at, happened.append, number)
    world.at(at - 0.5, happened.append, 0)
    world.run_until(at)

    assert [0, 3, 1, 2] == happened


def test_time_stands_at_the_end_that_was_asked_for() -> None:
    world = quiet_world()
    world.run_until(100.25)

    assert 100.25 == world.now
    assert EPOCH + 100.25 == world.true_wall


def test_somebody_who_goes_in_circles_is_a_storm() -> None:
    world = quiet_world()

    def again() -> None:
        world.at(world.now, again)

    again()
    with pytest.raises(Broken) as caught:
        world.run_until(world.now + 1.0)

    assert Promise.QUIET is caught.value.violation.promise


def test_a_native_ring_at_rest_asks_once_a_second_and_link() -> None:
    world = quiet_world(directors=4)
    world.run_until(world.now + 10.0)
    world.wire.messages.clear()
    world.run_until(world.now + 20.0)

    assert 4 * 19 <= world.wire.messages["Ping"] <= 4 * 20
    assert {"Ping", "Pong"} == set(world.wire.messages)


def test_snapshots_are_taken_where_a_crash_will_ask_for_one() -> None:
    crashes = [
        f"500 crash director={n} snapshot={s} seconds=1" for n, s in ((1, "none"), (2, "old"))
    ]
    world = quiet_world(actions=tuple(map(parse_action, crashes)))
    world.run_until(25.0)

    assert [0, 2, 0] == [len(machine.snapshots) for machine in world.machines]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_directors_that_start_one_by_one_over_slow_links_are_soon_a_ring(
    seed: int,
) -> None:
    """Whom each dials first is not there yet, and news take up to 0.1 s: it took 20 s."""
    world = World(attrs.evolve(QUIET, seed=seed, directors=10, latency_s=0.0, jitter_s=0.1))
    for number, machine in enumerate(world.machines):
        world.at(0.1 * number, machine.start)
    world.run_until(0.9 + 3.0)

    assert is_one_ring(world)


def test_every_second_director_of_a_mixed_ring_speaks_as_the_original() -> None:
    world = World(Plan(seed=1, directors=4, codec="mixed"))
    minors = [machine.settings.minor for machine in world.machines]

    assert [NATIVE_MINOR, CLASSIC_MINOR, NATIVE_MINOR, CLASSIC_MINOR] == minors


def test_a_director_that_is_missing_is_missing_in_one_list_only() -> None:
    world = World(Plan(seed=1, directors=5, missing=1))

    assert [4, 5, 5, 5, 5] == sorted(len(m.settings.directors) for m in world.machines)


def test_clocks_deviate_as_far_as_the_plan_allows() -> None:
    world = World(Plan(seed=1, directors=6, skew_s=2.0))
    skews = {machine.skew_s for machine in world.machines}

    assert 6 == len(skews)
    assert max(map(abs, skews)) <= 2.0


def test_trouble_is_remembered_as_long_as_its_aftermath_may_last() -> None:
    world = quiet_world()
    end = world.trouble_begins("clog")
    assert "clog" == world.trouble()
    end()
    world.run_until(world.now + AFTERMATH_S["native"])
    assert "clog" == world.trouble()
    world.run_until(world.now + 2.0)

    assert "" == world.trouble()
