"""Accepts local clients and hands each to whoever speaks its protocol.

At most `ACCEPTS_MAX` a time, so that a crowd at one door does not keep the others waiting. When
descriptors or sessions run out the listener rests for `ACCEPT_PAUSE_S`: the clients stay in its
queue, nothing spins, and one line is logged until there is room again.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from director.pollset import READ
from director.sessions.directory import Surroundings
from ring import limits


class SessionListener:
    """Handler of one listening socket, which it owns."""

    def __init__(
        self,
        surroundings: Surroundings,
        sock: socket.socket,
        welcome: Callable[[socket.socket], None],
        *,
        name: str,
    ) -> None:
        """`welcome` takes over a connected socket."""
        sock.setblocking(False)
        self._surroundings = surroundings
        self._socket = sock
        self._welcome = welcome
        self._name = name
        self._is_open = False
        self._is_short = False

    def start(self) -> None:
        self._is_open = True
        self._surroundings.poll_set.add(self._socket.fileno(), self)

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._surroundings.poll_set.discard(self._socket)

    def readable(self) -> None:
        for _ in range(limits.ACCEPTS_MAX):
            if self._surroundings.roster.is_full:
                self._rest(f"{len(self._surroundings.roster.sessions)} sessions")
                return
            try:
                sock, _ = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # nearly always: out of descriptors
                self._rest(str(error))
                return
            self._is_short = False
            self._welcome(sock)

    def writable(self) -> None:
        raise AssertionError("a listener is never written to")

    def failed(self, error: Exception) -> None:
        self._surroundings.directory.note("listener_lost", listener=self._name, reason=str(error))
        self.close()

    def _rest(self, reason: str) -> None:
        if not self._is_short:
            self._surroundings.directory.note("accept_paused", listener=self._name, reason=reason)
        self._is_short = True
        self._surroundings.poll_set.set_events(self._socket.fileno(), 0)
        self._surroundings.poll_set.call_later(limits.ACCEPT_PAUSE_S, self._resume)

    def _resume(self) -> None:
        if self._is_open:
            self._surroundings.poll_set.set_events(self._socket.fileno(), READ)
