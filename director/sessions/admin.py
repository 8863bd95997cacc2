"""A connection of an administrator: the `director-admin` protocol (doveadm-director.md section 1).

Decides when a line is read and when its reply is sent; what lines mean stands in `admin_requests`,
what replies look like in `admin_replies`. Commands run strictly one after another: the next line is
looked at when the previous one was answered. Lines that came meanwhile wait, and none is lost; the
original forgets one (captures/11), and with it half of what a script said in one write.

A line that means nothing is answered `ERROR <TAB> reason` before the connection closes, where the
original says nothing at all. A wrong VERSION closes without a word, as there: whoever says that
speaks another protocol and would not understand the reason.

What a client may cost is bounded: `limits.ADMIN_INPUT_BYTES_MAX` of lines that wait (then we stop
reading), `limits.SESSION_OUTPUT_BYTES_MAX` and one piece of a reply that is not read (then the next
piece is not made), `limits.ADMIN_STUCK_S` without reading anything (then we hang up), and
`limits.ADMINISTRATORS_MAX` connections (then the longest idle one goes). One turn of the poll set
makes `limits.ADMIN_STEPS_MAX` pieces or answers for one client at most.

What a client said is done even if it does not wait for the answer. One that closed its end for
writing still gets its replies; of one that is gone altogether the lines that arrived are executed
nevertheless, because a watchdog that writes HOST-DOWN and HOST-FLUSH and exits means both.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Protocol

import attrs

from director.kick.census import CountsTold
from director.pollset import PollSet
from director.sessions.admin_replies import reply_pieces
from director.sessions.admin_requests import CountSessions, Question, parse_request
from director.sessions.stream import Stream
from ring import limits
from ring.codec import tabs
from ring.commands import Answer, Command
from ring.errors import LimitExceeded, ValueRefused
from ring.node import RingNode

VERSION = b"VERSION\tdirector-doveadm\t1\t0"


class Office(Protocol):
    """What an administrator's connection needs from the rest of the daemon; the runtime is one."""

    @property
    def node(self) -> RingNode:
        """For questions only."""

    def now(self) -> float:
        """Return monotonic seconds."""

    def hash_user(self, name: bytes) -> int:
        """Return the user hash of an unescaped user name."""

    def command(self, token: AdminSession, command: Command) -> None:
        """Run a command; the session is told the answer, not before this returns."""

    def note(self, kind: str, **fields: object) -> None:
        """Write one log line and count it."""


@attrs.define(eq=False, kw_only=True)
class AdminDesk:
    """What all administrators' connections share.

    `wall` gives Unix seconds; `count_sessions` tells later, in lines, where sessions lead to.
    """

    poll_set: PollSet
    office: Office
    wall: Callable[[], float]
    count_sessions: Callable[[CountsTold], None]
    user_expire_s: int
    sessions: dict[AdminSession, None] = attrs.field(init=False, factory=dict)
    """In the order of their last activity, the longest idle first."""

    def accept(self, sock: socket.socket) -> AdminSession:
        """Serve a connection that was just accepted."""
        while len(self.sessions) >= limits.ADMINISTRATORS_MAX:
            oldest = next((s for s in self.sessions if s.is_idle), next(iter(self.sessions)))
            self.office.note("admin_session_dropped", peer=oldest.peer, reason="too many")
            oldest.close()
        session = AdminSession(self, Stream(self.poll_set, sock))
        session.start()
        return session

    def close_all(self) -> None:
        for session in list(self.sessions):
            session.close()


class AdminSession:
    """One connection; a token for its commands. Made by `AdminDesk.accept`."""

    __slots__ = (
        "_desk",
        "_input",
        "_is_commanding",
        "_is_ended",
        "_is_greeted",
        "_is_reading_replies",
        "_is_running",
        "_is_watched",
        "_pieces",
        "_stream",
        "peer",
    )

    def __init__(self, desk: AdminDesk, stream: Stream) -> None:
        self._desk = desk
        self._stream = stream
        self._input = bytearray()
        self._pieces: Iterator[bytes] | None = None
        self._is_greeted = False
        self._is_commanding = False
        self._is_ended = False
        self._is_running = False
        self._is_reading_replies = False
        self._is_watched = False
        self.peer = stream.describe_peer()

    def start(self) -> None:
        self._desk.sessions[self] = None
        self._stream.start(self, is_reading=True)
        self._stream.send_later(VERSION + b"\n")

    @property
    def is_idle(self) -> bool:
        """Whether the client has been answered and has been silent since."""
        return not self._is_commanding and self._pieces is None

    @property
    def output_bytes(self) -> int:
        return self._stream.output_bytes

    @property
    def input_bytes(self) -> int:
        return len(self._input)

    def close(self) -> None:
        """Hang up; what is still to be done is given up."""
        self._input.clear()
        self._pieces = None
        self._stream.close()
        self._desk.sessions.pop(self, None)

    # --- the poll set's calls -------------------------------------------------------------------

    def readable(self) -> None:
        self._take(self._stream.receive())
        self._run()

    def writable(self) -> None:
        self._is_reading_replies = True
        self._stream.flush()
        self._run()

    def failed(self, error: Exception) -> None:
        """The client is gone; the lines that it left behind are executed all the same."""
        if isinstance(error, BlockingIOError):
            return
        self._pieces = None
        self._is_ended = True
        self._stream.close()
        self._run()

    # --- input ----------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        if not data:
            self._is_ended = True
            self._stream.pause_reading()
            return
        self._input += data
        if len(self._input) > limits.ADMIN_INPUT_BYTES_MAX:
            self._stream.pause_reading()
        sessions = self._desk.sessions
        sessions.pop(self, None)
        sessions[self] = None

    def _next_line(self) -> bytes | None:
        """Return the next complete line without its LF; an unfinished one at the end is none.

        Raises:
            ValueRefused: the line is too long.
        """
        end = self._input.find(b"\n")
        if max(end, len(self._input) if end < 0 else 0) > limits.ADMIN_LINE_BYTES_MAX:
            raise ValueRefused(f"a line of more than {limits.ADMIN_LINE_BYTES_MAX} bytes")
        if end < 0:
            return None
        line = bytes(self._input[:end])
        del self._input[: end + 1]
        return line

    # --- one after another ----------------------------------------------------------------------

    def _run(self) -> None:
        """Do what can be done now: go on with a reply, execute lines, read on, or end."""
        if self._is_running:
            return
        self._is_running = True
        try:
            for _ in range(limits.ADMIN_STEPS_MAX):
                if not self._step():
                    break
            else:
                self._desk.poll_set.call_later(0.0, self._run)
        except ValueRefused as error:
            self._refuse(str(error))
        finally:
            self._is_running = False
        self._look_ahead()

    def _step(self) -> bool:
        """Do one thing; return whether there may be another one to do at once."""
        if self._stream.output_bytes > limits.SESSION_OUTPUT_BYTES_MAX:
            return False
        if self._pieces is not None:
            piece = next(self._pieces, None)
            if piece is None:
                self._pieces = None
                return True
            # A piece of a long list takes some 4 ms: one a turn, the next when this one is sent.
            self._send(piece)
            return self._stream.output_bytes < limits.SESSION_READ_BYTES
        if self._is_commanding:
            return False
        line = self._next_line()
        if line is None:
            return False
        if self._is_greeted:
            self._execute(line)
        else:
            self._greet(line)
        return True

    def _greet(self, line: bytes) -> None:
        fields = line.split(b"\t")
        if fields[:3] == VERSION.split(b"\t")[:3] and len(fields) > 3 and fields[3].isdigit():
            self._is_greeted = True
            return
        self._desk.office.note("admin_version_refused", peer=self.peer, line=line)
        self._end()

    def _execute(self, line: bytes) -> None:
        office = self._desk.office
        request = parse_request(line, office.hash_user, office.node.own)
        if isinstance(request, Question):
            self._pieces = reply_pieces(
                office.node,
                request,
                now=office.now(),
                wall=int(self._desk.wall()),
                user_expire_s=self._desk.user_expire_s,
            )
            return
        self._is_commanding = True
        if isinstance(request, CountSessions):
            self._desk.count_sessions(self._answered)
            return
        try:
            office.command(self, request)
        except LimitExceeded as error:
            self._is_commanding = False
            raise ValueRefused(str(error)) from None

    def command_answered(self, answer: Answer) -> None:
        """The command that was running is done."""
        self._answered(answer.value.encode() + b"\n")

    def _answered(self, reply: bytes) -> None:
        assert self._is_commanding
        self._is_commanding = False
        self._send(reply)
        self._run()

    def _look_ahead(self) -> None:
        """Read on if there is room, end if everything is said, and watch what is not read."""
        if self._is_ended:
            if self.is_idle and not self._stream.output_bytes:
                self.close()
        elif len(self._input) <= limits.ADMIN_INPUT_BYTES_MAX:
            self._stream.read_on()
        if self._stream.output_bytes and not self._is_watched:
            self._is_watched = True
            self._is_reading_replies = False
            self._desk.poll_set.call_later(limits.ADMIN_STUCK_S, self._check_output)

    def _check_output(self) -> None:
        """Hang up on a client that has read nothing for a while."""
        self._is_watched = False
        if self._stream.output_bytes and not self._is_reading_replies:
            self._desk.office.note("admin_session_dropped", peer=self.peer, reason="never reads")
            self.close()
        else:
            self._look_ahead()

    # --- output ---------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        if self._stream.is_open:
            self._stream.send_later(data)

    def _refuse(self, reason: str) -> None:
        """Say what was wrong, and close when it is sent."""
        self._desk.office.note("admin_command_refused", peer=self.peer, reason=reason)
        self._send(b"ERROR\t" + tabs.escape(reason.encode()) + b"\n")
        self._end()

    def _end(self) -> None:
        """Listen no more, and close when everything is sent."""
        self._input.clear()
        self._is_ended = True
        self._stream.pause_reading()
