"""One login process (or lmtp, or doveadm) and the auth service behind it.

Every client connection has its own upstream connection, so that process ids, cookies and request
ids stay the auth service's own and local logins keep working (login-sockets.md section 2.1):

    client -> auth    bytes as they come; only CANCEL is looked for, and only while a reply is held
    auth -> client    through the `Rewriter`: lines that need a host get one

Both generations of the protocol pass, because nothing is expected: 2.3 greets at once, 2.4 only
after its client has (dovecot-2.4-plug.md section 2).

An auth service that is away when a client comes is dialled again while the client waits, because a
connection that is closed before its first handshake makes login processes drop their clients
(dovecot-2.4-lab.md section 4). One that goes away later takes the client connection with it: what
was asked of it is lost, and login processes reconnect and ask again.

A side that does not read stops the other side from being read (`SESSION_OUTPUT_BYTES_MAX`).
"""

from __future__ import annotations

import socket
from pathlib import Path

from director.sessions.directory import Surroundings
from director.sessions.rewriter import HostFields, Rewriter
from director.sessions.stream import Stream
from ring import limits

CANCEL = b"CANCEL\t"


class Relay:
    """One client connection with its upstream connection; handler of the client's socket."""

    def __init__(
        self,
        surroundings: Surroundings,
        host_fields: HostFields,
        sock: socket.socket,
        *,
        listener: str,
        keyword: bytes,
        auth_path: Path,
    ) -> None:
        """`keyword` begins the lines that may need a host: OK for logins, PASS for userdb."""
        self._surroundings = surroundings
        self._poll_set = surroundings.poll_set
        self._auth_path = auth_path
        self._client = Stream(surroundings.poll_set, sock)
        self._auth: Stream | None = None
        self.name = f"{listener}({self._client.describe_peer()})"
        self.rewriter = Rewriter(surroundings, host_fields, keyword, self.name, self._deliver)
        self._line_start = b""
        self._retries_left = round(limits.AUTH_WAIT_S / limits.AUTH_RETRY_S)

    def start(self) -> None:
        self._surroundings.roster.sessions.add(self)
        self._client.start(self, is_reading=False)
        self._dial()

    def close(self) -> None:
        """Close both connections and forget what is held; doing it twice is harmless."""
        self._client.close()
        if self._auth is not None:
            self._auth.close()
        self.rewriter.close()
        self._surroundings.roster.sessions.discard(self)

    # --- upstream ---------------------------------------------------------------------------------

    def _dial(self) -> None:
        if not self._client.is_open:
            return
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            sock.connect(str(self._auth_path))
        except OSError as error:  # BlockingIOError too: its queue is full
            sock.close()
            self._retry(error)
            return
        self._auth = Stream(self._poll_set, sock)
        self._auth.start(_AuthSide(self, self._auth), is_reading=True)
        self._client.read_on()

    def _retry(self, error: OSError) -> None:
        if self._retries_left == round(limits.AUTH_WAIT_S / limits.AUTH_RETRY_S):
            self._note("auth_waited_for", error)
        self._retries_left -= 1
        if self._retries_left <= 0:
            self._note("auth_not_found", error)
            self.close()
            return
        self._poll_set.call_later(limits.AUTH_RETRY_S, self._dial)

    def auth_readable(self, auth: Stream) -> None:
        """Pass on what the auth service says. hot: bench login"""
        data = auth.receive()
        if not data:
            raise ConnectionResetError("the auth service closed the connection")
        data = self.rewriter.rewrite(data)
        if data:
            try:
                self._client.send(data)
            except OSError as error:
                self.failed(error)
                return
            if self._client.output_bytes > limits.SESSION_OUTPUT_BYTES_MAX:
                auth.pause_reading()

    def auth_writable(self, auth: Stream) -> None:
        auth.flush()
        if auth.output_bytes <= limits.SESSION_OUTPUT_BYTES_MAX:
            self._client.read_on()

    def auth_failed(self, error: Exception) -> None:
        """The auth service went away, or sent a line that nobody takes."""
        self._note("auth_connection_lost", error)
        self.close()

    # --- the client -------------------------------------------------------------------------------

    def readable(self) -> None:
        """Pass on what the client says. hot: bench login"""
        data = self._client.receive()
        if not data:
            self.close()
            return
        auth = self._auth
        assert auth is not None
        if self.rewriter.held:
            self._drop_cancelled(self._line_start + data)
        line_end = data.rfind(b"\n") + 1
        self._line_start = data[line_end:] if line_end else self._line_start + data
        if len(self._line_start) > limits.AUTH_LINE_BYTES_MAX:
            self._line_start = self._line_start[: len(CANCEL)]  # too long to be a CANCEL
        try:
            auth.send(data)
        except OSError as error:
            self.auth_failed(error)
            return
        if auth.output_bytes > limits.SESSION_OUTPUT_BYTES_MAX:
            self._client.pause_reading()

    def writable(self) -> None:
        self._client.flush()
        if self._auth is not None and self._client.output_bytes <= limits.SESSION_OUTPUT_BYTES_MAX:
            self._auth.read_on()

    def failed(self, error: Exception) -> None:
        """The client went away."""
        self._surroundings.directory.note("client_lost", connection=self.name, reason=str(error))
        self.close()

    def _drop_cancelled(self, data: bytes) -> None:
        """The client gave up requests: replies held for them are not wanted (section 3.6)."""
        for line in data.split(b"\n")[:-1]:
            if line.startswith(CANCEL):
                self.rewriter.cancel(line[len(CANCEL) :].partition(b"\t")[0])

    def _deliver(self, data: bytes) -> None:
        self._client.send_later(data)

    def _note(self, kind: str, error: Exception) -> None:
        self._surroundings.directory.note(
            kind, connection=self.name, auth=str(self._auth_path), reason=str(error)
        )


class _AuthSide:
    """Handler of a relay's upstream socket."""

    __slots__ = ("_relay", "_stream")

    def __init__(self, relay: Relay, stream: Stream) -> None:
        self._relay = relay
        self._stream = stream

    def readable(self) -> None:
        self._relay.auth_readable(self._stream)

    def writable(self) -> None:
        self._relay.auth_writable(self._stream)

    def failed(self, error: Exception) -> None:
        self._relay.auth_failed(error)
