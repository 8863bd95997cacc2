"""Dials the auth service for relays, and again for those that found it away.

A login process whose connection is closed before its first handshake drops its clients
(dovecot-2.4-lab.md section 4), so a client that comes while auth restarts is held for up to
`AUTH_WAIT_S`. All who wait share one timer, and one failed attempt per `AUTH_RETRY_S` speaks for
all of them: ten thousand waiting clients cost no more than one. An outage is one log line when it
begins and one when it ends, and one for each client that was given up.

A connection to a unix socket is there at once or not at all, so nothing here is asynchronous.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Protocol

from director.sessions.directory import Surroundings
from ring import limits


class Waiter(Protocol):
    """A relay without an upstream connection. `give_up_at` is by the clock of the poll set."""

    @property
    def give_up_at(self) -> float: ...

    def auth_connected(self, sock: socket.socket) -> None: ...

    def auth_not_found(self, error: OSError) -> None: ...


class AuthService:
    """One socket of the auth service; shared by all relays to it."""

    def __init__(self, surroundings: Surroundings, path: Path) -> None:
        self.path = path
        self._surroundings = surroundings
        self._waiting: dict[Waiter, None] = {}

    def connect_for(self, waiter: Waiter) -> None:
        """Call `auth_connected`, now or later, or `auth_not_found` when it has waited too long."""
        try:
            sock = self._connect()
        except OSError as error:
            self.wait_for(waiter, error)
            return
        waiter.auth_connected(sock)

    def wait_for(self, waiter: Waiter, error: OSError) -> None:
        """Do the same, but not now: a connection has just failed."""
        if waiter.give_up_at <= self._surroundings.poll_set.now():
            waiter.auth_not_found(error)
            return
        if not self._waiting:
            self._surroundings.directory.note("auth_waited_for", auth=self.path, reason=error)
            self._surroundings.poll_set.call_later(limits.AUTH_RETRY_S, self._retry)
        self._waiting[waiter] = None

    def forget(self, waiter: Waiter) -> None:
        """The relay was closed; it need not be waiting."""
        self._waiting.pop(waiter, None)

    def _connect(self) -> socket.socket:
        """Raises OSError; BlockingIOError means that the queue of the service is full."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(str(self.path))
        except OSError:
            sock.close()
            raise
        return sock

    def _retry(self) -> None:
        for waiter in list(self._waiting)[: limits.ACCEPTS_MAX]:
            try:
                sock = self._connect()
            except OSError as error:
                self._give_up(error)
                break
            del self._waiting[waiter]
            waiter.auth_connected(sock)
        if self._waiting:
            self._surroundings.poll_set.call_later(limits.AUTH_RETRY_S, self._retry)
        else:
            self._surroundings.directory.note("auth_found", auth=self.path)

    def _give_up(self, error: OSError) -> None:
        now = self._surroundings.poll_set.now()
        for waiter in [waiter for waiter in self._waiting if waiter.give_up_at <= now]:
            del self._waiting[waiter]
            waiter.auth_not_found(error)
