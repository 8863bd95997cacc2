"""Dovecot 2.4 as a kicker sees it: `anvil`, login processes with admin sockets, and their traps."""

from __future__ import annotations

import itertools
from pathlib import Path

import attrs
import trio

from tests.director.kick.scripted import Lines, bound
from tests.hashing import HASHER

HERE, THERE = "127.0.0.2", "127.0.0.3"

_guids = itertools.count(1)


@attrs.define(eq=False)
class Session:
    """`destination_user` None: not set up by us. `ip` empty: a local session."""

    user: str
    ip: str
    destination_user: str | None = None
    pid: int = 100
    service: str = "imap-login"
    guid: str = attrs.field(factory=lambda: f"{next(_guids):032x}")
    alternatives: tuple[tuple[str, str], ...] = ()

    def fields(self) -> dict[str, str]:
        fields = dict(self.alternatives)
        if self.destination_user is not None:
            number = HASHER.hash(self.destination_user.encode())
            fields |= {"user_dirhash": f"{number}", "user_dirdest": f"{number}@{self.ip}"}
        return fields

    def row(self, header: list[str]) -> str:
        fields = self.fields()
        words = [str(self.pid), self.user, self.service, "10.0.0.1", self.guid, self.ip]
        return "\t".join(words + [fields.get(name, "") for name in header])


class Dovecot24:
    """`is_deaf`: login processes ignore anvil (one client each, up to 2.4.4). `lag`: so many
    lists still show a session that has ended. `is_hanging`: login processes ignore everybody."""

    def __init__(self, base_dir: Path) -> None:
        self.base_dir = base_dir
        self.sessions: list[Session] = []
        self.lists_left: dict[str, int] = {}
        self.commands: list[str] = []
        self.greeting = b"VERSION\tanvil-server\t2\t0\n"
        self.is_deaf = False
        self.is_hanging = False
        self.is_anvil_silent = False
        self.lag = 0

    def alive(self) -> list[Session]:
        return [session for session in self.sessions if session.guid not in self.lists_left]

    def end(self, sessions: list[Session]) -> int:
        for session in sessions:
            if session.guid not in self.lists_left:
                self.lists_left[session.guid] = self.lag
        return len(sessions)

    async def serve_anvil(self, stream: trio.SocketStream) -> None:
        lines = Lines(stream)
        await stream.send_all(self.greeting)
        assert await lines.next() == b"VERSION\tanvil-client\t2\t0"
        assert await lines.next() == b""
        while (line := await lines.next()) is not None:
            command, *words = line.decode().split("\t")
            self.commands.append(" ".join([command, *words]))
            answer = self.obey(command, words)
            if answer is None:
                return
            if not self.is_anvil_silent:
                await stream.send_all(answer.encode())

    def obey(self, command: str, words: list[str]) -> str | None:
        match command, words:
            case "CONNECT-DUMP", []:
                return self.dump()
            case "KICK-USER", [user]:
                victims = [s for s in self.alive() if s.user == user]
            case "KICK-ALT-USER", [field, value]:
                victims = [s for s in self.alive() if s.fields().get(field) == value]
            case _:
                return None
        if not self.is_deaf:
            self.end(victims)
        return f"{len(victims)}\n"

    def dump(self) -> str:
        header = sorted({name for session in self.sessions for name in session.fields()})
        rows = [session.row(header) for session in self.sessions if self.is_listed(session)]
        return "\n".join(["\t".join(header), *rows, "", ""])

    def is_listed(self, session: Session) -> bool:
        left = self.lists_left.get(session.guid, 1)
        if session.guid in self.lists_left:
            self.lists_left[session.guid] -= 1
        return left > 0

    async def serve_process(self, stream: trio.SocketStream) -> None:
        pid = int(Path(stream.socket.getsockname()).name)
        lines = Lines(stream)
        await stream.send_all(b"VERSION\tmaster-admin-server\t1\t0\n")
        assert await lines.next() == b"VERSION\tmaster-admin-client\t1\t0"
        line = await lines.next()
        assert line is not None
        command, user, guid = line.decode().split("\t")
        assert command == "KICK-USER"
        self.commands.append(f"{pid}: {user} {guid}")
        if self.is_hanging:
            await trio.sleep_forever()
        victims = [s for s in self.alive() if (s.pid, s.user, s.guid) == (pid, user, guid)]
        await stream.send_all(b"+%d\n" % self.end(victims))

    async def run(self, *pids: int, task_status: trio.TaskStatus[None]) -> None:
        """Serve `anvil` and the admin sockets of these imap-login processes."""

        async def anvil(stream: trio.SocketStream) -> None:
            await self._serve(stream, self.serve_anvil)

        async def process(stream: trio.SocketStream) -> None:
            await self._serve(stream, self.serve_process)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, anvil, [bound(self.base_dir / "anvil")])
            for pid in pids:
                path = self.base_dir / "srv.imap-login" / str(pid)
                nursery.start_soon(trio.serve_listeners, process, [bound(path)])
            task_status.started()

    async def _serve(self, stream: trio.SocketStream, serve: object) -> None:
        assert callable(serve)
        async with stream:
            try:
                await serve(stream)
            except trio.BrokenResourceError:
                pass  # the kicker went away first
