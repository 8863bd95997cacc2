"""Small helpers for the few trio streams to Dovecot's own services: connect, read lines.

Decides only two things. A unix socket whose backlog is full (EAGAIN) is tried again every 0.1 s
until the caller's deadline; trio's own `connect` would take it for connected, because such a socket
polls writable and has no error stored. And lines are handed out in batches, as many as one
read brought: a list of 20,000 sessions then costs some thirty scheduler passes, not 20,000.

Not for logins: those sockets live in `director/pollset.py`.
"""

from __future__ import annotations

import socket
from pathlib import Path

import trio

from ring import limits
from ring.errors import LimitExceeded, excerpt

_BUSY_RETRY_S = 0.1


async def connect_unix(path: Path) -> trio.SocketStream:
    """Return a stream to the unix socket at `path`.

    Raises:
        OSError: nobody listens there, or we may not connect; the message names the path.
    """
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.connect(str(path))
        except BlockingIOError:
            sock.close()
            await trio.sleep(_BUSY_RETRY_S)
            continue
        except OSError as error:
            sock.close()
            reason = error.strerror or str(error)
            raise type(error)(error.errno, f"connect({path}) failed: {reason}") from error
        except BaseException:
            sock.close()
            raise
        return trio.SocketStream(trio.socket.from_stdlib_socket(sock))


class LineReader:
    """Complete lines of a stream, as many at a time as have come."""

    def __init__(self, stream: trio.abc.ReceiveStream, line_bytes_max: int, name: str) -> None:
        self._stream = stream
        self._line_bytes_max = line_bytes_max
        self._name = name
        self._tail = b""

    async def lines(self) -> list[bytes]:
        """Return at least one line, without LF; an empty list at the end of the stream.

        Raises:
            LimitExceeded: a line is too long.
            trio.BrokenResourceError: the connection broke.
        """
        while True:
            data = await self._stream.receive_some(limits.RECEIVE_BYTES)
            if not data:
                return []
            *lines, self._tail = (self._tail + data).split(b"\n")
            if len(self._tail) > self._line_bytes_max:
                raise LimitExceeded(
                    f"{self._name}: a line is longer than {self._line_bytes_max} bytes:"
                    f" {excerpt(self._tail)}"
                )
            if lines:
                return lines
