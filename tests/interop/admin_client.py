"""The director-admin socket, spoken to directly (doveadm-director.md section 1)."""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

GREETING = b"VERSION\tdirector-doveadm\t1\t0\n"


@attrs.frozen(kw_only=True)
class HostRow:
    ip: str
    weight: int
    users_count: int
    tag: str
    state: str


@attrs.frozen(kw_only=True)
class UserRow:
    user_hash: int
    expires: int
    ip: str


@attrs.frozen(kw_only=True)
class DirectorRow:
    """`kind` is one of self, left, right, in, out, removed, or empty without a connection.

    `status` of a connection between two of ours ends with "(native)" when it speaks that.
    """

    ip: str
    port: int
    kind: str
    status: str


@attrs.frozen(kw_only=True)
class Whereabouts:
    """The answer of USER-LOOKUP; an empty address is "nowhere"."""

    current: str
    hashed: str
    initial: str


class AdminClient:
    def __init__(self, path: Path, timeout_s: float = 60.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_s)
        self._reader = self._socket.makefile("rb")
        try:
            self._socket.connect(str(path))
            self._socket.sendall(GREETING)
            greeting = self._reader.readline()
        except OSError:
            self.close()
            raise
        if greeting != GREETING:
            self.close()
            raise ConnectionError(f"greeted with {greeting!r}, expected {GREETING!r}")

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

    def ask(self, *words: str) -> str:
        """Send a command whose answer is one line; return the line."""
        self._socket.sendall("\t".join(words).encode() + b"\n")
        return self._line()

    def ask_list(self, *words: str) -> list[list[str]]:
        """Send a command whose answer is lines up to an empty one; return their fields."""
        self._socket.sendall("\t".join(words).encode() + b"\n")
        rows = []
        while line := self._line():
            rows.append(line.split("\t"))
        return rows

    def hosts(self) -> list[HostRow]:
        return [
            HostRow(
                ip=row[0], weight=int(row[1]), users_count=int(row[2]), tag=row[3], state=row[4]
            )
            for row in self.ask_list("HOST-LIST")
        ]

    def users(self) -> list[UserRow]:
        return [
            UserRow(user_hash=int(row[0]), expires=int(row[1]), ip=row[2])
            for row in self.ask_list("USER-LIST")
        ]

    def directors(self) -> list[DirectorRow]:
        """Return all rows that name a director (an anonymous incoming connection does not)."""
        return [
            DirectorRow(
                ip=row[0],
                port=int(row[1]),
                kind=row[2],
                status=row[4],
            )
            for row in self.ask_list("DIRECTOR-LIST")
            if "." in row[0] or ":" in row[0]
        ]

    def where(self, user: str, tag: str = "") -> Whereabouts:
        """Return where the user is, or would be sent, within the pool of the tag."""
        row = self.ask("USER-LOOKUP", user, tag).split("\t")
        return Whereabouts(current=row[0], hashed=row[2], initial=row[3])

    def _line(self) -> str:
        line = self._reader.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError(f"the director closed the connection after {line!r}")
        return line[:-1].decode()
