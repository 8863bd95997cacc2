"""Moving users: nobody logs in on the new host before every session on the old one is gone.

The kill state machine of users-and-hosts.md section 11, one per (tag, user hash) being moved:

    KILLING --local done--> WAIT_NOTIFY --USER-KILLED--> WAIT_EVERYONE --KILLED-EVERYWHERE--> finish
       \\--USER-KILLED--> NOTIFY_RECEIVED --local done--> WAIT_EVERYONE
    finish: FLUSHING (initiator with a flush program and an old host) -> DELAY -> done, or DELAY

Unlike the original a move that times out gives its kick slot back.
"""

from __future__ import annotations

import enum
import itertools

import attrs

from ring import limits
from ring.address import IpAddress
from ring.commands import Answer, UserMove
from ring.effects import (
    AbortFlushProgram,
    Kick,
    KickHash,
    RunFlushProgram,
)
from ring.gossip import Gossip
from ring.hosts import MailHost
from ring.link import Link
from ring.messages import UserKilled, UserKilledEverywhere
from ring.messages import UserMove as UserMoveMessage
from ring.state import Pool, State
from ring.users import ABSENT, is_expired


class Stage(enum.Enum):
    """The value is the classic name, shown by `director status USER`."""

    KILLING = "killing"
    NOTIFY_RECEIVED = "notify-received"
    WAIT_NOTIFY = "waiting-for-notify"
    WAIT_EVERYONE = "waiting-for-everyone"
    FLUSHING = "flushing"
    DELAY = "delay"


@attrs.frozen(kw_only=True)
class OldHost:
    """The host a user is moved away from, as it was when the move began."""

    ip: IpAddress
    is_down: bool
    weight: int


@attrs.define(eq=False, kw_only=True)
class Move:
    pool: Pool
    user_hash: int
    old: OldHost | None
    is_ours: bool
    is_local: bool
    stage: Stage = Stage.KILLING
    kick_id: int | None = None
    flush_id: int | None = None


class Moves:
    def __init__(self, state: State, gossip: Gossip) -> None:
        self._state = state
        self._gossip = gossip
        self._moves: dict[tuple[bytes, int], Move] = {}
        self._by_kick: dict[int, Move] = {}
        self._by_flush: dict[int, Move] = {}
        self._flush_ids = itertools.count(1)

    # --- questions --------------------------------------------------------------------------------

    @property
    def moving_count(self) -> int:
        return len(self._moves)

    @property
    def kicking_count(self) -> int:
        """How many moves wait for their sessions here to be closed."""
        return len(self._by_kick)

    def stage(self, tag: bytes, user_hash: int) -> Stage | None:
        move = self._moves.get((tag, user_hash))
        return move.stage if move else None

    # --- starting a move --------------------------------------------------------------------------

    def move_commanded(self, command: UserMove) -> Answer:
        """An administrator assigns a user to a host (users-and-hosts.md section 13)."""
        state = self._state
        host = state.hosts.get(command.ip)
        if host is None:
            return Answer.NOT_FOUND
        pool = state.pool(host.tag)
        if command.user_hash in pool.moving:
            return Answer.TRY_AGAIN
        packed = self.live_entry(pool, command.user_hash)
        if packed != ABSENT and state.hosts.by_number[packed & 0xFFFF] is host:
            packed = state.wall << 16 | host.number
            pool.table.store(command.user_hash, host.number, state.wall)
            self._gossip.flood_user(pool, command.user_hash, packed, exclude=None)
        else:
            self.begin(pool, command.user_hash, host)
        return Answer.OK

    def begin(self, pool: Pool, user_hash: int, host: MailHost) -> None:
        """Move a user, of our own accord."""
        message = UserMoveMessage(stamp=self._gossip.own_stamp(), user_hash=user_hash, ip=host.ip)
        old = self._reassign(pool, user_hash, host)
        self._gossip.flood(message, exclude=None)
        self.kill(pool, user_hash, old, host, is_ours=True)

    def move_received(self, link: Link, message: UserMoveMessage) -> None:
        stamp = self._gossip.accept(message.stamp)
        host = self._state.hosts.get(message.ip)
        if stamp is None or host is None:
            return
        pool = self._state.pool(host.tag)
        old = self._reassign(pool, message.user_hash, host)
        self._gossip.flood(attrs.evolve(message, stamp=stamp), exclude=link.director)
        self.kill(pool, message.user_hash, old, host, is_ours=False)

    def live_entry(self, pool: Pool, user_hash: int) -> int:
        packed = pool.table.find(user_hash)
        expire_s = self._state.settings.user_expire_s
        if packed != ABSENT and is_expired(packed >> 16, self._state.wall, expire_s):
            return ABSENT
        return packed

    def _reassign(self, pool: Pool, user_hash: int, host: MailHost) -> OldHost | None:
        """Write the new host into the table; return the old one, None if the user was unknown."""
        packed = self.live_entry(pool, user_hash)
        pool.table.store(user_hash, host.number, self._state.wall)
        pool.clear_weak(user_hash)  # where it belongs is decided
        if packed == ABSENT:
            return None
        old = self._state.hosts.by_number[packed & 0xFFFF]
        assert old is not None
        return OldHost(ip=old.ip, is_down=old.is_down, weight=old.weight)

    def kill(
        self,
        pool: Pool,
        user_hash: int,
        old: OldHost | None,
        host: MailHost | None,
        *,
        is_ours: bool,
    ) -> None:
        """Close the user's sessions here and wait until everybody has.

        `host` None: nobody was told of a move, so kick in any case and wait for nobody.
        """
        state = self._state
        key = pool.tag, user_hash
        if key in self._moves:
            return
        move = self._moves[key] = Move(
            pool=pool, user_hash=user_hash, old=old, is_ours=is_ours, is_local=host is None
        )
        pool.mark_moving(user_hash)
        state.timers.set(("move", *key), state.now + limits.MOVE_TIMEOUT_S)
        if old is not None and (host is None or old.ip != host.ip):
            move.kick_id = next(state.kick_ids)
            self._by_kick[move.kick_id] = move
            kick = KickHash(user_hash=user_hash, except_ip=None)
            state.effects.append(Kick(kick_id=move.kick_id, what=kick))
        else:
            self._local_done(move)

    # --- the stages -------------------------------------------------------------------------------

    def kick_finished(self, kick_id: int, error: str | None) -> None:
        """The shell closed sessions (or could not, which is noted and otherwise the same)."""
        if error is not None:
            self._state.note("kick_failed", kick=kick_id, error=error)
        move = self._by_kick.pop(kick_id, None)
        if move is not None:
            move.kick_id = None
            self._local_done(move)

    def _local_done(self, move: Move) -> None:
        if self._state.right is None or move.is_local:
            self._finish(move)
        elif move.is_ours or move.stage is Stage.NOTIFY_RECEIVED:
            self._tell_right(move)
        else:
            move.stage = Stage.WAIT_NOTIFY

    def _tell_right(self, move: Move) -> None:
        right = self._state.right
        if right is None:
            self._finish(move)
            return
        move.stage = Stage.WAIT_EVERYONE
        right.send(UserKilled(move.user_hash))

    def killed_received(self, message: UserKilled) -> None:
        """Everybody left of us, up to the move's initiator, has closed the user's sessions."""
        for pool in list(self._state.pools.values()):
            move = self._moves.get((pool.tag, message.user_hash))
            if move is None:
                continue
            if move.stage is Stage.KILLING:
                move.stage = Stage.NOTIFY_RECEIVED
            elif move.stage is Stage.WAIT_NOTIFY:
                self._tell_right(move)
            elif move.stage is not Stage.NOTIFY_RECEIVED:
                self._gossip.flood(
                    UserKilledEverywhere(
                        stamp=self._gossip.own_stamp(), user_hash=message.user_hash
                    ),
                    exclude=None,
                )
                if move.stage is Stage.WAIT_EVERYONE:
                    self._finish(move)

    def killed_everywhere_received(self, link: Link, message: UserKilledEverywhere) -> None:
        stamp = self._gossip.accept(message.stamp)
        if stamp is None:
            return
        for pool in list(self._state.pools.values()):
            move = self._moves.get((pool.tag, message.user_hash))
            if move is not None and move.stage is Stage.WAIT_EVERYONE:
                self._finish(move)
                self._gossip.flood(attrs.evolve(message, stamp=stamp), exclude=link.director)

    def _finish(self, move: Move) -> None:
        """The user has no session anywhere: run the flush program, or let time pass."""
        state = self._state
        packed = move.pool.table.find(move.user_hash)
        host = state.hosts.by_number[packed & 0xFFFF] if packed != ABSENT else None
        if state.settings.has_flush_program and move.is_ours and move.old and host:
            move.stage = Stage.FLUSHING
            move.flush_id = next(self._flush_ids)
            self._by_flush[move.flush_id] = move
            state.effects.append(
                RunFlushProgram(
                    flush_id=move.flush_id,
                    user_hash=move.user_hash,
                    old_ip=move.old.ip,
                    old_is_down=move.old.is_down,
                    old_weight=move.old.weight,
                    new_ip=host.ip,
                    new_hostname=host.hostname,
                )
            )
        else:
            self._delay(move)

    def flush_finished(self, flush_id: int, *, is_success: bool) -> None:
        move = self._by_flush.pop(flush_id, None)
        if move is None:
            return
        move.flush_id = None
        if is_success:
            self._end(move)
        else:
            self._delay(move)

    def _delay(self, move: Move) -> None:
        state = self._state
        move.stage = Stage.DELAY
        state.timers.cancel(("move", move.pool.tag, move.user_hash))
        until = state.now + state.settings.user_kick_delay_s
        state.timers.set(("delay", move.pool.tag, move.user_hash), until)

    def delay_due(self, tag: bytes, user_hash: int) -> None:
        self._end(self._moves[tag, user_hash])

    def move_due(self, tag: bytes, user_hash: int) -> None:
        """Somebody did not answer in time; the user keeps its new host.

        What was heard of another host meanwhile was passed over (row g of users-and-hosts.md
        section 8), and nobody repeats it: so we say anew what we have, and a difference is settled.
        """
        move = self._moves[tag, user_hash]
        self._state.note("move_timed_out", user_hash=user_hash, tag=tag, stage=move.stage.value)
        if move.flush_id is not None:
            self._by_flush.pop(move.flush_id)
            self._state.effects.append(AbortFlushProgram(move.flush_id))
        if move.kick_id is not None:
            self._by_kick.pop(move.kick_id)
        self._end(move)
        packed = self.live_entry(move.pool, user_hash)
        if packed != ABSENT:
            number, wall = packed & 0xFFFF, self._state.wall
            move.pool.table.store(user_hash, number, wall)
            self._gossip.flood_user(move.pool, user_hash, wall << 16 | number, exclude=None)

    def _end(self, move: Move) -> None:
        key = move.pool.tag, move.user_hash
        del self._moves[key]
        move.pool.clear_moving(move.user_hash)
        self._state.timers.cancel(("move", *key))
        self._state.timers.cancel(("delay", *key))
        self._state.settled_users.append(key)
