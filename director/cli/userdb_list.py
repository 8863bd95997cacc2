"""The names of all users, from Dovecot's `auth-userdb` socket (login-sockets.md section 6).

One `LIST` request on a connection of its own; names are yielded as they come, so a listing of
millions needs no memory here.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

from ring.codec import tabs

LINE_BYTES_MAX = 8192
READ_BYTES = 64 * 1024

LIST_TIMEOUT_S = 155.0
"""Silence from the user database, which may be slow, as long as doveadm waits."""


class UserListFailed(Exception):
    """The names are not all there; the message says why."""


def list_users(path: str) -> Iterator[bytes]:
    """Yield every user name that the user database lists.

    Raises:
        UserListFailed: nobody answers, the answer is nonsense, or the database cannot list.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as unix:
        unix.settimeout(LIST_TIMEOUT_S)
        try:
            unix.connect(path)
            unix.sendall(b"VERSION\t1\t0\nLIST\t1\tservice=doveadm\n")
            yield from _read_names(unix)
        except OSError as error:
            raise UserListFailed(f"{path}: {error.strerror or error}") from None


def _read_names(unix: socket.socket) -> Iterator[bytes]:
    rest = b""
    while data := unix.recv(READ_BYTES):
        lines = (rest + data).split(b"\n")
        rest = lines.pop()
        if len(rest) > LINE_BYTES_MAX:
            raise UserListFailed(f"a line of more than {LINE_BYTES_MAX} bytes")
        for line in lines:
            fields = tabs.split(line)
            if fields[:2] == [b"LIST", b"1"]:
                yield from fields[2:3]
            elif fields[:2] == [b"DONE", b"1"]:
                if b"fail" in fields[2:]:
                    raise UserListFailed("User listing returned failure")
                return
            elif fields[:1] not in ([b"VERSION"], [b"SPID"]):
                raise UserListFailed(f"unexpected line {line[:80]!r}")
    raise UserListFailed("disconnected before the end of the list")
