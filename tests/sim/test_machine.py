"""The kernel under a director process: what waits, what is lost, and what is performed."""

from __future__ import annotations

import pytest

from ring.commands import UserMove
from ring.effects import Effect, Noted
from ring.node import RingNode
from sim.machine import Machine
from sim.verdict import Broken, Promise
from sim.world import World
from tests.sim.rig import events, is_one_ring, log_in, quiet_world, start_login, user_of


def place(world: World, machine: Machine, number: int) -> str:
    """Return where a director believes a user to be."""
    assert machine.node is not None
    user = user_of(world, number)
    current = machine.node.user_status(user.user_hash, user.tag, world.now).current
    return str(current.ip) if current else "nowhere"


def test_a_paused_process_finds_what_came_meanwhile_in_order() -> None:
    world = quiet_world()
    machine = world.machines[0]
    machine.pause()
    for number in (2, 1):
        start_login(world, number, machine)
    world.run_until(world.now + 0.5)
    assert [] == events(world, "sent to")
    machine.resume()

    assert ["user=2", "user=1"] == [line.split()[0] for line in events(world, "sent to")]


def test_a_process_that_died_forgets_and_its_neighbours_tell_it_again() -> None:
    world = quiet_world()
    session = log_in(world, 1, world.machines[0])
    world.machines[1].stop(has_power=True)
    world.machines[1].start()
    assert "nowhere" == place(world, world.machines[1], 1)
    world.run_until(world.now + 5.0)
    assert is_one_ring(world)

    assert str(session.ip) == place(world, world.machines[1], 1)


def test_a_snapshot_is_what_a_process_knew() -> None:
    world = quiet_world()
    machine = world.machines[1]
    session = log_in(world, 1, world.machines[0])
    snapshot = machine.take_snapshot()
    machine.stop(has_power=True)
    machine.start(snapshot)

    assert str(session.ip) == place(world, machine, 1)


@pytest.mark.parametrize(("has_power", "is_told"), [(True, True), (False, False)])
def test_only_a_kernel_with_power_tells_the_neighbours(has_power: bool, is_told: bool) -> None:
    world = quiet_world()
    world.machines[1].stop(has_power=has_power)
    world.run_until(world.now + 0.5)

    assert is_told == bool(events(world, "link lost"))


def test_what_is_said_within_a_batch_leaves_in_one_write() -> None:
    writes = {}
    for batch_s in (0.0, 0.05):
        world = quiet_world(directors=2, users=20, batch_s=batch_s)
        before = world.network.writes_count
        for number in range(1, 21):
            start_login(world, number, world.machines[0])
        world.run_until(world.now + 0.3)
        writes[batch_s] = world.network.writes_count - before

    assert writes[0.05] < 10 < 20 <= writes[0.0]


def test_a_neighbour_that_does_not_read_fills_the_window_and_is_served_later() -> None:
    world = quiet_world(directors=2, users=200, window_bytes=256)
    reader = world.machines[1]
    reader.pause()
    for number in range(1, 201):
        start_login(world, number, world.machines[0])
    world.run_until(world.now + 0.5)
    queued = [end.outgoing.bytes_queued for c in world.network.between(1, 2) for end in c.ends]
    assert 0 < max(queued) <= 256
    reader.resume()
    world.run_until(world.now + 3.0)

    assert "nowhere" not in {place(world, reader, number) for number in range(1, 201)}


def test_a_kick_takes_time_and_ends_the_session() -> None:
    world = quiet_world()
    session = log_in(world, 1, world.machines[0])
    other = World.host_ip(2 if session.ip == World.host_ip(1) else 1)
    move = UserMove(user_hash=session.user.user_hash, ip=other)
    world.administrators.command(1, move)
    assert not session.is_ended
    world.run_until(world.now + 0.2)

    assert session.is_ended
    assert len(world.machines) == len(events(world, "kick ended"))


class Restless(RingNode):
    """Has always something more to tell."""

    def drain(self) -> list[Effect]:
        return [*super().drain(), Noted("clock_skew_seen", ())]


@pytest.mark.slow
def test_a_node_that_never_comes_to_an_end_is_a_storm() -> None:
    with pytest.raises(Broken) as caught:
        quiet_world(node_factory=Restless)

    assert Promise.QUIET is caught.value.violation.promise
