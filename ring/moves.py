"""Moving users: nobody logs in on the new host before every session on the old one is gone.

The kill state machine of users-and-hosts.md section 11, one per (tag, user hash) being moved:

    KILLING --local done--> WAIT_NOTIFY --USER-KILLED--> WAIT_EVERYONE --KILLED-EVERYWHERE--> finish
       \\--USER-KILLED--> NOTIFY_RECEIVED --local done--> WAIT_EVERYONE
    finish: FLUSHING (initiator with a flush program and an old host) -> DELAY -> done, or DELAY

Unlike the original a move that times out gives its kick slot back.

Two directors may move one user at the same time. The original lets the second host stand in each
table, whichever that is, and takes any report of a kill for its own. In a native ring one of the
two moves wins on every node (`move.py`), and reports name the move they belong to.

A report of the original goes round once; if a director on its way fails, everybody waits until the
move times out. In a native ring it carries the path it came, so that any director may begin another
round and a round ends at whoever it meets twice (DESIGN.md decision 21).
"""

from __future__ import annotations

import itertools

import attrs

from ring import limits
from ring.address import DirectorAddress
from ring.commands import Answer, UserMove
from ring.effects import (
    AbortFlushProgram,
    Kick,
    KickHash,
    RunFlushProgram,
)
from ring.gossip import Gossip
from ring.hosts import MailHost
from ring.lifetime import is_expired
from ring.link import Link
from ring.messages import Stamp, UserKilled, UserKilledEverywhere
from ring.messages import UserMove as UserMoveMessage
from ring.move import Move, OldHost, Stage, is_of, wins
from ring.state import Pool, State
from ring.users import ABSENT

ENDED_REMEMBERED_S = limits.MOVE_TIMEOUT_S + 5.0
"""How much later than here a move may end elsewhere."""

LIST_AGE_S_MAX = 2
"""How old a list of sessions may be by which a user is called idle, rounding included."""


class Moves:
    def __init__(self, state: State, gossip: Gossip) -> None:
        self._state = state
        self._gossip = gossip
        self._moves: dict[tuple[bytes, int], Move] = {}
        self._by_kick: dict[int, Move] = {}
        self._by_flush: dict[int, Move] = {}
        self._flush_ids = itertools.count(1)
        self._ended: dict[tuple[bytes, int], tuple[Stamp, float]] = {}  # oldest first

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
        """Move a user, of our own accord, even if it is on its way elsewhere."""
        stamp = self._gossip.own_stamp()
        overlapped = self._overlapped(pool, user_hash)
        after = overlapped.stamp if overlapped is not None else self._last_stamp(pool, user_hash)
        message = UserMoveMessage(stamp=stamp, user_hash=user_hash, ip=host.ip, after=after)
        if overlapped is None:
            old = self._reassign(pool, user_hash, host)
            self._gossip.flood(message, exclude=None)
            self.kill(pool, user_hash, old, host, is_ours=True, stamp=stamp, after=after)
        else:
            self._gossip.flood(message, exclude=None)
            self._replace(overlapped, host, stamp, is_ours=True, after=after)

    def _last_stamp(self, pool: Pool, user_hash: int) -> Stamp | None:
        """Return the stamp of the user's last move; others may not have ended it yet."""
        stamp, _ = self._ended.get((pool.tag, user_hash), (None, 0.0))
        return stamp

    def move_received(self, link: Link, message: UserMoveMessage) -> None:
        stamp = self._gossip.accept(message.stamp)
        host = self._state.hosts.get(message.ip)
        if stamp is None or host is None:
            return
        self._gossip.flood(attrs.evolve(message, stamp=stamp), exclude=link.director)
        self._take_part(message, host, stamp)

    def _take_part(self, message: UserMoveMessage, host: MailHost, stamp: Stamp) -> None:
        """Another director moves a user; `stamp` is what the move is known by from here on."""
        pool = self._state.pool(host.tag)
        user_hash, after = message.user_hash, message.after
        overlapped = self._overlapped(pool, user_hash)
        if overlapped is None:
            old = self._reassign(pool, user_hash, host)
            self.kill(pool, user_hash, old, host, is_ours=False, stamp=stamp, after=after)
        elif wins(host, message, overlapped):
            self._replace(overlapped, host, stamp, is_ours=False, after=after)

    def _overlapped(self, pool: Pool, user_hash: int) -> Move | None:
        """Return a move under way that another one of the same user has to be weighed against."""
        move = self._moves.get((pool.tag, user_hash))
        if move is None or move.target is None or not self._state.is_native_ring:
            return None
        return move

    def _replace(
        self, move: Move, host: MailHost, stamp: Stamp, *, is_ours: bool, after: Stamp | None
    ) -> None:
        """Another move of the user wins: what was reported for this one counts no more."""
        state = self._state
        assert move.target is not None
        state.note(
            "move_replaced", user_hash=move.user_hash, host=host.ip, instead_of=move.target.ip
        )
        self._reassign(move.pool, move.user_hash, host)
        move.target = host
        move.stamp = stamp
        move.after = after
        move.is_released = False
        move.is_ours = is_ours
        move.path = ()
        move.is_path_idle = True
        if move.flush_id is not None:
            self._by_flush.pop(move.flush_id)
            state.effects.append(AbortFlushProgram(move.flush_id))
            move.flush_id = None
        state.timers.cancel(("delay", move.pool.tag, move.user_hash))
        until = state.now + limits.MOVE_TIMEOUT_S
        state.timers.set(("move", move.pool.tag, move.user_hash), until)
        move.stage = Stage.KILLING
        if move.kick_id is None:
            self._close_sessions(move)

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
        quiet_s = self._state.settings.user_kick_delay_s + LIST_AGE_S_MAX
        is_quiet = (packed >> 16) + quiet_s < self._state.wall
        return OldHost(ip=old.ip, is_down=old.is_down, weight=old.weight, is_quiet=is_quiet)

    def kill(
        self,
        pool: Pool,
        user_hash: int,
        old: OldHost | None,
        host: MailHost | None,
        *,
        is_ours: bool,
        stamp: Stamp | None = None,
        after: Stamp | None = None,
    ) -> None:
        """Close the user's sessions here and wait until everybody has.

        `host` None: nobody was told of a move, so kick in any case and wait for nobody.
        """
        state = self._state
        key = pool.tag, user_hash
        if key in self._moves:
            return
        move = self._moves[key] = Move(
            pool=pool,
            user_hash=user_hash,
            old=old,
            is_ours=is_ours,
            target=host,
            stamp=stamp,
            after=after,
        )
        pool.mark_moving(user_hash)
        state.timers.set(("move", *key), state.now + limits.MOVE_TIMEOUT_S)
        self._close_sessions(move)

    def _close_sessions(self, move: Move) -> None:
        """Kick, unless that was done, or the user is on that host already or nowhere."""
        state = self._state
        is_elsewhere = move.target is None or (
            move.old is not None and move.old.ip != move.target.ip
        )
        if move.old is None or move.has_kicked or not is_elsewhere:
            self._local_done(move)
            return
        move.has_kicked = True
        move.kick_id = next(state.kick_ids)
        self._by_kick[move.kick_id] = move
        kick = KickHash(user_hash=move.user_hash, except_ip=None)
        state.effects.append(Kick(kick_id=move.kick_id, what=kick))

    # --- the stages -------------------------------------------------------------------------------

    def kick_finished(self, kick_id: int, error: str | None, *, was_idle: bool) -> None:
        """The shell closed sessions (or could not, which is noted and otherwise the same).

        `was_idle` tells that there were none for sure, as of a list that is LIST_AGE_S_MAX old.
        """
        if error is not None:
            self._state.note("kick_failed", kick=kick_id, error=error)
        move = self._by_kick.pop(kick_id, None)
        if move is not None:
            move.kick_id = None
            move.is_idle = was_idle and move.old is not None and move.old.is_quiet
            self._local_done(move)

    def _local_done(self, move: Move) -> None:
        if self._has_nobody_to_ask or move.target is None or move.is_released:
            is_alone = self._has_nobody_to_ask and move.is_ours and move.target is not None
            self._finish(move, is_idle=is_alone and move.is_idle)
        elif move.is_ours or move.stage is Stage.NOTIFY_RECEIVED:
            self._tell_right(move)
        else:
            move.stage = Stage.WAIT_NOTIFY

    @property
    def _has_nobody_to_ask(self) -> bool:
        """Tell whether there is no right neighbour, and in a native ring no hope for one."""
        state = self._state
        return state.right is None and (state.is_synced or not state.is_native_ring)

    def _tell_right(self, move: Move) -> None:
        if self._has_nobody_to_ask:
            self._finish(move, is_idle=False)
            return
        move.stage = Stage.WAIT_EVERYONE
        self._report(move, move.path)

    def _report(self, move: Move, path: tuple[DirectorAddress, ...]) -> None:
        """Tell the right neighbour, if there is one now, that sessions are closed here and before.

        In a native ring with all it takes to know of which move, and who has said so.
        """
        state = self._state
        report = UserKilled(move.user_hash, move.stamp)
        if state.is_native_ring and move.target is not None:
            is_idle = move.is_idle and (move.is_path_idle or not path)
            path = (*path, state.directors.own.address)
            report = attrs.evolve(
                report, path=path, ip=move.target.ip, after=move.after, is_idle=is_idle
            )
        if state.right is not None:
            state.right.send(report)

    def ring_synced(self) -> None:
        """Reports may have been lost while the ring was not whole: begin another round.

        Whoever was out of sync does, whether or not the move's initiator lives.
        """
        if not self._state.is_native_ring:
            return
        for move in list(self._moves.values()):
            move.path = ()
            move.is_path_idle = True
            if move.stage is Stage.KILLING:
                move.stage = Stage.NOTIFY_RECEIVED
            elif move.stage in (Stage.WAIT_NOTIFY, Stage.WAIT_EVERYONE):
                self._tell_right(move)

    def killed_received(self, message: UserKilled) -> None:
        """Everybody left of us has closed the user's sessions, from the move's initiator on.

        Or everybody on the path, if the report has one (DESIGN.md decision 21).
        """
        if message.path:
            self._round_received(message)
            return
        for pool in list(self._state.pools.values()):
            move = self._moves.get((pool.tag, message.user_hash))
            if move is None or not is_of(message.move, move):
                continue
            if move.stage is Stage.KILLING:
                move.stage = Stage.NOTIFY_RECEIVED
            elif move.stage is Stage.WAIT_NOTIFY:
                self._tell_right(move)
            elif move.stage is not Stage.NOTIFY_RECEIVED:
                self._tell_everybody(move.user_hash, move.stamp, is_idle=False)
                if move.stage is Stage.WAIT_EVERYONE:
                    self._finish(move, is_idle=False)

    def _round_received(self, message: UserKilled) -> None:
        """A round ends where it comes to somebody for the second time, or to whom it is over.

        Who has not heard of the move takes part in it; who knows a better one reports that.
        """
        host = self._state.hosts.get(message.ip) if message.ip is not None else None
        if host is None or message.move is None:
            return
        user_hash, stamp = message.user_hash, message.move
        key = host.tag, user_hash
        is_closed = self._state.directors.own.address in message.path
        has_ended = key not in self._moves and key in self._ended
        if not has_ended and not is_closed:
            if key not in self._moves:  # an export may have brought the new host before
                self._gossip.kick(KickHash(user_hash=user_hash, except_ip=host.ip))
            unheard = UserMoveMessage(
                stamp=stamp, user_hash=user_hash, ip=host.ip, after=message.after
            )
            self._take_part(unheard, host, stamp)
        move = self._moves.get(key)
        if move is not None and move.stamp != stamp:
            self._report(move, ())
        elif move is None or is_closed or move.stage in (Stage.FLUSHING, Stage.DELAY):
            is_idle = is_closed and message.is_idle
            self._tell_everybody(user_hash, stamp, is_idle=is_idle)
            if move is not None and move.stage is Stage.WAIT_EVERYONE:
                self._finish(move, is_idle=is_idle and move.is_idle)
        else:
            move.path = message.path
            move.is_path_idle = message.is_idle
            if move.stage in (Stage.KILLING, Stage.NOTIFY_RECEIVED):
                move.stage = Stage.NOTIFY_RECEIVED
            else:
                self._tell_right(move)

    def _tell_everybody(self, user_hash: int, move: Stamp | None, *, is_idle: bool) -> None:
        everywhere = UserKilledEverywhere(
            stamp=self._gossip.own_stamp(), user_hash=user_hash, move=move, is_idle=is_idle
        )
        self._gossip.flood(everywhere, exclude=None)

    def killed_everywhere_received(self, link: Link, message: UserKilledEverywhere) -> None:
        stamp = self._gossip.accept(message.stamp)
        if stamp is None:
            return
        is_forwarded = message.move is not None and self._state.is_native_ring
        for pool in list(self._state.pools.values()):
            move = self._moves.get((pool.tag, message.user_hash))
            if move is None or not is_of(message.move, move):
                continue
            is_named = message.move is not None and message.move == move.stamp
            if move.stage is Stage.WAIT_EVERYONE or (is_named and move.stage is Stage.WAIT_NOTIFY):
                self._finish(move, is_idle=message.is_idle and move.is_idle)
            elif is_named and move.stage in (Stage.KILLING, Stage.NOTIFY_RECEIVED):
                move.is_released = True  # a ring that is only just taking us in did not wait for us
            else:
                continue
            is_forwarded = True
        if is_forwarded:
            self._gossip.flood(attrs.evolve(message, stamp=stamp), exclude=link.director)

    def _finish(self, move: Move, *, is_idle: bool) -> None:
        """The user has no session anywhere: run the flush program, or let time pass.

        The time is for backends that are still closing; an idle user's have nothing to close.
        """
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
        elif is_idle and not state.settings.has_flush_program:
            self._end(move)
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
        A move that ends in time says it, among our own nodes, if it did hear of another host.
        """
        move = self._moves[tag, user_hash]
        self._state.note("move_timed_out", user_hash=user_hash, tag=tag, stage=move.stage.value)
        if move.flush_id is not None:
            self._by_flush.pop(move.flush_id)
            self._state.effects.append(AbortFlushProgram(move.flush_id))
        if move.kick_id is not None:
            self._by_kick.pop(move.kick_id)
        self._end(move, is_repeated=True)

    def _end(self, move: Move, *, is_repeated: bool = False) -> None:
        """The user is where it is to be; say so once more if somebody may believe otherwise."""
        pool, user_hash = move.pool, move.user_hash
        key = pool.tag, user_hash
        if pool.moving[user_hash] and self._state.is_native_ring:
            self._state.note("move_contradicted", user_hash=user_hash, tag=pool.tag)
            is_repeated = True
        del self._moves[key]
        self._remember(key, move.stamp)
        pool.clear_moving(user_hash)
        self._state.timers.cancel(("move", *key))
        self._state.timers.cancel(("delay", *key))
        self._state.settled_users.append(key)
        packed = self.live_entry(pool, user_hash) if is_repeated else ABSENT
        if packed != ABSENT:
            number, wall = packed & 0xFFFF, self._state.wall
            pool.table.store(user_hash, number, wall)
            self._gossip.flood_user(pool, user_hash, wall << 16 | number, exclude=None)

    def _remember(self, key: tuple[bytes, int], stamp: Stamp | None) -> None:
        """Keep the stamp of a move that has ended for as long as others may still delay."""
        now = self._state.now
        self._ended.pop(key, None)
        if stamp is not None:
            self._ended[key] = stamp, now
        while self._ended:
            oldest, (_, ended_at) = next(iter(self._ended.items()))
            if ended_at + ENDED_REMEMBERED_S > now:
                return
            del self._ended[oldest]
