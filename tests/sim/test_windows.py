"""Windows: how long they last, and whom they concern."""

from __future__ import annotations

import pytest

from sim.windows import AFTERMATH_S, CLASSIC_DEFECTS, RING, USERS
from tests.sim.rig import quiet_world


def test_a_window_is_open_until_closed_and_its_aftermath_is_over() -> None:
    world = quiet_world(directors=2)
    faults = world.promises.faults
    assert "" == faults.name()
    close = faults.open("crash")
    assert float("inf") == faults.quiet_since
    close()
    closed_at = world.now
    world.run_until(closed_at + AFTERMATH_S["native"])
    close()
    assert closed_at == faults.quiet_since
    assert "crash" == faults.name()
    world.run_until(closed_at + AFTERMATH_S["native"] + 1)

    assert "" == faults.name()


def test_of_two_windows_one_may_close_alone() -> None:
    world = quiet_world()
    close = world.promises.faults.open("crash")
    world.promises.faults.open("partition")
    close()

    assert "partition" == world.promises.faults.name()


def test_a_window_around_one_director_concerns_only_what_goes_through_it() -> None:
    faults = quiet_world(directors=4).promises.faults
    faults.open("pause", 2)

    assert "pause" == faults.name(2, 3)
    assert "" == faults.name(1, 3)
    assert "pause" == faults.name()


def test_two_windows_at_the_same_time_may_split_the_ring() -> None:
    faults = quiet_world(directors=4).promises.faults
    faults.open("pause", 2)
    faults.open("pause", 2)
    assert "" == faults.name(1, 3)
    faults.open("crash", 4)

    assert "pause" == faults.name(1, 3)


def test_wrong_clocks_do_not_excuse_what_clocks_cannot_do() -> None:
    faults = quiet_world().promises.faults
    faults.open("clock skew", is_of_clocks=True)

    assert "clock skew" == faults.name()
    assert "" == faults.name(counts_clocks=False)


@pytest.mark.parametrize("codec", ["native", "classic"])
def test_defects_of_the_original_show_on_its_links_only_and_not_for_ever(codec: str) -> None:
    world = quiet_world(codec=codec, directors=2)
    faults = world.promises.faults
    assert (codec == "classic") is faults.is_defect("stamps reset by DIRECTOR")
    faults.disturbed_at = world.now - CLASSIC_DEFECTS["stamps reset by DIRECTOR"].shows_s - 1

    assert not faults.is_defect("stamps reset by DIRECTOR")


def test_every_defect_is_one_of_a_list_and_shows_for_a_bounded_time() -> None:
    counts = {RING: 18, USERS: 15}
    for defect in CLASSIC_DEFECTS.values():
        assert 0 < defect.number <= counts[defect.listed_in]
        assert 0 < defect.shows_s < 1000


def test_a_wrong_clock_is_no_fault_that_lasts() -> None:
    faults = quiet_world().promises.faults
    faults.open("clock skew", is_of_clocks=True)
    close = faults.open("pause", 2)
    assert faults.is_any_open
    close()

    assert not faults.is_any_open
