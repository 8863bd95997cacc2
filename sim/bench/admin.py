"""The director-admin socket, spoken to directly (doveadm-director.md section 1)."""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

GREETING = b"VERSION\tdirector-doveadm\t1\t0\n"


@attrs.frozen(kw_only=True)
class DirectorRow:
    """`kind` is one of self, left, right, in, out, removed, or empty without a connection."""

    ip: str
    kind: str
    status: str
    bytes_received: int
    bytes_sent: int


@attrs.frozen(kw_only=True)
class HostRow:
    ip: str
    users_count: int
    state: str


class Admin:
    """One connection. Raises OSError whenever the director does not answer as it should."""

    def __init__(self, path: Path, timeout_s: float = 60.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(str(path))
            self._reader = self._socket.makefile("rb")
            self._socket.sendall(GREETING)
            self._line()
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._reader.close()
        self._socket.close()

    def send(self, *words: str) -> None:
        """Send a command and do not wait for its answer."""
        self._socket.sendall("\t".join(words).encode() + b"\n")

    def ask(self, *words: str) -> str:
        """Send a command whose answer is one line; return the line."""
        self.send(*words)
        return self._line()

    def ask_list(self, *words: str) -> list[list[str]]:
        """Send a command whose answer is lines up to an empty one; return their fields."""
        self.send(*words)
        rows = []
        while line := self._line():
            rows.append(line.split("\t"))
        return rows

    def hosts(self) -> list[HostRow]:
        return [
            HostRow(ip=row[0], users_count=int(row[2]), state=row[4])
            for row in self.ask_list("HOST-LIST")
        ]

    def users_count(self) -> int:
        return sum(host.users_count for host in self.hosts())

    def directors(self) -> list[DirectorRow]:
        """Return all rows that name a director (an anonymous incoming connection does not)."""
        return [
            DirectorRow(
                ip=row[0],
                kind=row[2],
                status=row[4],
                bytes_received=int(row[6]) if len(row) > 7 else 0,  # only links have them
                bytes_sent=int(row[7]) if len(row) > 7 else 0,
            )
            for row in self.ask_list("DIRECTOR-LIST")
            if "." in row[0]
        ]

    def is_whole(self, members_count: int) -> bool:
        """Return whether the ring is synced and has so many connected members around here."""
        rows = self.directors()
        kinds = {row.kind for row in rows}
        is_synced = any(row.kind == "self" and row.status == "ring synced" for row in rows)
        members = {row.ip for row in rows if row.kind != "removed"}
        if members_count == 1:
            return is_synced
        return is_synced and {"left", "right"} <= kinds and len(members) >= members_count

    def _line(self) -> str:
        line = self._reader.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError(f"the director closed the connection after {line!r}")
        return line[:-1].decode()
