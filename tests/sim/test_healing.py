"""What healing looks for: each kind of trouble is found, and a ring that is well has none."""

from __future__ import annotations

import pytest

from ring.commands import HostDown
from ring.node import RingNode
from sim.healing import (
    QUIET_S,
    check_weights,
    heal,
    hosts_of,
    hosts_trouble,
    quiet_trouble,
    rest_trouble,
    ring_trouble,
    users_trouble,
)
from sim.verdict import Broken
from sim.world import World
from tests.sim.rig import log_in, quiet_world, start_login, user_of


def node_of(world: World, number: int) -> RingNode:
    node = world.machines[number - 1].node
    assert node is not None
    return node


@pytest.mark.parametrize("directors", [1, 2, 3])
def test_a_ring_at_rest_has_no_trouble(directors: int) -> None:
    world = quiet_world(directors=directors)
    world.run_until(world.now + QUIET_S)

    assert "" == ring_trouble(world)
    assert "" == hosts_trouble(world)
    assert "" == users_trouble(world)
    assert "" == rest_trouble(world)
    assert "" == quiet_trouble(world)


def test_a_director_that_is_not_synced_is_named() -> None:
    world = quiet_world()
    world.network.cut([(1, 3), (3, 1)])
    node_of(world, 2).command("test", HostDown(World.host_ip(1)), world.now)
    world.machines[1].pump()

    assert "d02 is not synced" == ring_trouble(world)


def test_wrong_neighbours_are_named() -> None:
    world = quiet_world(directors=2)
    world.network.cut([(1, 2), (2, 1)])
    world.run_until(world.now + 120)  # until they believe to be alone

    assert "d01 has the neighbours {}" == ring_trouble(world)


def test_different_host_lists_are_shown() -> None:
    world = quiet_world(hosts=1)
    hosts = node_of(world, 2).hosts
    hosts.set_down(next(iter(hosts)), is_down=True, changed_at=0)

    assert ("10.1.0.1@ 100 down",) == hosts_of(world.machines[1])
    assert (
        "d01: ('10.1.0.1@ 100',); d02: ('10.1.0.1@ 100 down',); d03: ('10.1.0.1@ 100',)"
        == hosts_trouble(world)
    )


def test_a_user_on_whom_two_directors_disagree_is_named() -> None:
    world = quiet_world()
    user_hash = user_of(world, 1).user_hash
    now = int(world.true_wall)
    node_of(world, 2).restore_users(b"", [user_hash], [World.host_ip(1)], [now], world.now)
    placed = {"d01": "nowhere", "d02": "10.1.0.1", "d03": "nowhere"}

    assert f"user 1 ({user_hash}) is at {placed}" == users_trouble(world)


def test_a_user_who_is_about_to_expire_may_be_known_to_some_only() -> None:
    world = quiet_world()
    user = user_of(world, 1)
    old = int(world.true_wall) - world.plan.expire_s + 5
    ip = World.host_ip(1)
    node_of(world, 2).restore_users(b"", [user.user_hash], [ip], [old], world.now)

    assert "" == users_trouble(world)


def test_what_a_director_is_left_with_is_counted() -> None:
    world = quiet_world()
    log_in(world, 1, world.machines[0])

    assert "d01 is left with {'users': 1}" == rest_trouble(world)


def test_a_command_without_an_answer_is_no_rest() -> None:
    world = quiet_world()
    world.machines[0].node = node_of(world, 1)
    world.network.cut([(1, 2), (2, 1)])
    world.administrators.command(1, HostDown(World.host_ip(1)))
    world.run_until(world.now + 1)

    assert "1 commands wait for an answer" == rest_trouble(world)


def test_whoever_spoke_a_moment_ago_is_not_quiet() -> None:
    world = quiet_world()
    world.run_until(world.now + QUIET_S)
    start_login(world, 1, world.machines[0])
    world.run_until(world.now + 0.1)

    assert quiet_trouble(world).startswith("directors at rest still talk; so far: ")
    world.run_until(world.now + QUIET_S)
    assert "d01 is left with {'users': 1}" == quiet_trouble(world)


def test_healing_ends_with_everybody_gone() -> None:
    world = quiet_world(faults_s=10.0, expire_s=20)
    session = log_in(world, 1, world.machines[0])
    heal(world)

    assert session.is_ended
    assert [0, 0, 0] == [node_of(world, number).statistics().users for number in (1, 2, 3)]


def test_a_ring_that_does_not_form_in_time_breaks_its_promise() -> None:
    world = quiet_world(faults_s=5.0)
    world.network.cut([(1, 2), (2, 1), (1, 3), (3, 1)])  # by nobody, so that nobody mends it
    with pytest.raises(Broken, match=r"one-ring broken at 35.000 s: 30 s were not enough: d0"):
        heal(world)


def test_hosts_that_do_not_get_their_share_break_a_promise() -> None:
    world = quiet_world(hosts=2)
    hosts = node_of(world, 1).hosts
    hosts.lookup(1, b"")  # now the circle is drawn
    next(iter(hosts)).weight = 1000
    with pytest.raises(Broken, match=r"weights broken .* 10.1.0.1 has 0.5.*, expected 0.909"):
        check_weights(world)
