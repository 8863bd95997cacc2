"""One real node and the scripted ends of its links, for dialogues in classic text.

The conventions are those of the recorded wire scenarios: R is the node under test, L its left and X
its right neighbour. `>>` and `<<` of a dialogue are `say` and `heard`; NOW stands for the wall
clock, which only moves when a test says so.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

import attrs

from ring.address import DirectorAddress, parse_ip
from ring.codec import native
from ring.commands import Answer, Command
from ring.effects import (
    CommandAnswered,
    Dial,
    Effect,
    Hangup,
    Kick,
    KickField,
    KickHash,
    KickName,
    Noted,
)
from ring.messages import CLASSIC_MINOR, NATIVE_MINOR, Done, Hello, Message
from ring.node import RingNode
from ring.settings import HostSetting, NodeSettings

NOW = 1_790_000_000
PORT = 19001
TIME_START = r"(?:\b|(?<=\t[UD]))"  # a word, or after the state of a host
HOSTS = ("10.1.0.1", "10.1.0.2", "10.1.0.3")
FIVE = ("127.0.1.1", "127.0.1.3", "127.0.1.7", "127.0.1.9")
"""The others of a ring of five."""


def director(text: str) -> DirectorAddress:
    host, _, port = text.partition(" ")
    return DirectorAddress(ip=ip_address(host), port=int(port or PORT))


def settings(
    own: str = "127.0.1.2",
    others: tuple[str, ...] = ("127.0.1.1", "127.0.1.3"),
    **changes: object,
) -> NodeSettings:
    base = NodeSettings(
        own=director(own),
        directors=tuple(director(other) for other in others),
        hosts=tuple(HostSetting(ip=parse_ip(ip)) for ip in HOSTS),
        minor=CLASSIC_MINOR,
    )
    return attrs.evolve(base, **changes)


def wide_ring(left: str, right: str = "127.0.1.9") -> tuple[Rig, Peer, Peer]:
    """Return 127.0.1.5 of FIVE more in a synced ring with these neighbours, and both.

    What lies between it and the right one refuses to be dialled.
    """
    rig = Rig(settings("127.0.1.5", FIVE))
    while rig.dialled[-1].address != director(right):
        rig.refuse_dial()
    far = rig.complete_right()
    near = rig.dial_in(left)
    near.shake()
    rig.sync(near, far)
    return rig, near, far


def alone(**changes: object) -> Rig:
    """Return a director without neighbours."""
    return Rig(settings(own="127.0.1.2", others=(), **changes))


@attrs.define(eq=False)
class Peer:
    """The far end of one link, spoken for by the test."""

    rig: Rig
    link_id: int
    address: DirectorAddress
    _text: bytes = b""
    is_closed: bool = False
    is_stuck: bool = False  # it does not read

    def say(self, *lines: str) -> None:
        """Send lines to the node, NOW and HH filled in, all in one read."""
        text = "".join(self.rig.fill(line) + "\n" for line in lines)
        self.rig.node.received(self.link_id, text.encode("latin-1"), self.rig.now)
        self.rig.run()

    def heard(self, *, pings: bool = False) -> list[str]:
        """Return the lines the node sent since the last call, times written as NOW."""
        self.rig.run()
        *lines, rest = self._text.decode("latin-1").split("\n")
        assert rest == ""
        self._text = b""
        for line in lines:
            if line.startswith("SYNC\t" + self.rig.own_fields):
                self.rig.sync_sequence = int(line.split("\t")[3])
        lines = [self.rig.unfill(line) for line in lines]
        return [line for line in lines if pings or not line.startswith(("PING", "PONG"))]

    def add(self, data: bytes) -> None:
        self._text += data

    def greet(self) -> None:
        self.say("VERSION\tdirector\t1\t9", f"ME\t{self.address.ip}\t{self.address.port}\tNOW")

    def say_native(self, *messages: Message) -> None:
        """Send frames to the node, all in one read."""
        self.rig.node.received(self.link_id, b"".join(map(native.encode, messages)), self.rig.now)
        self.rig.run()

    def shake_natively(self) -> None:
        """Complete a handshake as a director of ours that knows nothing."""
        me = f"ME\t{self.address.ip}\t{self.address.port}\tNOW"
        self.say(f"VERSION\tdirector\t1\t{NATIVE_MINOR}", me)
        self.say_native(Hello(director_hash="md5"), Done())

    def shake(self, is_complete: int = 0) -> None:
        """Complete a handshake as a left neighbour with the standard hosts."""
        self.greet()
        hosts = [f"HOST\t{ip}\t100\t\tU0\t" for ip in HOSTS]
        self.say(
            f"HOST-HAND-START\t{is_complete}",
            *hosts,
            f"HOST-HAND-END\t{is_complete}",
            "OPTIONS\tconsistent-hashing",
            "DONE",
        )


class Rig:
    def __init__(self, node_settings: NodeSettings | None = None) -> None:
        self.now = 1000.0
        self.wall = float(NOW)
        self.settings = node_settings or settings()
        self.node = RingNode(self.settings, self.now, self.wall)
        self.peers: dict[int, Peer] = {}
        self.dialled: list[Peer] = []
        self.effects: list[Effect] = []
        self.kicks_answered = True
        self.sync_sequence = 0
        self.run()

    # --- the world -----------------------------------------------------------------------------

    def run(self) -> None:
        """Perform effects and carry output until nothing moves."""
        for _ in range(1000):
            effects = self.node.drain()
            for effect in effects:
                self._perform(effect)
            for link_id in list(self.node.links_with_output()):
                link = self.node.link(link_id)
                assert link is not None
                if link_id in self.peers and not self.peers[link_id].is_stuck:
                    self.peers[link_id].add(link.take_output(1 << 20, int(self.wall)))
            if not effects:
                return
        raise AssertionError("the node does not come to rest")

    def _perform(self, effect: Effect) -> None:
        self.effects.append(effect)
        if isinstance(effect, Dial):
            peer = Peer(self, effect.link_id, effect.address)
            self.peers[effect.link_id] = peer
            self.dialled.append(peer)
        elif isinstance(effect, Hangup):
            peer = self.peers[effect.link_id]
            peer.add(effect.unsent)
            peer.is_closed = True
        elif isinstance(effect, Kick) and self.kicks_answered:
            self.node.kick_finished(effect.kick_id, None, self.now)

    def pass_time(self, seconds: float, step: float = 0.5) -> None:
        """Let time go by in small steps, ticking whenever the node wants it."""
        end = self.now + seconds
        while self.now < end:
            until = min(end, max(self.now, min(self.node.deadline, self.now + step)))
            self.wall += until - self.now
            self.now = until
            self.node.set_clock(self.now, self.wall)
            if self.node.deadline <= self.now:
                self.node.tick(self.now)
            self.run()

    # --- neighbours ----------------------------------------------------------------------------

    def dial_in(self, address: str) -> Peer:
        """A director connects to the node."""
        source = director(address)
        link_id = self.node.link_accepted(source.ip, self.now)
        assert link_id is not None
        peer = self.peers[link_id] = Peer(self, link_id, source)
        self.run()
        return peer

    def accept_dial(self, index: int = -1) -> Peer:
        """The node's last dial succeeds."""
        peer = self.dialled[index]
        self.node.link_connected(peer.link_id, self.now)
        self.run()
        return peer

    def refuse_dial(self, index: int = -1) -> None:
        peer = self.dialled[index]
        self.node.link_failed(peer.link_id, "connection refused", self.now)
        self.run()

    def hang_up(self, peer: Peer) -> None:
        self.node.link_lost(peer.link_id, "EOF", self.now)
        self.run()

    def complete_right(self) -> Peer:
        right = self.accept_dial()
        right.greet()
        right.say("DONE")
        return right

    def ring(self) -> tuple[Peer, Peer]:
        """Form the ring of L, R and X and return (left, right), all said so far forgotten."""
        right = self.complete_right()
        left = self.dial_in("127.0.1.1")
        left.shake()
        self.sync(left, right)
        return left, right

    def keep_alive(self, seconds: int, *peers: Peer) -> None:
        """Let time go by while these peers show that they live."""
        for _ in range(seconds):
            self.pass_time(1)
            for peer in peers:
                peer.say("PONG", "PING")

    def serve_alone(self) -> None:
        """Refuse every dial until the node concludes that it is alone."""
        while not self.node.is_synced:
            for peer in self.dialled:
                self.node.link_failed(peer.link_id, "connection refused", self.now)
            self.dialled.clear()
            self.pass_time(0.5)

    def roles(self) -> dict[str, str]:
        """Return the neighbours as `{"left": ..., "right": ...}`."""
        return {
            entry.role: str(entry.address)
            for entry in self.node.directors_status(self.now)
            if entry.role in ("left", "right")
        }

    def status_of(self, address: str) -> str:
        wanted = director(address)
        entries = self.node.directors_status(self.now)
        return next(entry.status for entry in entries if entry.address == wanted)

    def sync(self, left: Peer, right: Peer) -> None:
        """Let the node's last SYNC travel round the ring."""
        right.heard()
        left.say(f"SYNC\t{self.own_fields}\t{self.sync_sequence}\t9\tNOW\tHH")
        left.say("PONG")
        right.say("PONG")
        left.heard()
        right.heard()
        assert self.node.is_synced

    # --- administrators ------------------------------------------------------------------------

    def command(self, command: Command, token: object = "c") -> list[Answer]:
        """Run a command and return its answers so far."""
        self.node.command(token, command, self.now)
        self.run()
        return self.answers(token)

    def answers(self, token: object = "c") -> list[Answer]:
        return [
            effect.answer
            for effect in self.effects
            if isinstance(effect, CommandAnswered) and effect.token == token
        ]

    def place(self, user_hash: int, ip: str) -> None:
        """Let a user belong to a host from now on."""
        self.node.restore_users(b"", [user_hash], [ip_address(ip)], [int(self.wall)], self.now)

    def kicks(self) -> list[KickName | KickField | KickHash]:
        return [effect.what for effect in self.effects if isinstance(effect, Kick)]

    # --- text ----------------------------------------------------------------------------------

    @property
    def own_fields(self) -> str:
        assert self.settings.own is not None
        return f"{self.settings.own.ip}\t{self.settings.own.port}"

    def fill(self, line: str) -> str:
        """Replace HH by the node's hosts hash and NOW, NOW+n, NOW-n by Unix seconds."""
        line = re.sub(r"\bHH\b", str(self.node.hosts.hosts_hash()), line)
        return re.sub(
            rf"{TIME_START}NOW([+-]\d+)?",
            lambda match: str(int(self.wall) + int(match[1] or 0)),
            line,
        )

    def unfill(self, line: str) -> str:
        hosts_hash = str(self.node.hosts.hosts_hash())

        def name(match: re.Match[str]) -> str:
            if match[0] == hosts_hash:
                return "HH"
            offset = int(match[0]) - int(self.wall)
            return match[0] if abs(offset) > 2000 else f"NOW{offset:+d}" if offset else "NOW"

        return re.sub(rf"{TIME_START}\d{{6,}}\b", name, line)

    def notes(self, kind: str) -> list[dict[str, object]]:
        return [
            dict(effect.fields)
            for effect in self.effects
            if isinstance(effect, Noted) and effect.kind == kind
        ]
