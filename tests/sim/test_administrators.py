"""Commands to any director: each is answered once and in time, or a promise is broken."""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from ring.commands import Answer, Command, HostDown, UserMove
from ring.effects import CommandAnswered
from ring.node import RingNode
from sim.administrators import ANSWER_S
from sim.verdict import Broken
from sim.world import World
from tests.sim.rig import events, log_in, quiet_world, user_of

DOWN = HostDown(World.host_ip(4))


def test_a_command_is_waited_for_until_it_is_answered() -> None:
    world = quiet_world()
    world.administrators.command(2, DOWN)
    assert 1 == world.administrators.waiting_count
    world.run_until(world.now + 1)

    assert 0 == world.administrators.waiting_count
    assert ["a1 OK"] == events(world, "answer")


def test_the_next_director_is_asked_if_the_first_is_not_there() -> None:
    world = quiet_world()
    world.machines[1].stop(has_power=True)
    world.machines[2].pause()
    world.administrators.command(2, DOWN)

    assert [f"a1 {DOWN}"] == events(world, "command")
    assert "d01" in next(line for line in world.trace.lines if "command" in line)


def test_nobody_is_asked_if_nobody_is_there() -> None:
    world = quiet_world(directors=1)
    world.machines[0].pause()
    world.administrators.command(1, DOWN)

    assert 0 == world.administrators.waiting_count


def test_a_command_given_to_a_director_that_dies_is_not_waited_for() -> None:
    world = quiet_world()
    world.administrators.command(1, DOWN)
    world.machines[0].stop(has_power=True)
    world.administrators.check_answers()

    assert 0 == world.administrators.waiting_count


def test_a_command_that_is_never_answered_breaks_a_promise() -> None:
    class Deaf(RingNode):
        def command(self, token: Hashable, command: Command, now: float) -> None:
            pass

    world = quiet_world(node_factory=Deaf)
    world.administrators.command(1, DOWN)
    world.run_until(world.now + ANSWER_S - 1)
    with pytest.raises(Broken, match=r"answered broken at .* d01 never answered HostDown"):
        world.run_until(world.now + 3)


def test_a_second_answer_breaks_a_promise() -> None:
    world = quiet_world()
    world.administrators.command(1, DOWN)
    world.run_until(world.now + 1)
    again = CommandAnswered(token="a1", answer=Answer.OK)
    with pytest.raises(Broken, match="d01 answered command a1 again"):
        world.administrators.answered(world.machines[0], again)


def test_a_moved_user_may_be_sent_to_a_host_that_is_down() -> None:
    world = quiet_world()
    world.administrators.command(1, DOWN)
    world.run_until(world.now + 1)
    move = UserMove(user_hash=user_of(world, 1).user_hash, ip=DOWN.ip)
    world.administrators.command(2, move)
    world.run_until(world.now + 5)

    assert DOWN.ip == log_in(world, 1, world.machines[2]).ip
