"""Logins without a mail client: the auth client protocol on a director's login socket.

This is what a login process says (login-sockets.md section 2), many requests at a time, so that
20,000 users are on the ring in seconds. Nobody is proxied anywhere.
"""

from __future__ import annotations

import base64
import itertools
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

WINDOW_REQUESTS = 500

_connect_ids = itertools.count(os.getpid() * 1000 % 2**30)
"""The auth service refuses a process id (CPID) that another live connection uses."""


class AuthClient:
    def __init__(self, login_socket: Path, timeout_s: float = 90.0) -> None:
        self._ids = itertools.count(1)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(str(login_socket))
            self._reader = self._socket.makefile("rb")
            self._socket.sendall(b"VERSION\t1\t2\nCPID\t%d\n" % next(_connect_ids))
            while self._line() != b"DONE":
                pass
        except OSError:
            self._socket.close()
            raise

    def close(self) -> None:
        self._reader.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def login(self, users: Iterable[str]) -> dict[str, str]:
        """Return the host of each user; the code of the failure instead if there was one."""
        reached: dict[str, str] = {}
        remaining = iter(users)
        while window := list(itertools.islice(remaining, WINDOW_REQUESTS)):
            waiting = dict(zip((str(next(self._ids)) for _ in window), window, strict=True))
            self._socket.sendall(
                b"".join(request(number, user) for number, user in waiting.items())
            )
            while waiting:
                verdict, number, *fields = self._line().decode().split("\t")
                values = dict(field.partition("=")[::2] for field in fields)
                user = waiting.pop(number)
                reached[user] = values["host"] if verdict == "OK" else values.get("code", verdict)
        return reached

    def _line(self) -> bytes:
        line: bytes = self._reader.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError(f"the director closed the connection after {line!r}")
        return line[:-1]


def request(number: str, user: str) -> bytes:
    response = base64.b64encode(f"\0{user}\0password".encode()).decode()
    return f"AUTH\t{number}\tPLAIN\tservice=imap\tsecured\tresp={response}\n".encode()
