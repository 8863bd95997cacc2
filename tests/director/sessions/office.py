"""A real node with a test's clock in place of the daemon around it, for administrators' sessions.

`settle` performs effects as the runtime does: answers go to the sessions, kicks are kept in `kicks`
and are over at once.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address

from director.kick.census import CountsTold
from director.pollset import PollSet
from director.sessions.admin import AdminDesk, AdminSession
from ring.address import DirectorAddress
from ring.commands import Command
from ring.effects import CommandAnswered, Kick, KickField, KickHash, KickName
from ring.node import RingNode
from ring.settings import HostSetting, NodeSettings
from tests.hashing import HASHER

WALL = 1_700_000_000
USER_EXPIRE_S = 900
GREETING = b"VERSION\tdirector-doveadm\t1\t0\n"

OWN = DirectorAddress(ip=IPv4Address("127.0.0.1"), port=9090)
OTHER = DirectorAddress(ip=IPv4Address("127.0.0.9"), port=9090)

HOSTS = (
    HostSetting(ip=IPv4Address("127.0.0.2")),
    HostSetting(ip=IPv4Address("127.0.0.3")),
    HostSetting(ip=IPv4Address("127.0.0.4"), tag=b"tagA"),
)


class Office:
    """Implements `director.sessions.admin.Office`; alone in its ring unless told otherwise."""

    def __init__(self, *directors: DirectorAddress, hosts: tuple[HostSetting, ...] = HOSTS) -> None:
        self.time = 0.0
        self.kicks: list[KickName | KickField | KickHash] = []
        self.notes: list[str] = []
        self.askers: list[CountsTold] = []
        self._visitors: list[socket.socket] = []
        own = directors[0] if directors else None
        settings = NodeSettings(own=own, directors=directors, hosts=hosts)
        self.node = RingNode(settings, 0.0, WALL)
        self.hash_user = HASHER.hash
        self.poll_set = PollSet(self.settle, lambda: self.time)
        self.desk = AdminDesk(
            poll_set=self.poll_set,
            office=self,
            wall=lambda: WALL + self.time,
            count_sessions=self.askers.append,
            user_expire_s=USER_EXPIRE_S,
        )

    def now(self) -> float:
        return self.time

    def command(self, token: AdminSession, command: Command) -> None:
        self.node.command(token, command, self.time)

    def note(self, kind: str, **fields: object) -> None:
        self.notes.append(kind)

    def settle(self) -> bool:
        while effects := self.node.drain():
            for effect in effects:
                if isinstance(effect, CommandAnswered):
                    assert isinstance(effect.token, AdminSession)
                    effect.token.command_answered(effect.answer)
                elif isinstance(effect, Kick):
                    self.kicks.append(effect.what)
                    self.node.kick_finished(effect.kick_id, None, self.time)
        return False

    def let_pass(self, seconds: float) -> None:
        """Let time pass for the node, then give everybody a turn."""
        self.time += seconds
        self.node.set_clock(self.time, WALL + self.time)
        self.node.tick(self.time)
        self.settle()
        self.turn()

    def turn(self) -> None:
        """Serve until nothing is left to be done."""
        for _ in range(6):
            self.poll_set.turn()

    def visit(self) -> Visitor:
        ours, theirs = socket.socketpair()
        self._visitors.append(theirs)
        self.desk.accept(ours)
        return Visitor(self, theirs)

    def close(self) -> None:
        for visitor in self._visitors:
            visitor.close()
        self.desk.close_all()
        self.poll_set.turn()
        self.poll_set.close()


class Visitor:
    """The client's end of one connection."""

    def __init__(self, office: Office, sock: socket.socket) -> None:
        self._office = office
        self.socket = sock
        sock.setblocking(False)

    def say(self, *lines: bytes) -> bytes:
        """Send lines in one write; return what comes back without any time passing."""
        self.socket.sendall(b"".join(line + b"\n" for line in lines))
        return self.hear()

    def greet(self) -> Visitor:
        assert self.say(GREETING[:-1]) == GREETING
        return self

    def hear(self) -> bytes:
        self._office.turn()
        heard = b""
        while True:
            try:
                data = self.socket.recv(1 << 20)
            except BlockingIOError:
                return heard
            if not data:
                return heard + b"<EOF>"
            heard += data
            self._office.turn()
