"""Several real nodes and a network that only computes: for what takes two ends to see.

Node `i` is the director 127.0.1.i. Bytes arrive in the order they were sent, in the pieces that
`take_output` gives, and a piece at a time goes round, so that an export really runs in steps. Time
moves only in `run`. Faults are the coarse ones (a node gone, hung, or cut off); the simulator in
`sim/` has the fine ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import TypeVar

import attrs

from ring.address import DirectorAddress, parse_ip
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
    LinkId,
    LookupAnswered,
    Noted,
    RunFlushProgram,
)
from ring.messages import NATIVE_MINOR, SHARDS_COUNT
from ring.node import RingNode
from ring.settings import HostSetting, NodeSettings

HOSTS = ("10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4")
PORT = 9090
START = 1000.0
WALL = 1_790_000_000.0
PIECE_BYTES = 32 * 1024

E = TypeVar("E", bound=Effect)
End = tuple[int, LinkId]


def address(number: int) -> DirectorAddress:
    return DirectorAddress(ip=ip_address(f"127.0.1.{number}"), port=PORT)


@attrs.define(eq=False)
class Net:
    """Directors 1 to `size`, none of them running yet; `minors` makes some of them classic."""

    size: int
    minors: dict[int, int] = attrs.Factory(dict)
    settings: dict[str, object] = attrs.Factory(dict)
    busy: set[int] = attrs.Factory(set)
    """Nodes that have sessions of whomever they are told to kick, or cannot tell."""
    now: float = START
    nodes: dict[int, RingNode] = attrs.Factory(dict)
    hung: dict[int, list[LinkId]] = attrs.Factory(dict)  # and the links it will find closed
    effects: dict[int, list[Effect]] = attrs.Factory(dict)
    pieces_count: int = 0
    _ends: dict[End, End] = attrs.Factory(dict)
    _severed: set[frozenset[int]] = attrs.Factory(set)

    # --- nodes ------------------------------------------------------------------------------------

    def start(self, *numbers: int, **changes: object) -> None:
        for number in numbers:
            base = NodeSettings(
                own=address(number),
                directors=tuple(address(other) for other in range(1, self.size + 1)),
                hosts=tuple(HostSetting(ip=parse_ip(ip)) for ip in HOSTS),
                minor=self.minors.get(number, NATIVE_MINOR),
            )
            settings = attrs.evolve(base, **(self.settings | changes))
            self.nodes[number] = RingNode(settings, self.now, self.wall)
            self.effects[number] = []
            self.settle()

    def start_all(self) -> None:
        self.start(*range(1, self.size + 1))
        self.run(0.01)

    def kill(self, number: int) -> None:
        """The process is gone; its neighbours read the end of file."""
        del self.nodes[number]
        self.hung.pop(number, None)
        for end in [end for end in self._ends if end[0] == number]:
            self._close(end)
        self.settle()

    def stop(self, number: int) -> None:
        """A clean stop."""
        self.nodes[number].shut_down(self.now)
        self.settle()
        self.kill(number)

    def hang(self, number: int) -> None:
        """The process is stopped: it reads nothing, and its kernel accepts for it."""
        self.hung[number] = []

    def wake(self, number: int) -> None:
        for link_id in self.hung.pop(number):
            self.nodes[number].link_lost(link_id, "EOF", self.now)
        self.settle()

    def sever(self, group: Iterable[int]) -> None:
        """Cut the network between these nodes and all others."""
        inside = set(group)
        for one in inside:
            self._severed |= {frozenset((one, other)) for other in set(self.nodes) - inside}
        for end, (other, _) in list(self._ends.items()):
            if end in self._ends and frozenset((end[0], other)) in self._severed:
                self._close(end)
                self.nodes[end[0]].link_lost(end[1], "connection reset", self.now)
        self.settle()

    def heal(self) -> None:
        self._severed.clear()

    # --- questions and stimuli --------------------------------------------------------------------

    @property
    def wall(self) -> float:
        return WALL + self.now - START

    def is_synced(self) -> bool:
        return all(node.is_synced for node in self.nodes.values())

    def login(self, number: int, user_hash: int, tag: bytes = b"") -> str | None:
        """Look a user up; None if that was parked."""
        host = self.nodes[number].lookup((self.now, user_hash, tag), user_hash, tag, self.now)
        self.settle()
        return str(host.ip) if host else None

    def command(self, number: int, command: Command) -> Answer | None:
        """Run a command and return its answer, None if that is still to come."""
        before = len(self.of(number, CommandAnswered))
        self.nodes[number].command("command", command, self.now)
        self.settle()
        answers = self.of(number, CommandAnswered)[before:]
        return answers[0].answer if answers else None

    def users(self, number: int, tag: bytes = b"") -> dict[int, tuple[str, int]]:
        """Return `{user hash: (host, timestamp)}` of every live user of one node."""
        node = self.nodes[number]
        found: dict[int, tuple[str, int]] = {}
        if tag not in node.pools:
            return found
        for shard in range(SHARDS_COUNT):
            columns = node.pools[tag].table.shard(shard)
            for user_hash, host_number, timestamp in zip(*columns, strict=True):
                host = node.hosts.by_number[host_number]
                assert host is not None
                if node.user_status(user_hash, tag, self.now).current is not None:
                    found[user_hash] = str(host.ip), timestamp
        return found

    def hosts(self, number: int) -> list[tuple[str, int, bool]]:
        return [(str(h.ip), h.weight, h.is_down) for h in self.nodes[number].hosts]

    def roles(self, number: int) -> dict[str, int]:
        """Return the numbers of the neighbours as `{"left": ..., "right": ...}`."""
        return {
            entry.role: entry.address.ip.packed[3]
            for entry in self.nodes[number].directors_status(self.now)
            if entry.role in ("left", "right") and entry.address
        }

    def of(self, number: int, kind: type[E]) -> list[E]:
        return [effect for effect in self.effects[number] if isinstance(effect, kind)]

    def notes(self, number: int, kind: str) -> list[dict[str, object]]:
        return [dict(note.fields) for note in self.of(number, Noted) if note.kind == kind]

    def lookups_answered(self, number: int) -> list[LookupAnswered]:
        return self.of(number, LookupAnswered)

    def kicks(self, number: int) -> list[KickName | KickField | KickHash]:
        return [kick.what for kick in self.of(number, Kick)]

    # --- the world --------------------------------------------------------------------------------

    def settle(self) -> None:
        """Perform effects and carry bytes until nothing moves."""
        for _ in range(20_000):
            is_moving = False
            for number, node in list(self.nodes.items()):
                if number in self.hung:
                    continue
                for effect in node.drain():
                    is_moving = True
                    self.effects[number].append(effect)
                    self._perform(number, effect)
                is_moving |= self._carry(number, node)
            if not is_moving:
                return
        raise AssertionError(f"the network does not come to rest: {self._last_notes()}")

    def _last_notes(self) -> list[Noted]:
        return [note for number in self.nodes for note in self.of(number, Noted)[-3:]]

    def run(self, seconds: float) -> None:
        """Let time go by, every node ticking when it wants to."""
        end = self.now + seconds
        while self.now < end:
            awake = [node for number, node in self.nodes.items() if number not in self.hung]
            self.now = min([end, *(max(self.now + 0.001, node.deadline) for node in awake)])
            for node in awake:
                if node.deadline <= self.now:
                    node.tick(self.now)
            self.settle()

    def run_until(self, condition: Callable[[], bool], seconds_max: float) -> float:
        """Let time go by until it is so, and return how long that took."""
        started = self.now
        while not condition():
            assert self.now - started < seconds_max, f"still not so: {self._last_notes()}"
            self.run(0.1)
        return self.now - started

    def _carry(self, number: int, node: RingNode) -> bool:
        is_moving = False
        for link_id in list(node.links_with_output()):
            link = node.link(link_id)
            other = self._ends.get((number, link_id))
            if link is None or other is None or other[0] in self.hung:
                continue
            data = link.take_output(PIECE_BYTES, int(self.wall))
            if data:
                is_moving = True
                self.pieces_count += 1
                self.nodes[other[0]].received(other[1], data, self.now)
        return is_moving

    def _perform(self, number: int, effect: Effect) -> None:
        node = self.nodes[number]
        if isinstance(effect, Dial):
            self._dial(number, effect)
        elif isinstance(effect, Hangup):
            other = self._ends.get((number, effect.link_id))
            if other is not None and effect.unsent and other[0] not in self.hung:
                self.nodes[other[0]].received(other[1], effect.unsent, self.now)
            self._close((number, effect.link_id))
        elif isinstance(effect, Kick):
            was_idle = number not in self.busy
            node.kick_finished(effect.kick_id, None, self.now, was_idle=was_idle)
        elif isinstance(effect, RunFlushProgram):
            node.flush_finished(effect.flush_id, True, self.now)

    def _dial(self, number: int, effect: Dial) -> None:
        node = self.nodes[number]
        other = effect.address.ip.packed[3]
        is_severed = frozenset((number, other)) in self._severed
        link_id = None
        if other in self.hung and not is_severed:
            return  # nobody answers, the dial times out
        if other in self.nodes and not is_severed:
            link_id = self.nodes[other].link_accepted(address(number).ip, self.now)
        if link_id is None:
            node.link_failed(effect.link_id, "connection refused", self.now)
            return
        self._ends[number, effect.link_id] = other, link_id
        self._ends[other, link_id] = number, effect.link_id
        node.link_connected(effect.link_id, self.now)

    def _close(self, end: End) -> None:
        """One end closes; the other reads the end of file."""
        other = self._ends.pop(end, None)
        if other is not None and self._ends.pop(other, None) is not None:
            node = self.nodes.get(other[0])
            if other[0] in self.hung:
                self.hung[other[0]].append(other[1])
            elif node is not None:
                node.link_lost(other[1], "EOF", self.now)
