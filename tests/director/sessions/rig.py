"""A real runtime with local sessions in one poll set, driven turn by turn; the test is the rest.

The test plays the clients and the auth service over real sockets. The poll set's clock is the
rig's, and nothing waits: `settle` turns until nobody has anything more to do.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import attrs

from director import log
from director.log import Level, Log
from director.pollset import PollSet
from director.runtime import Performers, Runtime
from director.sessions.auth_service import AuthService
from director.sessions.authreply import AuthReply
from director.sessions.directory import Roster, Surroundings
from director.sessions.keeping import Keeping
from director.sessions.listener import SessionListener
from director.sessions.notify import NotifyStream
from director.sessions.relay import Relay
from director.sessions.rewriter import HostFields
from ring.address import parse_ip
from ring.commands import Answer, Command
from ring.effects import Dial, Hangup
from ring.settings import HostSetting, NodeSettings
from tests.director.rig import Kicker
from tests.hashing import HASHER

NOW = 1_790_000_000.0
HOSTS = (
    HostSetting(ip=parse_ip("127.0.0.2")),
    HostSetting(ip=parse_ip("127.0.0.3")),
    HostSetting(ip=parse_ip("127.0.0.4"), tag=b"tagA"),
    HostSetting(ip=parse_ip("127.0.0.1"), tag=b"lh", hostname=b"localhost"),
)


class NoLinks:
    """A director without neighbours dials nobody."""

    def dial(self, effect: Dial) -> None:
        raise AssertionError(effect)

    def hang_up(self, effect: Hangup) -> None:
        raise AssertionError(effect)

    def wake(self, link_id: int) -> None:
        raise AssertionError(link_id)


class Nobody:
    """An administrator who does not look at the answer."""

    def command_answered(self, answer: Answer) -> None:
        pass


@attrs.define(eq=False)
class End:
    """The test's end of a connection."""

    sock: socket.socket
    settle: Callable[[], None]

    def __attrs_post_init__(self) -> None:
        self.sock.setblocking(False)

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)
        self.settle()

    def heard(self) -> bytes:
        """Return all that has arrived; b"" if nothing has."""
        data = b""
        while True:
            try:
                part = self.sock.recv(1 << 20)
            except BlockingIOError:
                return data
            if not part:
                return data
            data += part
            self.settle()

    @property
    def is_closed(self) -> bool:
        """Tell whether the other end hung up; everything sent must have been heard."""
        try:
            return self.sock.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.sock.close()
        self.settle()


class Desk:
    """Local sessions around a lone director."""

    def __init__(
        self,
        path: Path,
        *,
        expire_s: int = 60,
        separator: bytes = b"",
        sessions_max: int = 1000,
        hosts: tuple[HostSetting, ...] = HOSTS,
    ) -> None:
        self.now = 1000.0
        self.lines: list[bytes] = []
        node_settings = NodeSettings(own=None, directors=(), hosts=hosts, user_expire_s=expire_s)
        self.runtime = Runtime(
            node_settings,
            HASHER,
            Log(log.format_text, Level.DEBUG, write=self.lines.append),
            proxy_refresh_s=expire_s // 2,
            clock=lambda: self.now,
            wall=lambda: NOW + self.now,
        )
        self.runtime.attach(Performers(links=NoLinks(), kicker=Kicker(), flushes=None))
        self.poll_set = PollSet(self.runtime.settle, clock=lambda: self.now)
        self.surroundings = Surroundings(
            poll_set=self.poll_set,
            keeping=Keeping(self.poll_set, self.runtime.note),
            directory=self.runtime,
            roster=Roster(sessions_max),
            master_user_separator=separator,
        )
        self.fields = HostFields()
        self.auth_path = path / "auth"
        self.auth_service = AuthService(self.surroundings, self.auth_path)
        self._auth_listener: socket.socket | None = None
        self._ends: list[End] = []

    def settle(self) -> None:
        """Turn until nothing is ready any more."""
        for _ in range(2000):
            before = len(self.lines)
            self.poll_set.turn()
            if not self.poll_set._epoll.poll(0) and before == len(self.lines):
                return
        raise AssertionError("the poll set does not come to rest")

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        node = self.runtime.node
        node.set_clock(self.now, NOW + self.now)
        while node.deadline <= self.now:
            node.tick(self.now)
        self.runtime.settle()
        self.settle()

    def command(self, command: Command) -> None:
        """An administrator changes something."""
        self.runtime.command(Nobody(), command)
        self.runtime.settle()

    def notes(self, kind: str) -> list[str]:
        return [line.decode() for line in self.lines if f" {kind} " in line.decode()]

    # --- the auth service -----------------------------------------------------------------------

    def start_auth(self) -> None:
        self._auth_listener = listen(self.auth_path)

    def stop_auth(self) -> None:
        assert self._auth_listener is not None
        self._auth_listener.close()
        self.auth_path.unlink()

    def accept_auth(self) -> End:
        """Return the auth service's end of the latest upstream connection."""
        assert self._auth_listener is not None
        return self._end(self._auth_listener.accept()[0])

    # --- clients --------------------------------------------------------------------------------

    def connect(self, keyword: bytes = b"OK") -> End:
        """A login process (OK) or lmtp (PASS) connects."""
        ours, theirs = socket.socketpair()
        Relay(
            self.surroundings,
            self.fields,
            self.auth_service,
            ours,
            listener="director",
            keyword=keyword,
        ).start()
        self.settle()
        return self._end(theirs)

    def connect_authreply(self) -> End:
        ours, theirs = socket.socketpair()
        AuthReply(self.surroundings, self.fields, ours, listener="x-authreply").start()
        self.settle()
        return self._end(theirs)

    def connect_notify(self) -> End:
        ours, theirs = socket.socketpair()
        NotifyStream(self.surroundings, ours, listener="x-notify").start()
        self.settle()
        return self._end(theirs)

    def open_door(self, path: Path) -> SessionListener:
        """Listen for login processes on a real path."""
        sock = listen(path)

        def welcome(client: socket.socket) -> None:
            Relay(
                self.surroundings,
                self.fields,
                self.auth_service,
                client,
                listener="director",
                keyword=b"OK",
            ).start()

        door = SessionListener(self.surroundings, sock, welcome, name="director")
        door.start()
        return door

    def dial(self, path: Path) -> End:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(path))
        self.settle()
        return self._end(sock)

    def _end(self, sock: socket.socket) -> End:
        end = End(sock, self.settle)
        self._ends.append(end)
        return end

    def close(self) -> None:
        for end in self._ends:
            end.sock.close()
        self.surroundings.roster.close_all()
        if self._auth_listener is not None:
            self._auth_listener.close()
        self.settle()
        self.poll_set.close()


def listen(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen(1024)
    return sock


def without_private_fields(data: bytes) -> bytes:
    """Take away what we add beyond the original (dovecot-2.4-plug.md section 4.4)."""
    lines = data.split(b"\n")
    return b"\n".join(line.partition(b"\tuser_dirhash=")[0] for line in lines)
