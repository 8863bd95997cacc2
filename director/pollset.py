"""One trio task that serves every local socket with plain non-blocking calls.

It decides whose turn it is; what the bytes mean is the handlers' business. The local sockets are
the hot path: a trio stream per connection costs two scheduler passes per request (17-36 thousand
requests a second on one core), one task that waits on its own epoll descriptor, itself pollable,
reaches 76-105 thousand (DESIGN section 5).

A *turn* serves what is ready until `limits.POLL_TURN_S` have passed, calls `after_turn` once (the
runtime performs the node's effects there, and says whether others have work now), then lets
everybody else run, or lingers for the next event if nobody has anything to do. One `epoll` answer
of at most `limits.POLL_DESCRIPTORS_MAX` descriptors is a *batch*; a batch that needs more than one
turn is finished before the next is asked for, so nobody starves, however busy the others are.

While requests come in crowds (`gather`) there is at most one turn per `limits.POLL_GATHER_S`, so
that they travel together: with the real auth service a read then brings 20 replies and not 5, and a
login costs 40 % less CPU. Who asks one thing at a time is never made to wait.

Rules for handlers:

- Interest is level-triggered: a handler that does not read is called again. It reads a bounded
  amount (`limits.SESSION_READ_BYTES`) and returns.
- A call that would block may raise `BlockingIOError`: the wake-up was spurious, nothing happens.
- `OSError` and `RemoteProtocolError` out of a handler end in its own `failed`, and only there: the
  one place per connection where a remote error is caught. Everything else propagates.
- A socket is given back with `discard`, never closed by hand: it stays open until the batch is
  done, so that its number cannot return with a new connection while old events still name it.

Rejected: edge-triggered events (a handler would have to drain its socket before its turn ends); a
byte budget instead of a time budget (a byte costs 3 ns to relay and 30 ns to look up).
"""

from __future__ import annotations

import math
import os
import select
import time
from collections.abc import Callable
from typing import Protocol

import trio

from ring import limits
from ring.errors import RemoteProtocolError
from ring.timers import Timers

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
_GONE = select.EPOLLHUP | select.EPOLLERR


class Handler(Protocol):
    """What happens on one descriptor."""

    def readable(self) -> None:
        """Read something, once, without blocking."""

    def writable(self) -> None:
        """Send what could not be sent before."""

    def failed(self, error: Exception) -> None:
        """The descriptor is of no use any more: discard it and what hangs on it.

        Called after an error out of the methods above, and when the other end is gone while
        nobody was reading.
        """


class Closable(Protocol):
    """A socket or an unbuffered file."""

    def fileno(self) -> int: ...

    def close(self) -> None: ...


class PollSet:
    """See the module's docstring. `clock` is any monotonic number of seconds."""

    def __init__(
        self,
        after_turn: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._after_turn = after_turn
        self._others_have_work = False
        self._clock = clock
        self._sleep = sleep
        self._gathers_until = -math.inf
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._ready: list[tuple[int, int]] = []
        self._is_serving = False
        self._discarded: list[Closable] = []
        self._timers: Timers[Callable[[], None]] = Timers()
        self._is_napping = False
        self._alarm = os.eventfd(0)
        """Wakes a nap when a timer is set. Edge-triggered, so it need not be read, ever."""
        self._epoll.register(self._alarm, select.EPOLLIN | select.EPOLLET)

    def __len__(self) -> int:
        return len(self._handlers)

    def add(self, descriptor: int, handler: Handler, events: int = READ) -> None:
        """Serve a descriptor; it must be non-blocking, and stays the caller's to discard."""
        assert descriptor not in self._handlers
        self._epoll.register(descriptor, events)
        self._handlers[descriptor] = handler

    def set_events(self, descriptor: int, events: int) -> None:
        """Be called for READ, WRITE, both, or (0) only when the other end is gone."""
        assert descriptor in self._handlers
        self._epoll.modify(descriptor, events)

    def remove(self, descriptor: int) -> None:
        """Serve it no more, without closing it; it need not be served."""
        if self._handlers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def discard(self, thing: Closable) -> None:
        """Serve it no more and close it as soon as that is safe, at the latest before waiting."""
        self.remove(thing.fileno())
        if self._is_serving or self._ready:
            self._discarded.append(thing)
        else:
            thing.close()

    def now(self) -> float:
        """Return the seconds that `call_later` counts."""
        return self._clock()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Call once after `delay_s`; the same callback again replaces its earlier time.

        With 0 it is called in the next turn, never in this one.
        """
        self._timers.set(callback, self._clock() + delay_s)
        if self._is_napping:
            os.eventfd_write(self._alarm, 1)

    def gather(self) -> None:
        """Requests come in crowds: for a while, let them gather before each turn."""
        self._gathers_until = self._clock() + limits.POLL_CROWD_S

    @property
    def is_gathering(self) -> bool:
        return self._clock() < self._gathers_until

    def turn(self) -> bool:
        """Serve what is ready, without waiting; return whether more of the batch is left."""
        ends_at = self._clock() + limits.POLL_TURN_S
        self._is_serving = True
        if self._timers:
            self._call_due()
        if not self._ready:
            self._ready = self._epoll.poll(0, limits.POLL_DESCRIPTORS_MAX)
            self._ready.reverse()
        ready, handlers, clock = self._ready, self._handlers, self._clock
        while ready:  # hot: bench login
            descriptor, events = ready.pop()
            handler = handlers.get(descriptor)
            if handler is None:
                continue
            try:
                if events & READ:
                    handler.readable()
                elif events & _GONE:
                    raise ConnectionResetError("the other end is gone")
                if events & WRITE and handlers.get(descriptor) is handler:
                    handler.writable()
            except BlockingIOError:
                pass  # a spurious wake-up: there will be another event
            except (OSError, RemoteProtocolError) as error:
                if handlers.get(descriptor) is handler:
                    handler.failed(error)
            if clock() >= ends_at:
                break
        self._is_serving = False
        self._others_have_work = self._after_turn()
        if not ready:
            self._close_discarded()
        return bool(ready)

    def _take_turns(self) -> bool:
        """Take turns as long as events come quickly; return whether more of a batch is left.

        The answer to what was just passed on comes within some 0.1 ms; to wait for it through trio
        costs as much again. Measured with one request in flight: 53 us instead of 84 a login, and
        42 us of CPU instead of 75.
        """
        ends_at = self._clock() + limits.POLL_TURN_S
        while True:
            if not self._ready and self.is_gathering:
                self._sleep(limits.POLL_GATHER_S)
            if self.turn():
                return True
            next_timer_at = self._timers.deadline - limits.POLL_LINGER_S
            if self._others_have_work or self._clock() >= min(ends_at, next_timer_at):
                return False
            if self.is_gathering:
                continue
            self._ready = self._epoll.poll(limits.POLL_LINGER_S, limits.POLL_DESCRIPTORS_MAX)
            if not self._ready:
                return False
            self._ready.reverse()

    async def run(self) -> None:
        """Serve for ever; cancel it to stop."""
        while True:
            if self._take_turns():
                await trio.lowlevel.checkpoint()
                continue
            self._is_napping = True
            try:
                await self._nap()
            finally:
                self._is_napping = False

    def close(self) -> None:
        """Close its own descriptors; everything served must have been discarded or removed."""
        self._close_discarded()
        self._epoll.close()
        os.close(self._alarm)

    async def _nap(self) -> None:
        """Wait for a descriptor, the alarm or the next timer.

        A cancel scope costs a third of a nap, and timers are rare: none without one.
        """
        if not self._timers:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            return
        with trio.move_on_after(max(0.0, self._timers.deadline - self._clock())):
            await trio.lowlevel.wait_readable(self._epoll.fileno())

    def _call_due(self) -> None:
        now, due = self._clock(), []
        while (callback := self._timers.pop_due(now)) is not None:
            due.append(callback)  # first all, then call: one may set itself again
        for callback in due:
            callback()

    def _close_discarded(self) -> None:
        while self._discarded:
            self._discarded.pop().close()
