"""A lookup service without an auth service: sockets whose name ends in `-authreply`.

The client sends lines as the auth service would and gets them back with hosts
(login-sockets.md section 7). No Dovecot program uses it; scripts can.
"""

from __future__ import annotations

import socket

from director.sessions.directory import Surroundings
from director.sessions.rewriter import HostFields, Rewriter
from director.sessions.stream import Stream
from ring import limits
from ring.codec import tabs
from ring.errors import RemoteProtocolError, excerpt

GREETING = b"VERSION\tdirector-authreply-server\t1\t0\n"
CLIENT = [b"VERSION", b"director-authreply-client", b"1"]


class AuthReply:
    """One connection; handler of its socket."""

    def __init__(
        self,
        surroundings: Surroundings,
        host_fields: HostFields,
        sock: socket.socket,
        *,
        listener: str,
    ) -> None:
        self._surroundings = surroundings
        self._stream = Stream(surroundings.poll_set, sock)
        self.name = f"{listener}({self._stream.describe_peer()})"
        self._rewriter = Rewriter(
            surroundings, host_fields, b"OK", self.name, self._stream.send_later
        )
        self._greeting = b""
        self._is_greeted = False

    def start(self) -> None:
        self._surroundings.roster.sessions.add(self)
        self._stream.start(self, is_reading=True)
        self._stream.send_later(GREETING)

    def close(self) -> None:
        self._stream.close()
        self._rewriter.close()
        self._surroundings.roster.sessions.discard(self)

    def readable(self) -> None:
        data = self._stream.receive()
        if not data:
            self.close()
            return
        if not self._is_greeted:
            data = self._take_greeting(data)
        if data := self._rewriter.rewrite(data):
            self._stream.send_later(data)
        if self._stream.output_bytes > limits.SESSION_OUTPUT_BYTES_MAX:
            self._stream.pause_reading()

    def writable(self) -> None:
        self._stream.flush()
        if self._stream.output_bytes <= limits.SESSION_OUTPUT_BYTES_MAX:
            self._stream.read_on()

    def failed(self, error: Exception) -> None:
        self._surroundings.directory.note("client_lost", connection=self.name, reason=str(error))
        self.close()

    def _take_greeting(self, data: bytes) -> bytes:
        """Return what follows the client's VERSION line, nothing while that is incomplete."""
        line, newline, rest = (self._greeting + data).partition(b"\n")
        if len(line) > limits.ADMIN_LINE_BYTES_MAX or (newline and tabs.split(line)[:3] != CLIENT):
            raise RemoteProtocolError(
                f"'{excerpt(line)}' as first line, expected '{excerpt(GREETING[:-1])}'"
                " with -client instead of -server"
            )
        self._greeting = b"" if newline else line
        self._is_greeted = bool(newline)
        return rest
