"""Who still has sessions: the lines login processes write to `login/proxy-notify`.

One line per proxied session every `proxy_refresh` seconds: the proxied user name, tab-escaped
(login-sockets.md section 8). Users it names live on, in every tag; unknown ones are not created.
The original hashes the line as it stands. Here it is unescaped, because login processes escape it,
and cut at the master user separator, because the lookup was: the hash must be that of the lookup.

A FIFO without a reader freezes login processes (section 8.1). Ours is open read-write, by us or by
Dovecot's master, so it never ends while we live; if it does end (a master that died), it is served
no more, because an ended FIFO is readable for ever. A stream socket (suffix `-notify`) ends when
its client closes it.
"""

from __future__ import annotations

import os
import socket

from director.sessions.directory import Surroundings
from director.sessions.stream import Stream
from ring import limits
from ring.codec import tabs


class NotifyLines:
    """Turns bytes into refreshes, whatever way they are cut."""

    __slots__ = ("_is_skipping", "_name", "_partial", "_surroundings")

    def __init__(self, surroundings: Surroundings, name: str) -> None:
        self._surroundings = surroundings
        self._name = name
        self._partial = b""
        self._is_skipping = False

    def feed(self, data: bytes) -> None:
        """Refresh the users of all complete lines; an over-long line is passed over."""
        directory = self._surroundings.directory
        separator = self._surroundings.master_user_separator
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            if self._is_skipping:
                self._is_skipping = False  # the end of a line that was too long
            elif len(line) > limits.NOTIFY_LINE_BYTES_MAX:
                self._note_too_long()
            elif line:
                name = tabs.unescape(line)
                if separator:
                    name = name.partition(separator)[0]
                directory.refresh(directory.hash_user(name))
        if len(self._partial) > limits.NOTIFY_LINE_BYTES_MAX:
            if not self._is_skipping:
                self._note_too_long()
            self._is_skipping = True
            self._partial = b""

    def _note_too_long(self) -> None:
        self._surroundings.directory.note(
            "notify_line_dropped",
            connection=self._name,
            reason=f"longer than {limits.NOTIFY_LINE_BYTES_MAX} bytes",
        )


class NotifyFifo:
    """The FIFO itself; handler of its descriptor, which it owns."""

    def __init__(self, surroundings: Surroundings, descriptor: int, *, listener: str) -> None:
        os.set_blocking(descriptor, False)
        self._surroundings = surroundings
        self._file = os.fdopen(descriptor, "rb", buffering=0)
        self._lines = NotifyLines(surroundings, listener)
        self._name = listener

    def start(self) -> None:
        self._surroundings.roster.sessions.add(self)
        self._surroundings.poll_set.add(self._file.fileno(), self)

    def close(self) -> None:
        if self in self._surroundings.roster.sessions:
            self._surroundings.roster.sessions.discard(self)
            self._surroundings.poll_set.discard(self._file)

    def readable(self) -> None:
        data = self._file.read(limits.SESSION_READ_BYTES)
        if data == b"":
            raise ConnectionResetError("nobody holds the FIFO open any more")
        if data:
            self._lines.feed(data)

    def writable(self) -> None:
        raise AssertionError("a FIFO that is only read")

    def failed(self, error: Exception) -> None:
        self._surroundings.directory.note("notify_lost", connection=self._name, reason=str(error))
        self.close()


class NotifyStream:
    """A client of a notify listener that is a stream socket."""

    def __init__(self, surroundings: Surroundings, sock: socket.socket, *, listener: str) -> None:
        self._surroundings = surroundings
        self._stream = Stream(surroundings.poll_set, sock)
        self._name = f"{listener}({self._stream.describe_peer()})"
        self._lines = NotifyLines(surroundings, self._name)

    def start(self) -> None:
        self._surroundings.roster.sessions.add(self)
        self._stream.start(self, is_reading=True)

    def close(self) -> None:
        self._stream.close()
        self._surroundings.roster.sessions.discard(self)

    def readable(self) -> None:
        data = self._stream.receive()
        if not data:
            self.close()
            return
        self._lines.feed(data)

    def writable(self) -> None:
        self._stream.flush()

    def failed(self, error: Exception) -> None:
        self._surroundings.directory.note("client_lost", connection=self._name, reason=str(error))
        self.close()
