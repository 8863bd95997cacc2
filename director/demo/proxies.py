"""What Dovecot's login processes do on a proxy: ask the director, connect, and hold the session.

One `LoginProcess` is one connection to the director's login socket, over which all its logins go
at the same time, as in Dovecot. `SessionRegister` is the ipc service: it knows every session and
closes those the director asks it to (ipc-kick.md sections 1.2 and 2).
"""

from __future__ import annotations

import base64
import itertools
import os
from collections.abc import Mapping
from pathlib import Path

import attrs
import trio

from director.demo.process import LoginFailed
from director.demo.standins import serve_lines
from director.streams import LineReader, connect_unix
from ring import limits


@attrs.define(eq=False, kw_only=True)
class ProxiedSession:
    """A user's open session on a backend; `fields` are those that the director answered."""

    user: str
    ip: str
    backend_name: str
    fields: dict[str, str]
    stream: trio.SocketStream
    is_kicked: bool = False

    async def is_alive(self) -> bool:
        """Return whether the backend still answers."""
        if self.is_kicked:
            return False
        try:
            await self.stream.send_all(b"2 NOOP\r\n")
            return b"2 OK" in await self.stream.receive_some(1000)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False


@attrs.define(eq=False)
class SessionRegister:
    """All sessions of the machine."""

    sessions: list[ProxiedSession] = attrs.field(factory=list)

    async def serve(self, stream: trio.SocketStream) -> None:
        await serve_lines(stream, self._answer)

    async def close_all(self) -> None:
        for session in self.sessions:
            await session.stream.aclose()

    async def _answer(self, line: bytes) -> bytes:
        _group, _target, command, *words = line.decode().split("\t")
        if command == "LIST-FULL":
            return self._list()
        kicked = [s for s in self.sessions if not s.is_kicked and _matches(s, command, words)]
        for session in kicked:
            session.is_kicked = True
            await session.stream.aclose()
        return b"+%d\n" % len(kicked)

    def _list(self) -> bytes:
        rows = [":username\tuser_dirhash\tuser_dirdest\tservice\tsrc-ip\tdest-ip\tdest-port"]
        for session in self.sessions:
            if not session.is_kicked:
                own = [session.fields.get(name, "") for name in ("user_dirhash", "user_dirdest")]
                row = [session.user, *own, "imap", "127.0.0.1", session.ip, "143"]
                rows.append(":" + "\t".join(row))
        return ("\n".join(rows) + "\n+\n").encode()


def _matches(session: ProxiedSession, command: str, words: list[str]) -> bool:
    match command:
        case "KICK":
            return session.user in words
        case "KICK-ALT":
            return session.fields.get(words[0]) in words[1:]
        case "KICK-HOST":
            return session.ip in words
        case _:
            return False  # KICK-DIRECTOR-HASH: every session here carries the hash as a field


class LoginProcess:
    """A connection to the director's login socket; use it inside `run`."""

    def __init__(
        self, number: int, register: SessionRegister, name_by_ip: Mapping[str, str]
    ) -> None:
        self.number = number
        self.name = f"login process {number}"
        self._register = register
        self._name_by_ip = name_by_ip
        self._ids = itertools.count(1)
        self._waiting: dict[str, trio.MemorySendChannel[list[str]]] = {}
        self._stream: trio.SocketStream | None = None
        self._sending = trio.Lock()

    async def run(
        self, path: Path, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Connect, shake hands, and hand out replies until the director hangs up."""
        async with await connect_unix(path) as stream:
            self._stream = stream
            reader = LineReader(stream, limits.AUTH_LINE_BYTES_MAX, "login socket")
            pid = os.getpid() + self.number
            await stream.send_all(b"VERSION\t1\t2\nCPID\t%d\n" % pid)
            while lines := await reader.lines():
                for line in lines:
                    word, *fields = line.decode().split("\t")
                    if word == "DONE":
                        task_status.started()
                    elif word in ("OK", "FAIL"):
                        self._waiting.pop(fields[0]).send_nowait([word, *fields[1:]])

    async def log_in(self, user: str) -> ProxiedSession:
        """Log a user in, to wherever the director says.

        Raises:
            LoginFailed: the director or the backend refused.
        """
        word, *texts = await self._authenticate(user)
        fields = dict(text.partition("=")[::2] for text in texts)
        if word != "OK" or "proxy" not in fields or "host" not in fields:
            raise LoginFailed(f"{user}: the director answered {word} without a host")
        try:
            stream = await trio.open_tcp_stream(fields["host"], int(fields["port"]))
        except OSError as error:
            raise LoginFailed(f"{user}: {fields['host']} did not accept: {error}") from error
        name = (await stream.receive_some(1000)).decode().split()[2]
        if name != self._name_by_ip[fields["host"]]:
            raise LoginFailed(f"{user}: {fields['host']} says that it is {name}")
        await stream.send_all(f"1 LOGIN {user} {fields['pass']}\r\n".encode())
        answer = await stream.receive_some(1000)
        if not answer.startswith(b"1 OK"):
            raise LoginFailed(f"{user}: {fields['host']} answered {answer!r}")
        session = ProxiedSession(
            user=user, ip=fields["host"], backend_name=name, fields=fields, stream=stream
        )
        self._register.sessions.append(session)
        return session

    async def _authenticate(self, user: str) -> list[str]:
        assert self._stream is not None
        request_id = str(next(self._ids))
        send, receive = trio.open_memory_channel[list[str]](1)
        self._waiting[request_id] = send
        response = base64.b64encode(f"\0{user}\0secret".encode()).decode()
        request = f"AUTH\t{request_id}\tPLAIN\tservice=imap\tsecured\tresp={response}\n"
        async with self._sending:
            await self._stream.send_all(request.encode())
        return await receive.receive()
