"""Administrators' commands: checked, applied, and answered when the whole ring has them.

doveadm-director.md sections 1.2 and 1.3. A changing command first waits for a synced ring
("before"), is applied, and then waits until the ring has synced again ("after"); each wait ends
after `COMMAND_TIMEOUT_S` with `Ring sync timed out`, which therefore means either "not applied" or
"applied, but not everywhere yet".
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeAlias, assert_never

import attrs

from ring import limits
from ring.address import DirectorAddress
from ring.commands import (
    Answer,
    Command,
    DirectorAdd,
    DirectorRemove,
    HostDown,
    HostFlush,
    HostRemove,
    HostResetUsers,
    HostSet,
    HostUp,
    HostUpdate,
    UserKick,
    UserKickField,
    UserKickHash,
    UserMove,
)
from ring.effects import CommandAnswered
from ring.flushes import Flushes
from ring.host_list import HostList
from ring.kicks import Kicks
from ring.members import Members
from ring.moves import Moves
from ring.state import State

RingCommand: TypeAlias = (
    HostSet | HostUpdate | HostUp | HostDown | HostRemove | HostFlush | DirectorAdd | DirectorRemove
)
"""What the whole ring must apply; users can be moved and kicked at any time."""


@attrs.define(eq=False, kw_only=True)
class Waiting:
    """A command that waits for the ring; `command` is None once it has been applied."""

    token: Hashable
    command: RingCommand | None
    until: float


class Administration:
    def __init__(
        self,
        state: State,
        *,
        host_list: HostList,
        members: Members,
        moves: Moves,
        kicks: Kicks,
        flushes: Flushes,
    ) -> None:
        self._state = state
        self._host_list = host_list
        self._members = members
        self._moves = moves
        self._kicks = kicks
        self._flushes = flushes
        self._waiting: list[Waiting] = []

    @property
    def waiting_count(self) -> int:
        return len(self._waiting)

    def command(self, token: Hashable, command: Command) -> None:
        """Run a command now, or when the ring is synced."""
        match command:
            case HostResetUsers():
                self._answer(token, self._flushes.commanded(token, command))
            case UserMove():
                self._answer(token, self._moves.move_commanded(command))
            case UserKick() | UserKickField():
                self._answer(token, self._kicks.commanded(token, command))
            case UserKickHash():
                self._answer(token, self._kicks.hash_commanded(command))
            case _ if len(self._waiting) >= limits.COMMANDS_WAITING_MAX:
                self._answer(token, Answer.TRY_AGAIN)
            case _ if not self._state.is_synced:
                self._wait(token, command)
            case _:
                self._apply(token, command)

    def _answer(self, token: Hashable, answer: Answer | None) -> None:
        if answer is not None:
            self._state.effects.append(CommandAnswered(token=token, answer=answer))

    def _wait(self, token: Hashable, command: RingCommand | None) -> None:
        state = self._state
        until = state.now + limits.COMMAND_TIMEOUT_S
        self._waiting.append(Waiting(token=token, command=command, until=until))
        if "administration" not in state.timers:
            state.timers.set("administration", until)

    def _apply(self, token: Hashable, command: RingCommand) -> None:
        """Execute now; the answer waits if the ring has to hear of it."""
        answer = self._execute(command)
        is_waiting = answer is Answer.OK and not self._state.is_synced
        if is_waiting and not isinstance(command, DirectorAdd):
            self._wait(token, None)
        else:
            self._answer(token, answer)

    def ring_synced(self) -> None:
        """Answer what was applied, run what had to wait (in order, while the ring stays synced)."""
        applied = [w for w in self._waiting if w.command is None]
        self._waiting = [w for w in self._waiting if w.command is not None]
        for waiting in applied:
            self._answer(waiting.token, Answer.OK)
        while self._waiting and self._state.is_synced:
            waiting = self._waiting.pop(0)
            assert waiting.command is not None
            self._apply(waiting.token, waiting.command)

    def timeout_due(self) -> None:
        state = self._state
        late = [w for w in self._waiting if w.until <= state.now]
        self._waiting = [w for w in self._waiting if w.until > state.now]
        for waiting in late:
            self._answer(waiting.token, Answer.SYNC_TIMED_OUT)
        if self._waiting:
            state.timers.set("administration", min(w.until for w in self._waiting))

    # --- executing ------------------------------------------------------------------------------

    def _execute(self, command: RingCommand) -> Answer:
        match command:
            case HostSet() | HostUpdate():
                return self._host_list.set_weight(command)
            case HostUp():
                return self._host_list.set_down(command.ip, is_down=False)
            case HostDown():
                return self._host_list.set_down(command.ip, is_down=True)
            case HostRemove():
                return self._host_list.remove(command.ip)
            case HostFlush():
                return self._host_list.flush(command.ip)
            case DirectorAdd():
                self._members.add(command.address)
                return Answer.OK
            case DirectorRemove():
                return self._remove_director(command)
            case _:
                assert_never(command)

    def _remove_director(self, command: DirectorRemove) -> Answer:
        directors = self._state.directors
        if command.port is None:
            director = directors.find_by_ip(command.ip)
        else:
            director = directors.find(DirectorAddress(ip=command.ip, port=command.port))
        if director is None or director.is_removed:
            return Answer.NOT_FOUND
        self._members.remove(director, exclude=None, by="administrator")
        return Answer.OK
