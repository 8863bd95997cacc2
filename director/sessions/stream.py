"""A non-blocking socket in the poll set, with the bytes that could not be sent yet.

It decides when to ask for the turn to write, and nothing else: the handler that owns it reads,
watches `output_bytes`, and pauses whoever fills it (`limits.SESSION_OUTPUT_BYTES_MAX`).
"""

from __future__ import annotations

import socket
import struct

from director.pollset import READ, WRITE, Handler, PollSet
from ring import limits


class Stream:
    __slots__ = ("_events", "_poll_set", "_socket", "is_open", "output")

    def __init__(self, poll_set: PollSet, sock: socket.socket) -> None:
        """Take over a connected socket; `start` makes it part of the poll set."""
        sock.setblocking(False)
        self._poll_set = poll_set
        self._socket = sock
        self.output = bytearray()
        """What could not be sent yet; for others to look at."""
        self._events = 0
        self.is_open = True

    @property
    def output_bytes(self) -> int:
        return len(self.output)

    @property
    def descriptor(self) -> int:
        return self._socket.fileno()

    def start(self, handler: Handler, *, is_reading: bool) -> None:
        self._events = READ if is_reading else 0
        self._poll_set.add(self._socket.fileno(), handler, self._events)

    def receive(self) -> bytes:
        """Return some bytes, none at the end of the stream.

        Raises:
            BlockingIOError: a spurious wake-up; the poll set takes care of it.
        """
        return self._socket.recv(limits.SESSION_READ_BYTES)

    def send(self, data: bytes) -> None:
        """Send now what the socket takes, the rest when it can. Raises OSError."""
        if self.output:
            self.output += data
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent != len(data):
            self.output += data[sent:]
            self._set_events(self._events | WRITE)

    def send_later(self, data: bytes) -> None:
        """Send together with whatever else is to be sent by the next turn."""
        if not self.output:
            self._set_events(self._events | WRITE)
        self.output += data

    def flush(self) -> None:
        """Send what was left; to be called when writable. Raises OSError."""
        while self.output:
            with memoryview(self.output) as output:
                try:
                    sent = self._socket.send(output[: limits.SESSION_READ_BYTES])
                except BlockingIOError:
                    return
            del self.output[:sent]
        self._set_events(self._events & ~WRITE)

    def read_on(self) -> None:
        if not self._events & READ:
            self._set_events(self._events | READ)

    def pause_reading(self) -> None:
        if self._events & READ:
            self._set_events(self._events & ~READ)

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self.output.clear()
            self._poll_set.discard(self._socket)

    def hang_up(self) -> None:
        """Close, and let the other end know although somebody else has a copy of our socket."""
        if self.is_open:
            hang_up(self._socket)
        self.close()

    def describe_peer(self) -> str:
        """Return who is at the other end, as far as the kernel knows."""
        try:
            if self._socket.family == socket.AF_UNIX:
                credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                return f"pid {struct.unpack('3i', credentials)[0]}"
            return str(self._socket.getpeername()[0])
        except OSError:
            return "gone"

    def _set_events(self, events: int) -> None:
        if self.is_open and events != self._events:
            self._events = events
            self._poll_set.set_events(self._socket.fileno(), events)


def hang_up(sock: socket.socket) -> None:
    """End a connection whoever else holds it, too."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended already
