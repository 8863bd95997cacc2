"""Closing sessions without moving anybody: administrators' kicks, and those the ring tells of.

An administrator's kick takes one of `director_max_parallel_kicks` slots, which moves that are
closing sessions take too; it waits for one or is told to try again. Kicks heard of from the ring
and those that settle a conflict (`gossip.py`) take none: they must happen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from ipaddress import IPv4Address

import attrs

from ring import limits
from ring.commands import Answer, UserKick, UserKickField, UserKickHash
from ring.effects import CommandAnswered, Kick, KickField, KickHash, KickName
from ring.gossip import Gossip
from ring.link import Link
from ring.messages import UserKick as UserKickMessage
from ring.messages import UserKickField as UserKickFieldMessage
from ring.messages import UserKickHash as UserKickHashMessage
from ring.moves import Moves
from ring.state import State

_UNSPECIFIED = IPv4Address(0)
"""The `except_ip` of a kick that excepts no host."""


class Kicks:
    def __init__(self, state: State, gossip: Gossip, moves: Moves) -> None:
        self._state = state
        self._gossip = gossip
        self._moves = moves
        self._under_way: set[int] = set()
        self._waiting: deque[tuple[Hashable, UserKick | UserKickField]] = deque()

    @property
    def kicking_count(self) -> int:
        """How many slots are taken."""
        return len(self._under_way) + self._moves.kicking_count

    def finished(self, kick_id: int) -> None:
        """A slot may have become free."""
        self._under_way.discard(kick_id)
        self.start_waiting()

    def start_waiting(self) -> None:
        """Start kicks that wait for a slot, oldest first."""
        while self._waiting and self._has_slot():
            token, command = self._waiting.popleft()
            self._start(command)
            self._state.effects.append(CommandAnswered(token=token, answer=Answer.OK))

    def _has_slot(self) -> bool:
        return self.kicking_count < self._state.settings.max_parallel_kicks

    def commanded(self, token: Hashable, command: UserKick | UserKickField) -> Answer | None:
        """Kick by name or field here and everywhere; None: waiting for a free slot."""
        if self._has_slot():
            self._start(command)
            return Answer.OK
        if not command.is_waiting or len(self._waiting) >= limits.COMMANDS_WAITING_MAX:
            return Answer.TRY_AGAIN
        self._waiting.append((token, command))
        return None

    def _start(self, command: UserKick | UserKickField) -> None:
        what: KickName | KickField
        message: UserKickMessage | UserKickFieldMessage
        stamp = self._gossip.own_stamp()
        if isinstance(command, UserKick):
            what = KickName(command.user)
            message = UserKickMessage(stamp=stamp, user=command.user)
        else:
            what = KickField(field=command.field, value=command.value)
            message = UserKickFieldMessage(stamp=stamp, field=command.field, value=command.value)
        kick_id = next(self._state.kick_ids)
        self._under_way.add(kick_id)
        self._state.effects.append(Kick(kick_id=kick_id, what=what))
        self._gossip.flood(message, exclude=None)

    def hash_commanded(self, command: UserKickHash) -> Answer:
        """Kick every session of a hash; a real director takes it for a settled conflict."""
        self._gossip.kick(KickHash(user_hash=command.user_hash, except_ip=None))
        self.flood_hash(command.user_hash)
        return Answer.OK

    def flood_hash(self, user_hash: int) -> None:
        """Let all other directors kick every session of a hash."""
        stamp = self._gossip.own_stamp()
        message = UserKickHashMessage(stamp=stamp, user_hash=user_hash, except_ip=_UNSPECIFIED)
        self._gossip.flood(message, exclude=None)

    def received(
        self, link: Link, message: UserKickMessage | UserKickFieldMessage | UserKickHashMessage
    ) -> None:
        stamp = self._gossip.accept(message.stamp)
        if stamp is None:
            return
        what: KickName | KickField | KickHash
        if isinstance(message, UserKickMessage):
            what = KickName(message.user)
        elif isinstance(message, UserKickFieldMessage):
            what = KickField(field=message.field, value=message.value)
        else:
            is_all = message.except_ip == _UNSPECIFIED
            what = KickHash(
                user_hash=message.user_hash, except_ip=None if is_all else message.except_ip
            )
        self._gossip.kick(what)
        self._gossip.flood(attrs.evolve(message, stamp=stamp), exclude=link.director)
