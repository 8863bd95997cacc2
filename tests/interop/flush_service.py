"""A flush program behind a socket: writes down what it is told, answers what the test wants."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self

TIMEOUT_S = 30.0


class FlushService:
    """Serves on a listening socket, one user at a time.

    A request is answered when `answer` was given an answer for it, so that a test can look around
    while the program runs.
    """

    def __init__(self, listener: socket.socket) -> None:
        self.requests: list[bytes] = []
        self._listener = listener
        self._answers: list[bytes] = []
        self._has_answer = threading.Semaphore(0)
        self._is_over = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def answer(self, data: bytes) -> None:
        self._answers.append(data)
        self._has_answer.release()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                if self._is_over:
                    return
                connection.settimeout(TIMEOUT_S)
                request = b""
                while data := connection.recv(65536):
                    request += data
                self.requests.append(request)
                if self._has_answer.acquire(timeout=TIMEOUT_S):
                    connection.sendall(self._answers.pop(0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over = True
        self._has_answer.release()
        with socket.socket(self._listener.family) as last:
            last.connect(self._listener.getsockname())
        self._thread.join()
        self._listener.close()
