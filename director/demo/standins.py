"""Stand-ins for Dovecot's auth service and for four backends; no more than the demo needs.

The auth service believes every password and answers what a passdb for a proxy answers: `proxy`, and
no host. The backends say who they are and then yes to everything. Rejected: scripted answers in the
same process without sockets; then the demo would show the demo and not the director.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import trio

from director.streams import LineReader
from ring import limits

HANDSHAKE = (
    b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t%d\n"
    b"COOKIE\t0123456789abcdef0123456789abcdef\nDONE\n"
)


async def listen_unix(path: Path) -> trio.SocketListener:
    """Return a listener on a new unix socket that anybody may use."""
    sock = trio.socket.socket(trio.socket.AF_UNIX)
    await sock.bind(str(path))
    await trio.Path(path).chmod(0o666)
    sock.listen()
    return trio.SocketListener(sock)


async def serve_lines(
    stream: trio.SocketStream, handle: Callable[[bytes], Awaitable[bytes]]
) -> None:
    """Answer each line until the client leaves."""
    reader = LineReader(stream, limits.AUTH_LINE_BYTES_MAX, "demo")
    try:
        async with stream:
            while lines := await reader.lines():
                for line in lines:
                    if answer := await handle(line):
                        await stream.send_all(answer)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass


@attrs.define(eq=False)
class AuthService:
    """Everybody may log in, and everybody is to be proxied (login-sockets.md section 2)."""

    port: int
    _numbers: itertools.count[int] = attrs.field(factory=lambda: itertools.count(1))

    async def serve(self, stream: trio.SocketStream) -> None:
        await stream.send_all(HANDSHAKE % next(self._numbers))
        await serve_lines(stream, self._answer)

    async def _answer(self, line: bytes) -> bytes:
        word, *fields = line.split(b"\t")
        if word != b"AUTH":
            return b""
        request_id, response = fields[0], fields[-1].removeprefix(b"resp=")
        _, user, password = base64.b64decode(response).split(b"\0")
        reply = b"OK\t%s\tuser=%s\tproxy\tport=%d\tpass=%s\n"
        return reply % (request_id, user, self.port, password)


@attrs.define(eq=False)
class TinyBackend:
    """A tiny IMAP server; it knows LOGIN, NOOP and LOGOUT."""

    name: str
    ip: str
    port: int
    logins_count: int = 0
    _scope: trio.CancelScope | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be up until `stop`."""
        listeners = await trio.open_tcp_listeners(self.port, host=self.ip)
        with trio.CancelScope() as self._scope:
            task_status.started()
            await trio.serve_listeners(self._serve, listeners)
        for listener in listeners:
            with trio.CancelScope(shield=True):
                await listener.aclose()

    def stop(self) -> None:
        """Go down, and take the sessions along."""
        assert self._scope is not None
        self._scope.cancel()

    async def _serve(self, stream: trio.SocketStream) -> None:
        await stream.send_all(b"* OK %s ready\r\n" % self.name.encode())
        await serve_lines(stream, self._answer)

    async def _answer(self, line: bytes) -> bytes:
        tag, command, *_ = line.split()
        if command == b"LOGIN":
            self.logins_count += 1
        return b"%s OK %s by %s\r\n" % (tag, command, self.name.encode())


async def find_common_port(ips: list[str]) -> int:
    """Return a port that is free on all these addresses at this moment.

    Raises:
        OSError: the first address is not usable at all.
    """
    for _ in range(100):
        with trio.socket.socket() as first:
            await first.bind((ips[0], 0))
            port: int = first.getsockname()[1]
            if all([await _is_free(ip, port) for ip in ips[1:]]):
                return port
    raise OSError(f"no port is free on all of {', '.join(ips)}")


async def _is_free(ip: str, port: int) -> bool:
    with trio.socket.socket() as probe:
        try:
            await probe.bind((ip, port))
        except OSError:
            return False
        return True
