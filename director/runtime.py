"""Owns the node: tells it what happens, gives it time, and performs what it wants done.

Everything here is synchronous, and that is the lock around the node: a stimulus and the performing
of its effects are never apart by an `await`. Three callers drive it:

- the poll set calls the `Directory` methods while it serves local sockets, and `settle` once after
  each turn, so a hundred logins share one look at the effects;
- ring links (`peers.py`) call `received` and friends, which settle themselves;
- the clock task ticks the node when its deadline comes, and tells it the wall time every second.

`settle` performs effects in order, in one place, by a table; whoever is called there may give the
node new stimuli, whose effects come behind. Then it wakes the links that have something to send.
Nothing is awaited: what takes time (dialling, kicking, running a program) is started as a task by
whoever performs it, and reports back through a method of this class.

Rejected: a channel of effects to a performing task (10 us for each, and effects would be performed
after the world has changed again).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import attrs
import trio

from director.kick.queue import Kicker
from director.log import Log
from ring import limits
from ring.address import IpAddress
from ring.commands import Answer, Command
from ring.effects import (
    AbortFlushProgram,
    CommandAnswered,
    Dial,
    Effect,
    Hangup,
    Kick,
    LinkId,
    LookupAnswered,
    Noted,
    RunFlushProgram,
)
from ring.hashing import UserHasher
from ring.hosts import MailHost
from ring.link import Link
from ring.node import RingNode
from ring.settings import NodeSettings

_CLOCK_INTERVAL_S = 1.0
"""The node learns the wall time at least this often (ring/DESIGN.md number 2)."""


class LookupToken(Protocol):
    """Whoever waits for a host; one object per lookup, known by its identity."""

    def lookup_answered(self, answer: LookupAnswered) -> None: ...


class CommandToken(Protocol):
    """Whoever waits for an administrator's command; one object per command."""

    def command_answered(self, answer: Answer) -> None: ...


class Links(Protocol):
    """Performs what concerns ring connections (`peers.py`)."""

    def dial(self, effect: Dial) -> None: ...

    def hang_up(self, effect: Hangup) -> None: ...

    def wake(self, link_id: LinkId) -> bool:
        """The link has something to send; return whether a task was woken for it."""


class Flushes(Protocol):
    """Runs flush programs; `done` gets whether the program succeeded."""

    def start(self, effect: RunFlushProgram, done: Callable[[bool], None]) -> None: ...

    def abort(self, flush_id: int) -> None: ...


@attrs.frozen(kw_only=True)
class Performers:
    """Who performs the effects that take time; `flushes` is None without a flush program."""

    links: Links
    kicker: Kicker
    flushes: Flushes | None


class Runtime:
    """See the module's docstring. Implements `director.sessions.directory.Directory`."""

    def __init__(
        self,
        settings: NodeSettings,
        hasher: UserHasher,
        log: Log,
        *,
        proxy_refresh_s: int | None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.log = log
        self.proxy_refresh_s = proxy_refresh_s
        self.hash_user = hasher.hash
        self.hash_users = hasher.hash_many
        self._clock = clock
        self._wall = wall
        self.node = RingNode(settings, clock(), wall())
        self._is_settling = False
        self._nap: trio.CancelScope | None = None
        self._nap_ends_at = -math.inf
        # Any: each function takes the type it is registered for.
        self._perform: dict[type[Effect], Callable[[Any], None]] = {}

    def attach(self, performers: Performers) -> None:
        """Say who performs effects, and perform what has gathered since the node was made."""
        assert not self._perform, "attached twice"
        flushes, kicker = performers.flushes, performers.kicker
        self._perform = {
            Dial: performers.links.dial,
            Hangup: performers.links.hang_up,
            LookupAnswered: _answer_lookup,
            CommandAnswered: _answer_command,
            Kick: lambda effect: kicker.kick(
                effect.what, partial(self._kick_finished, effect.kick_id)
            ),
            Noted: lambda effect: self.log.note(effect.kind, effect.fields),
        }
        if flushes is not None:
            self._perform[RunFlushProgram] = lambda effect: flushes.start(
                effect, lambda is_success: self._flush_finished(effect.flush_id, is_success)
            )
            self._perform[AbortFlushProgram] = lambda effect: flushes.abort(effect.flush_id)
        self._wake_link = performers.links.wake
        self.settle()

    def now(self) -> float:
        """Return the node's monotonic time."""
        return self._clock()

    def wall(self) -> float:
        """Return Unix seconds."""
        return self._wall()

    def take_output(self, link: Link) -> bytes:
        """Return what is to be sent over a link next, nothing if there is nothing."""
        return link.take_output(limits.SEND_BYTES, int(self._wall()))

    # --- local sessions, inside a turn of the poll set ------------------------------------------
    # mypy does not believe that every object is hashable, hence `type: ignore` for the tokens.

    def lookup_many(self, user_hashes: Sequence[int], tag: bytes) -> list[MailHost | None]:
        # hot: bench login
        return self.node.lookup_many(user_hashes, tag, self._clock())

    def lookup(self, token: LookupToken, user_hash: int, tag: bytes) -> MailHost | None:
        return self.node.lookup(token, user_hash, tag, self._clock())  # type: ignore[arg-type]

    def abandon(self, token: LookupToken) -> None:
        self.node.abandon(token)  # type: ignore[arg-type]

    def refresh(self, user_hash: int) -> None:
        self.node.refresh(user_hash, self._clock())

    def note(self, kind: str, **fields: object) -> None:
        self.log.note(kind, fields.items())

    def log_noted(self, noted: Noted) -> None:
        """Write what something other than the node noted."""
        self.log.note(noted.kind, noted.fields)

    def command(self, token: CommandToken, command: Command) -> None:
        """Run an administrator's command; the token is answered after the next `settle`."""
        self.node.command(token, command, self._clock())  # type: ignore[arg-type]

    # --- ring links -----------------------------------------------------------------------------

    def link_accepted(self, source_ip: IpAddress) -> LinkId | None:
        link_id = self.node.link_accepted(source_ip, self._clock())
        self.settle()
        return link_id

    def link_connected(self, link_id: LinkId) -> None:
        self.node.link_connected(link_id, self._clock())
        self.settle()

    def link_failed(self, link_id: LinkId, reason: str) -> None:
        self.node.link_failed(link_id, reason, self._clock())
        self.settle()

    def link_lost(self, link_id: LinkId, reason: str) -> None:
        self.node.link_lost(link_id, reason, self._clock())
        self.settle()

    def received(self, link_id: LinkId, data: bytes) -> None:
        self.node.received(link_id, data, self._clock())
        self.settle()

    # --- time and effects -----------------------------------------------------------------------

    def settle(self) -> bool:
        """Perform all effects, wake the links with output, and be awake at the deadline.

        Returns whether other tasks were given something to do.
        """
        if self._is_settling:
            return (
                True  # somebody we called gave a stimulus: the loop below goes on with its effects
            )
        node, perform = self.node, self._perform
        self._is_settling = True
        has_woken = False
        try:
            while effects := node.drain():
                for effect in effects:
                    perform[type(effect)](effect)
                has_woken = True
        finally:
            self._is_settling = False
        for link_id in node.links_with_output():
            has_woken |= self._wake_link(link_id)
        if node.deadline < self._nap_ends_at and self._nap is not None:
            self._nap_ends_at = -math.inf
            self._nap.cancel()
            has_woken = True
        return has_woken

    async def run_clock(self) -> None:
        """Tick the node when its time comes; ends only by cancellation."""
        while True:
            now = self._clock()
            self.node.set_clock(now, self._wall())
            if self.node.deadline <= now:
                self.node.tick(now)
                self.settle()
            ends_at = min(self.node.deadline, now + _CLOCK_INTERVAL_S)
            with trio.CancelScope() as self._nap:
                self._nap_ends_at = ends_at
                await trio.sleep(max(0.0, ends_at - self._clock()))
            self._nap = None

    def shut_down(self) -> None:
        """Say goodbye to the neighbours; give the links time to send it."""
        self.node.shut_down(self._clock())
        self.settle()

    def _kick_finished(self, kick_id: int, error: str | None, *, was_idle: bool = False) -> None:
        self.node.kick_finished(kick_id, error, self._clock(), was_idle=was_idle)
        self.settle()

    def _flush_finished(self, flush_id: int, is_success: bool) -> None:
        self.node.flush_finished(flush_id, is_success, self._clock())
        self.settle()


def _answer_lookup(effect: LookupAnswered) -> None:
    token: LookupToken = effect.token  # type: ignore[assignment]  # what `lookup` was given
    token.lookup_answered(effect)


def _answer_command(effect: CommandAnswered) -> None:
    token: CommandToken = effect.token  # type: ignore[assignment]  # what `command` was given
    token.command_answered(effect.answer)
