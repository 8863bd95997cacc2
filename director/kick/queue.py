"""Kicks on their way to Dovecot: taken without waiting, answered exactly once, in bounded time.

The daemon's node wants kicks while it handles an event; it cannot wait, and must not be called back
before that event is over. So `put` only stores, and a kick that finds the queue full is answered in
a later turn of the loop. Whoever performs kicks takes them in batches, because one list of sessions
or one command can serve many.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol, TypeAlias

import attrs
import trio

from ring import limits
from ring.effects import KickField, KickHash, KickName

KickTarget: TypeAlias = KickName | KickField | KickHash


class KickDone(Protocol):
    """Whoever wants to know the end of a kick.

    `was_idle` tells that there was nothing to close for sure, as of a list of sessions that was at
    most a second old when the kick began.
    """

    def __call__(self, error: str | None, /, *, was_idle: bool = False) -> None: ...


class Kicker(Protocol):
    """Closes sessions on this machine."""

    def kick(self, what: KickTarget, done: KickDone) -> None:
        """Close the sessions; `done(error or None)` is called once, later, in bounded time."""

    async def run(self) -> None:
        """Perform kicks until cancelled; those still open then are answered as failed."""


class KickFailed(Exception):
    """Dovecot did not do what was asked, or did not say so; the text is for the log."""


@attrs.define(eq=False)
class PendingKick:
    """A kick and who wants to know its end; `is_passed_on`: somebody else will finish it."""

    what: KickTarget
    done: KickDone
    deadline: float
    is_finished: bool = attrs.field(default=False, init=False)
    is_passed_on: bool = attrs.field(default=False, init=False)

    def finish(self, error: str | None, *, was_idle: bool = False) -> None:
        assert not self.is_finished, self.what
        self.is_finished = True
        self.done(error, was_idle=was_idle)


class KickQueue:
    """Bounded; first in, first out."""

    def __init__(self) -> None:
        channel = trio.open_memory_channel[PendingKick](limits.KICKS_WAITING_MAX)
        self._send, self._receive = channel

    def put(self, what: KickTarget, done: KickDone) -> None:
        """Store a kick; if there are too many, answer it in a later turn."""
        pending = PendingKick(what, done, trio.current_time() + limits.KICK_TIMEOUT_S)
        try:
            self._send.send_nowait(pending)
        except trio.WouldBlock:
            text = f"more than {limits.KICKS_WAITING_MAX} kicks are waiting"
            trio.lowlevel.current_trio_token().run_sync_soon(pending.finish, text)

    @asynccontextmanager
    async def take(self, count_max: int) -> AsyncIterator[list[PendingKick]]:
        """Wait for kicks and give at most `count_max`, those that waited too long left out.

        The block finishes them; what it leaves unfinished, because it was cancelled or failed, is
        answered as failed.
        """
        batch = await self.receive(count_max)
        try:
            yield batch
        finally:
            for pending in batch:
                if not pending.is_finished and not pending.is_passed_on:
                    pending.finish("given up")

    async def receive(self, count_max: int) -> list[PendingKick]:
        """Wait for kicks and return at most `count_max`, those that waited too long left out."""
        batch: list[PendingKick] = []
        while not batch:
            batch = self._in_time([await self._receive.receive(), *self._ready(count_max - 1)])
        return batch

    def receive_nowait(self, count_max: int) -> list[PendingKick]:
        """Return what `receive` would, or nothing."""
        return self._in_time(self._ready(count_max))

    def fail_all(self, error: str) -> None:
        """Answer everything that still waits: nobody will perform it any more."""
        for pending in self._ready(limits.KICKS_WAITING_MAX):
            pending.finish(error)

    def _ready(self, count_max: int) -> list[PendingKick]:
        ready: list[PendingKick] = []
        try:
            while len(ready) < count_max:
                ready.append(self._receive.receive_nowait())
        except trio.WouldBlock:
            pass
        return ready

    def _in_time(self, batch: list[PendingKick]) -> list[PendingKick]:
        now = trio.current_time()
        for pending in batch:
            if pending.deadline <= now:
                pending.finish("waited too long for Dovecot")
        return [pending for pending in batch if not pending.is_finished]
