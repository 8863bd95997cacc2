"""A stand-in for Dovecot's auth service: everybody may log in, and is to be proxied."""

from __future__ import annotations

import base64
import itertools
import socket
from pathlib import Path

import trio

from sim.cluster.lines import Lines

HANDSHAKE = (
    b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t%d\n"
    b"COOKIE\t0123456789abcdef0123456789abcdef\nDONE\n"
)


class AuthService:
    """One for all nodes; they have it at the same path (login-sockets.md section 2)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._numbers = itertools.count(1)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.socket.socket(socket.AF_UNIX) as sock:
            await sock.bind(str(self._path))
            await trio.Path(self._path).chmod(0o666)
            sock.listen(64)
            task_status.started()
            await trio.serve_listeners(self._serve, [trio.SocketListener(sock)])

    async def _serve(self, stream: trio.SocketStream) -> None:
        lines = Lines(stream)
        try:
            await lines.send(HANDSHAKE % next(self._numbers))
            while True:
                word, *fields = (await lines.line()).split(b"\t")
                if word == b"AUTH":
                    await lines.send(_reply(fields))
        except OSError:
            pass  # the director went away
        finally:
            await lines.close()


def request(number: int, user: str) -> bytes:
    """Return what a login process sends for one login."""
    response = base64.b64encode(f"\0{user}\0secret".encode())
    return b"AUTH\t%d\tPLAIN\tservice=imap\tsecured\tresp=%s\n" % (number, response)


def _reply(fields: list[bytes]) -> bytes:
    number, response = fields[0], fields[-1].removeprefix(b"resp=")
    _, user, password = base64.b64decode(response).split(b"\0")
    return b"OK\t%s\tuser=%s\tproxy\tport=143\tpass=%s\n" % (number, user, password)
