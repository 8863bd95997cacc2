"""A `director-admin` server that answers what a test tells it to, on a real unix socket.

Verbs are blocking programs, so the server has a thread of its own; `close` ends it. Commands are
answered by name, in order, and everything that was received is kept in `received`.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

HANDSHAKE = b"VERSION\tdirector-doveadm\t1\t0\n"

Reply = bytes | Callable[[list[bytes]], bytes]


class ScriptedServer:
    """`replies` maps a command's name to the whole reply; a reply of b"" closes the connection.

    Of several replies each is given once, the last again and again; a reply that is a function is
    asked with what was received so far. A command without one is answered OK. `is_closing`: every
    connection ends with its first reply.
    """

    def __init__(
        self,
        directory: Path,
        replies: Mapping[bytes, Reply | Sequence[Reply]],
        *,
        greeting: bytes = HANDSHAKE,
        is_closing: bool = False,
    ) -> None:
        self.path = directory / "director-admin"
        self.received: list[bytes] = []
        self._replies = {
            name: [reply] if isinstance(reply, bytes) or callable(reply) else list(reply)
            for name, reply in replies.items()
        }
        self._conversations: list[threading.Thread] = []
        self._greeting = greeting
        self._is_closing = is_closing
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(8)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Closing does not wake a thread that waits in accept; shutting down does.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for conversation in self._conversations:
            conversation.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            conversation = threading.Thread(target=self._converse, args=(connection,))
            self._conversations.append(conversation)
            conversation.start()

    def _converse(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._serve_connection(connection)
            except OSError:
                pass  # the client was done before we were

    def _serve_connection(self, connection: socket.socket) -> None:
        connection.sendall(self._greeting)
        with connection.makefile("rb") as file:
            for line in file:
                self.received.append(line)
                reply = self._reply(line.rstrip(b"\n").split(b"\t")[0])
                if reply is None:
                    return
                connection.sendall(reply)
                if self._is_closing and reply:
                    return

    def _reply(self, name: bytes) -> bytes | None:
        """Return what is said to a command; None: nothing, and the connection ends."""
        replies = self._replies.get(name)
        if replies is None:
            return b"" if name == b"VERSION" else b"OK\n"
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        return (reply if isinstance(reply, bytes) else reply(self.received)) or None
