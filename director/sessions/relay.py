"""One login process (or lmtp, or doveadm) and the auth service behind it.

Every client connection has its own upstream connection, so that process ids, cookies and request
ids stay the auth service's own and local logins keep working (login-sockets.md section 2.1):

    client -> auth    bytes as they come; only CANCEL is looked for, and only while a reply is held
    auth -> client    through the `Rewriter`: lines that need a host get one

Both generations of the protocol pass, because nothing is expected: 2.3 greets at once, 2.4 only
after its client has (dovecot-2.4-plug.md section 2).

An auth service that is away when a client comes is waited for (`auth_service`), and so is one that
dies before its first byte: what the client has said until then is said again. One that goes away
later takes the client connection with it: what was asked of it is lost, and login processes
reconnect and ask again.

A side that does not read stops the other side from being read (`SESSION_OUTPUT_BYTES_MAX`).

A daemon that ends leaves its relays to its successor (`keeping`): `marks[slot]` is set while
something was read and not yet passed on.
"""

from __future__ import annotations

import socket

from director.pollset import PollSet
from director.sessions.auth_service import AuthService
from director.sessions.directory import Surroundings
from director.sessions.keeping import CLEAN, MARKED, UNKEPT, Marks
from director.sessions.rewriter import HostFields, Rewriter
from director.sessions.stream import Stream
from ring import limits
from ring.errors import LimitExceeded, excerpt

CANCEL = b"CANCEL\t"


class Relay:
    """One client connection with its upstream connection; handler of the client's socket."""

    __slots__ = (
        "_auth",
        "_auth_service",
        "_line_start",
        "_surroundings",
        "client",
        "give_up_at",
        "label",
        "marks",
        "name",
        "rewriter",
        "slot",
        "unanswered",
    )

    def __init__(
        self,
        surroundings: Surroundings,
        host_fields: HostFields,
        auth_service: AuthService,
        sock: socket.socket,
        *,
        listener: str,
        keyword: bytes,
    ) -> None:
        """`keyword` begins the lines that may need a host: OK for logins, PASS for userdb."""
        self._surroundings = surroundings
        self._auth_service = auth_service
        self.client = Stream(surroundings.poll_set, sock)
        self._auth: Stream | None = None
        self.label = listener.encode()
        self.marks: Marks = surroundings.keeping.scrap
        self.slot = UNKEPT
        self.name = f"{listener}({self.client.describe_peer()})"
        self.rewriter = Rewriter(
            surroundings, host_fields, keyword, self.name, self.client.send_later
        )
        self._line_start = b""
        self.unanswered: bytes | None = b""
        """What the client has said as long as the auth service has said nothing, then None."""
        self.give_up_at = surroundings.poll_set.now() + limits.AUTH_WAIT_S

    def start(self) -> None:
        self._surroundings.roster.sessions.add(self)
        self.client.start(self, is_reading=False)
        self._auth_service.connect_for(self)

    def resume(self, auth: socket.socket) -> None:
        """Go on where our predecessor stopped."""
        self._surroundings.roster.sessions.add(self)
        self.unanswered = None
        self._start_auth(auth)
        self.client.start(self, is_reading=True)

    def close(self) -> None:
        """Close both connections and forget what is held; doing it twice is harmless."""
        self._auth_service.forget(self)
        if self.slot != UNKEPT:
            self.client.hang_up()
            if self._auth is not None:
                self._auth.hang_up()
        self._surroundings.keeping.forget(self)
        self.leave()

    # --- for our successor ------------------------------------------------------------------------

    def descriptors(self) -> tuple[int, int] | None:
        if self._auth is None or not self.client.is_open:
            return None
        return self.client.descriptor, self._auth.descriptor

    def mark(self) -> int:
        """Say in the mark whether something was read and not passed on, and return that."""
        # hot: bench login
        auth, rewriter = self._auth, self.rewriter
        is_busy = (
            rewriter.held
            or rewriter.partial
            or self.client.output
            or (auth is not None and auth.output)
        )
        mark = self.marks[self.slot] = MARKED if is_busy else CLEAN
        return mark

    def leave(self) -> None:
        """Serve it no more; the connections end if nobody keeps them."""
        self.client.close()
        if self._auth is not None:
            self._auth.close()
        self.rewriter.close()
        self._surroundings.roster.sessions.discard(self)

    # --- the auth service -------------------------------------------------------------------------

    def auth_connected(self, sock: socket.socket) -> None:
        auth = self._start_auth(sock)
        if self.unanswered:
            auth.send_later(self.unanswered)
        self._surroundings.keeping.add(self)
        self.client.read_on()

    def _start_auth(self, sock: socket.socket) -> Stream:
        poll_set = self._surroundings.poll_set
        self._auth = Stream(poll_set, sock)
        self._auth.start(_AuthSide(poll_set, self, self._auth), is_reading=True)
        return self._auth

    def auth_not_found(self, error: OSError) -> None:
        self._note("auth_not_found", error)
        self.close()

    def auth_failed(self, error: Exception) -> None:
        """The auth service went away, or sent a line that nobody takes."""
        if self.unanswered is not None and isinstance(error, OSError):
            self._redial(error)
        else:
            self._note("auth_connection_lost", error)
            self.close()

    def _redial(self, error: OSError) -> None:
        """It went away before it said anything: as if it had not been there."""
        assert self._auth is not None
        self._surroundings.keeping.forget(self)
        self._auth.close()
        self._auth = None
        self.client.pause_reading()
        self._auth_service.wait_for(self, error)

    def _note(self, kind: str, error: Exception) -> None:
        self._surroundings.directory.note(
            kind, connection=self.name, auth=self._auth_service.path, reason=error
        )

    # --- the client -------------------------------------------------------------------------------

    def readable(self) -> None:
        """Pass on what the client says."""
        # hot: bench login
        auth = self._auth
        if auth is None:
            return  # an event from before the auth service went away
        self.marks[self.slot] = MARKED
        data = self.client.receive()
        if not data:
            self.close()
            return
        if self.rewriter.held:
            self._drop_cancelled(self._line_start + data)
        if data.endswith(b"\n"):
            self._line_start = b""
        else:
            self._remember_line_start(data)
        if self.unanswered is not None:
            self.unanswered += data
            if len(self.unanswered) > limits.AUTH_LINE_BYTES_MAX:
                self.unanswered = None  # more than a greeting: it cannot be said again
        try:
            auth.send(data)
        except OSError as error:
            self.auth_failed(error)
            return
        if auth.output_bytes > limits.SESSION_OUTPUT_BYTES_MAX:
            self.client.pause_reading()
        self.mark()

    def writable(self) -> None:
        self.client.flush()
        self.mark()
        if self._auth is not None and self.client.output_bytes <= limits.SESSION_OUTPUT_BYTES_MAX:
            self._auth.read_on()

    def failed(self, error: Exception) -> None:
        """The client went away, or broke a limit."""
        self._surroundings.directory.note("client_lost", connection=self.name, reason=error)
        self.close()

    def _remember_line_start(self, data: bytes) -> None:
        """Keep what may be the beginning of a CANCEL."""
        line_end = data.rfind(b"\n") + 1
        self._line_start = data[line_end:] if line_end else self._line_start + data
        if len(self._line_start) > limits.AUTH_LINE_BYTES_MAX:
            raise LimitExceeded(
                f"a line that begins with '{excerpt(self._line_start[:8])}' has more than"
                f" {limits.AUTH_LINE_BYTES_MAX} bytes (AUTH_LINE_BYTES_MAX)"
            )

    def _drop_cancelled(self, data: bytes) -> None:
        """The client gave up requests: replies held for them are not wanted (section 3)."""
        for line in data.split(b"\n")[:-1]:
            if line.startswith(CANCEL):
                self.rewriter.cancel(line[len(CANCEL) :].partition(b"\t")[0])


class _AuthSide:
    """Handler of a relay's upstream socket."""

    __slots__ = ("_client", "_poll_set", "_relay", "_rewriter", "_stream")

    def __init__(self, poll_set: PollSet, relay: Relay, stream: Stream) -> None:
        self._poll_set = poll_set
        self._relay = relay
        self._client = relay.client
        self._rewriter = relay.rewriter
        self._stream = stream

    def readable(self) -> None:
        """Pass on what the auth service says."""
        # hot: bench login
        relay = self._relay
        relay.marks[relay.slot] = MARKED
        data = self._stream.receive()
        if not data:
            raise ConnectionResetError("the auth service closed the connection")
        relay.unanswered = None
        data = self._rewriter.rewrite(data)
        if not data:
            relay.mark()
            return
        if data.count(b"\n") > 1:
            self._poll_set.gather()
        client = self._client
        try:
            client.send(data)
        except OSError as error:
            relay.failed(error)
            return
        if client.output_bytes > limits.SESSION_OUTPUT_BYTES_MAX:
            self._stream.pause_reading()
        relay.mark()

    def writable(self) -> None:
        self._stream.flush()
        self._relay.mark()
        if self._stream.output_bytes <= limits.SESSION_OUTPUT_BYTES_MAX:
            self._client.read_on()

    def failed(self, error: Exception) -> None:
        self._relay.auth_failed(error)
