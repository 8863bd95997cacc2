"""Directors that place a user differently are found, and for how long they do is measured."""

from __future__ import annotations

from sim.agreement import Agreement, placed_apart, suspects, users_of
from sim.world import World
from tests.sim.rig import log_in, quiet_world, user_of

NOWHERE = {"d01": "nowhere", "d02": "10.1.0.1", "d03": "nowhere"}


def tell(world: World, number: int, wall_offset: int = 0) -> None:
    """Let one director know user 1, and nobody pass it on."""
    world.network.cut([(a, b) for a in range(1, 4) for b in range(1, 4) if a != b])
    node = world.machines[number - 1].node
    assert node is not None
    wall = int(world.machines[number - 1].wall) + wall_offset
    user_hash = user_of(world, 1).user_hash
    node.restore_users(b"", [user_hash], [World.host_ip(1)], [wall], world.now)


def test_users_on_whom_all_agree_are_not_apart() -> None:
    world = quiet_world()
    log_in(world, 1, world.machines[0])

    assert [] == suspects(world)
    assert {} == placed_apart(world, user_of(world, 1))
    assert [1, 1, 1] == [len(users_of(machine)) for machine in world.machines]


def test_a_user_whom_only_some_know_is_apart() -> None:
    world = quiet_world()
    tell(world, 2)

    assert [user_of(world, 1)] == suspects(world)
    assert NOWHERE == placed_apart(world, user_of(world, 1))


def test_a_user_about_to_expire_is_not() -> None:
    world = quiet_world()
    tell(world, 2, wall_offset=-world.plan.expire_s + 10)

    assert [user_of(world, 1)] == suspects(world)
    assert {} == placed_apart(world, user_of(world, 1))


def test_a_user_from_the_future_is_not() -> None:
    world = quiet_world()
    world.machines[1].set_skew(100.0)
    tell(world, 2)

    assert {} == placed_apart(world, user_of(world, 1))


def test_how_long_users_are_apart_is_measured_from_the_end_of_the_last_fault() -> None:
    world = quiet_world()
    agreement = Agreement(world)
    close = world.promises.faults.open("partition")
    tell(world, 2)
    agreement.look()
    world.run_until(world.now + 10)
    close()
    agreement.look()
    assert 0.0 == agreement.longest_apart_s
    world.run_until(world.now + 3)
    agreement.look()

    assert 3.0 == agreement.longest_apart_s


def test_a_plan_asks_for_it() -> None:
    world = quiet_world(is_compared=True)
    tell(world, 2)
    world.run_until(world.now + 5)

    assert world.agreement.longest_apart_s > 2
