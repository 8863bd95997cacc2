"""Administrators at work on any director: commands, and whether each is answered once, in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ring import limits
from ring.commands import Answer, Command, HostResetUsers, UserMove
from ring.effects import CommandAnswered

if TYPE_CHECKING:
    from sim.machine import Machine
    from sim.world import World

ANSWER_S = 2 * limits.COMMAND_TIMEOUT_S + 5.0
"""A command waits for the ring at most twice. A flush may take longer: it moves user by user."""


@attrs.define(eq=False, kw_only=True)
class Asked:
    command: Command
    machine: Machine
    incarnation: int
    at: float


class Administrators:
    def __init__(self, world: World) -> None:
        self._world = world
        self._asked: dict[object, Asked] = {}
        self._tokens = 0

    @property
    def waiting_count(self) -> int:
        return len(self._asked)

    def command(self, number: int, command: Command) -> None:
        """Give a command to a director, or to the next one that lives."""
        world = self._world
        count = len(world.machines)
        for step in range(count):
            machine = world.machines[(number - 1 + step) % count]
            if not machine.is_off and not machine.is_paused:
                break
        else:
            return
        self._tokens += 1
        token = f"a{self._tokens}"
        self._asked[token] = Asked(
            command=command, machine=machine, incarnation=machine.incarnation, at=world.now
        )
        world.trace.add(world.now, machine.lane, "command", f"{token} {command}")
        if isinstance(command, UserMove):
            world.promises.user_moved(command.user_hash, command.ip)
            world.wire.touched(machine, command.user_hash)
        elif isinstance(command, HostResetUsers):
            world.promises.user_moved(0, None)
        machine.post(machine.command, token, command)

    def answered(self, machine: Machine, effect: CommandAnswered) -> None:
        world = self._world
        asked = self._asked.pop(effect.token, None)
        world.trace.add(world.now, machine.lane, "answer", f"{effect.token} {effect.answer.value}")
        if asked is None:
            world.promises.command_answered_twice(machine, effect)
        elif effect.answer is Answer.SYNC_TIMED_OUT:
            world.promises.command_timed_out(machine, str(asked.command))

    def check_answers(self) -> None:
        world = self._world
        for token, asked in list(self._asked.items()):
            machine = asked.machine
            if machine.is_off or machine.incarnation != asked.incarnation:
                del self._asked[token]
            elif (
                not isinstance(asked.command, HostResetUsers)
                and not machine.is_paused
                and asked.at + ANSWER_S < world.now
                and machine.resumed_at + ANSWER_S < world.now
            ):
                world.promises.command_forgotten(machine, str(asked.command))
