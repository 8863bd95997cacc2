"""One machine of the ring: a director process (the real `RingNode`) and the kernel under it.

This is the simulator's counterpart of the daemon's shell: it performs effects, hands over bytes,
lets writers send, keeps the timer, and knows nothing about what the node decides. Stimuli go
through `post`, so that a paused process finds them waiting when it goes on, in order. The proxies
of the machine and their sessions belong to `workload.py`; they survive the director process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from ring import limits
from ring.address import DirectorAddress, IpAddress
from ring.commands import Command
from ring.effects import (
    AbortFlushProgram,
    CommandAnswered,
    Dial,
    Effect,
    Hangup,
    Kick,
    LinkId,
    LookupAnswered,
    Noted,
    RunFlushProgram,
)
from ring.messages import SHARDS_COUNT
from ring.node import RingNode
from ring.settings import NodeSettings
from sim.network import End
from sim.randomness import Stream

if TYPE_CHECKING:
    from sim.world import World

NOW_S = 0.001
"""How soon a node that has work left is called again."""

TURNS_MAX = 10_000
"""More effects and writes than this without time passing: the node goes in circles."""

KICK_S = 0.003
FLUSH_S = 0.05
FLUSH_JITTER_S = 0.3
"""How long kicks and flush programs take when nothing is wrong."""

Snapshot = dict[bytes, tuple[list[int], list[IpAddress], list[int]]]


class Machine:
    def __init__(self, world: World, number: int, settings: NodeSettings) -> None:
        assert settings.own is not None
        self.world = world
        self.number = number
        self.lane = f"d{number:02d}"
        self.settings = settings
        self.address: DirectorAddress = settings.own
        self.node: RingNode | None = None
        self.incarnation = 0
        self.has_power = True
        self.is_paused = False
        self.skew_s = 0.0
        self.first_skew_s = 0.0
        self.clock_set_at = float("-inf")
        self.bytes_per_s = 0
        self.kick_trouble = ""
        self.flush_trouble = ""
        self.resumed_at = float("-inf")
        self.snapshots: deque[Snapshot] = deque(maxlen=4)
        self._ends: dict[LinkId, End] = {}
        self._inbox: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()
        self._tick_at = float("inf")
        self._is_writer_due = False
        self._flushing: dict[int, int] = {}
        self._kicking: dict[int, Kick] = {}
        self._kick_stream = Stream(world.plan.seed, "kick", number)
        self._chunk_stream = Stream(world.plan.seed, "chunk", number)

    @property
    def is_off(self) -> bool:
        """Tell whether there is no director process now."""
        return self.node is None

    @property
    def wall(self) -> float:
        return self.world.true_wall + self.skew_s

    # --- life of the process ----------------------------------------------------------------------

    def start(self, snapshot: Snapshot | None = None) -> None:
        assert self.node is None
        self.incarnation += 1
        self.has_power = True
        self._tick_at = float("inf")
        self.node = self.world.node_factory(self.settings, self.world.now, self.wall)
        for tag, (hashes, ips, timestamps) in (snapshot or {}).items():
            self.node.restore_users(tag, hashes, ips, timestamps, self.world.now)
        self.world.trace.add(self.world.now, self.lane, "started")
        self.pump()

    def stop(self, *, has_power: bool) -> None:
        """The process dies; its kernel says so to everybody, unless the power is gone."""
        if self.node is None:
            return
        self.node = None
        self.incarnation += 1
        self.has_power = has_power
        self.is_paused = False
        self._inbox.clear()
        ends, self._ends = self._ends, {}
        self.world.trace.add(self.world.now, self.lane, "died" if has_power else "lost power")
        for end in ends.values():
            end.vanish(self.world.reset_mark if has_power else None)
        self.world.workload.director_died(self)
        self.world.promises.director_died(self)
        self.world.wire.forget(self)
        kicks, self._kicking = self._kicking, {}
        for kick in kicks.values():
            self.world.workload.excuse(kick.what, "kick lost in a crash", machine=self)

    def shut_down(self) -> None:
        """Stop cleanly: say goodbye, then end."""
        if self.node is not None and not self.is_paused:
            self.node.shut_down(self.world.now)
            self.pump()
        self.stop(has_power=True)

    def pause(self) -> None:
        self.is_paused = self.node is not None

    def resume(self) -> None:
        """Go on: what has waited is read first, as a process does that finds its sockets ready."""
        if not self.is_paused:
            return
        self.is_paused = False
        self.resumed_at = self.world.now
        self.world.trace.add(self.world.now, self.lane, "resumed", f"waiting={len(self._inbox)}")
        self._clock_set()
        while self._inbox and not self.is_paused:
            action, arguments = self._inbox.popleft()
            action(*arguments)
            self.pump()
        self.pump()

    def take_snapshot(self) -> Snapshot:
        node = self.node
        assert node is not None
        snapshot: Snapshot = {}
        for tag, pool in node.pools.items():
            hashes: list[int] = []
            ips: list[IpAddress] = []
            timestamps: list[int] = []
            for shard in range(SHARDS_COUNT):
                for user_hash, number, timestamp in zip(*pool.table.shard(shard), strict=True):
                    host = node.hosts.by_number[number]
                    assert host is not None
                    hashes.append(user_hash)
                    ips.append(host.ip)
                    timestamps.append(timestamp)
            snapshot[tag] = hashes, ips, timestamps
        return snapshot

    def places(self, tag: bytes, hashes: list[int]) -> list[IpAddress | None]:
        """Return the hosts of these users by its table; None: none, or expired."""
        node = self.node
        assert node is not None
        pool = node.pools.get(tag)
        if pool is None:
            return [None] * len(hashes)
        ips = [host.ip if host else None for host in node.hosts.by_number]
        lowest = int(self.wall) - self.settings.user_expire_s + 1 << 16
        return [ips[v & 0xFFFF] if v >= lowest else None for v in pool.table.find_many(hashes)]

    # --- stimuli ----------------------------------------------------------------------------------

    def post(self, action: Callable[..., None], *arguments: object) -> None:
        """Run something in the process: now, or when it goes on, or never if it is gone."""
        if self.node is None:
            return
        if self.is_paused:
            self._inbox.append((action, arguments))
            return
        action(*arguments)
        self.pump()

    def set_skew(self, skew_s: float) -> None:
        self.skew_s = skew_s
        self.clock_set_at = self.world.now
        self.world.wire.forget(self)  # users expire, or come back to life
        self.post(self._clock_set)

    def _clock_set(self) -> None:
        if self.node is not None:
            self.node.set_clock(self.world.now, self.wall)

    def lookup(self, token: Hashable, user_hash: int, tag: bytes) -> None:
        node = self.node
        assert node is not None
        self.world.wire.touched(self, user_hash)
        host = node.lookup(token, user_hash, tag, self.world.now)
        if host is not None:
            self.world.workload.decided(self, token, host.ip, 0.0)
        else:
            self.world.workload.parked(self, token)

    def refresh(self, user_hash: int) -> None:
        if self.node is not None:
            self.world.wire.touched(self, user_hash)
            self.node.refresh(user_hash, self.world.now)

    def command(self, token: Hashable, command: Command) -> None:
        if self.node is not None:
            self.node.command(token, command, self.world.now)

    # --- network ----------------------------------------------------------------------------------

    def dial_failed(self, link_id: LinkId, reason: str, incarnation: int) -> None:
        if self.node is not None and incarnation == self.incarnation:
            self.node.link_failed(link_id, reason, self.world.now)

    def connected(self, end: End) -> None:
        assert end.link_id is not None
        if self.node is None or end.incarnation != self.incarnation or not end.is_open:
            return
        if self.node.link(end.link_id) is None:
            end.close(b"")  # the node gave up meanwhile
            return
        self._ends[end.link_id] = end
        self.world.trace.add(
            self.world.now, self.lane, "connected", f"link={end.link_id} to={end.peer.machine.lane}"
        )
        self.node.link_connected(end.link_id, self.world.now)

    def accepted(self, end: End, source: IpAddress | None = None) -> None:
        if self.node is None or end.incarnation != self.incarnation or not end.is_open:
            return
        link_id = self.node.link_accepted(source or end.peer.machine.address.ip, self.world.now)
        if link_id is None:
            end.close(b"")
            return
        end.link_id = link_id
        self._ends[link_id] = end
        self.world.trace.add(
            self.world.now, self.lane, "accepted", f"link={link_id} from={end.peer.machine.lane}"
        )

    def received(self, end: End, data: bytes) -> None:
        assert end.link_id is not None
        if self.node is not None:
            self.node.received(end.link_id, data, self.world.now)

    def lost(self, end: End, reason: str) -> None:
        if self.node is not None and end.link_id in self._ends:
            del self._ends[end.link_id]
            self.world.trace.add(
                self.world.now, self.lane, "link lost", f"link={end.link_id} {reason}"
            )
            self.node.link_lost(end.link_id, reason, self.world.now)

    def wake_writer(self) -> None:
        """There may be room again."""
        if self.node is not None and not self.is_paused:
            self.pump()

    # --- performing -------------------------------------------------------------------------------

    def pump(self) -> None:
        """Perform effects and let writers write until nothing is left to do now."""
        node = self.node
        turns = 0
        while node is not None and node is self.node and not self.is_paused:
            turns += 1
            if turns > TURNS_MAX:
                self.world.promises.storm(turns)
            effects = node.drain()
            for effect in effects:
                self._perform(effect)
            if effects:
                continue
            if self.world.plan.batch_s:
                self._write_later(node)
            else:
                self._write(node)
            self._keep_timer(node)
            return

    def _keep_timer(self, node: RingNode) -> None:
        deadline = node.deadline
        if deadline < self._tick_at:
            self._tick_at = max(deadline, self.world.now + NOW_S)
            self.world.at(self._tick_at, self._tick_due, self._tick_at, self.incarnation)

    def _tick_due(self, at: float, incarnation: int) -> None:
        if at != self._tick_at or incarnation != self.incarnation:
            return
        self._tick_at = float("inf")
        node = self.node
        if node is not None and not self.is_paused and node.deadline > self.world.now:
            self._keep_timer(node)  # what was due then was put off since, as for each sign of life
            return
        self.post(self._tick)

    def _tick(self) -> None:
        if self.node is not None:
            self.node.tick(self.world.now)

    def _write_later(self, node: RingNode) -> None:
        """Let gossiped users gather for a while; anything else is written at once."""
        links = [node.link(link_id) for link_id in node.links_with_output()]
        if any(link is not None and link.has_urgent_output for link in links):
            self._write(node)
        elif links and not self._is_writer_due:
            self._is_writer_due = True
            self.world.at(self.world.now + self.world.plan.batch_s, self._writer_due)

    def _writer_due(self) -> None:
        self._is_writer_due = False
        if self.node is not None and not self.is_paused:
            self._write(self.node)
            self.pump()

    def _write(self, node: RingNode) -> None:
        """Let every link send as far as its window goes. hot: every event of a run"""
        for link_id in node.links_with_output():
            end = self._ends.get(link_id)
            link = node.link(link_id)
            if end is None or link is None or not end.is_open:
                continue
            while link.has_output:
                room = self.world.plan.window_bytes - end.outgoing.bytes_queued
                if room <= 0:
                    end.outgoing.is_full = True
                    self.world.wire.blocked(end)
                    break
                data = link.take_output(min(room, limits.SEND_BYTES), int(self.wall))
                if not data:
                    break
                self._send(end, data)

    def _send(self, end: End, data: bytes) -> None:
        network = self.world.network
        network.bytes_sent += len(data)
        network.writes_count += 1
        end.connection.sending(end, data)
        chunk = self.world.plan.chunk
        if not chunk:
            end.outgoing.send(data)
            return
        start = 0
        while start < len(data):
            size = self._chunk_stream.integer(1, max(chunk, (len(data) - start) // 4))
            end.outgoing.send(data[start : start + size])
            start += size

    def _perform(self, effect: Effect) -> None:
        world = self.world
        if isinstance(effect, Noted):
            world.noted(self, effect)
        elif isinstance(effect, Kick):
            self._kick(effect)
        elif isinstance(effect, LookupAnswered):
            world.workload.answered(self, effect)
        elif isinstance(effect, Dial):
            target = world.machine_at(effect.address)
            world.trace.add(world.now, self.lane, "dialled", f"{effect.address}")
            world.network.dial(self, effect.link_id, target)
        elif isinstance(effect, Hangup):
            end = self._ends.pop(effect.link_id, None)
            if end is not None:
                world.trace.add(world.now, self.lane, "hung up", f"link={effect.link_id}")
                end.close(effect.unsent)
        elif isinstance(effect, CommandAnswered):
            world.administrators.answered(self, effect)
        elif isinstance(effect, RunFlushProgram):
            self._run_flush(effect)
        else:
            assert isinstance(effect, AbortFlushProgram)
            self._flushing.pop(effect.flush_id, None)
            world.trace.add(world.now, self.lane, "flush aborted", f"flush={effect.flush_id}")

    def _kick(self, kick: Kick) -> None:
        world = self.world
        world.trace.add(world.now, self.lane, "kick begun", f"kick={kick.kick_id} {kick.what}")
        world.promises.kick_begun(self, kick)
        self._kicking[kick.kick_id] = kick
        seconds = KICK_S + world.plan.kick_s * self._kick_stream.fraction()
        if self.kick_trouble == "hang":
            seconds = limits.KICK_TIMEOUT_S
        world.at(world.now + seconds, self.post, self._kick_done, kick, self.incarnation)

    def _kick_done(self, kick: Kick, incarnation: int) -> None:
        if self.node is None or incarnation != self.incarnation:
            return
        self._kicking.pop(kick.kick_id, None)
        error = "login process does not answer" if self.kick_trouble else None
        had_sessions = self.world.workload.kick(self, kick.what, is_failing=error is not None)
        self.world.trace.add(
            self.world.now, self.lane, "kick ended", f"kick={kick.kick_id} {error or ''}"
        )
        self.world.promises.kick_ended(self, kick)
        was_idle = error is None and not had_sessions
        self.node.kick_finished(kick.kick_id, error, self.world.now, was_idle=was_idle)

    def _run_flush(self, effect: RunFlushProgram) -> None:
        world = self.world
        self._flushing[effect.flush_id] = self.incarnation
        world.trace.add(
            world.now, self.lane, "flush run", f"flush={effect.flush_id} user={effect.user_hash}"
        )
        world.promises.flush_begun(self, effect)
        if self.flush_trouble != "hang":
            seconds = FLUSH_S + FLUSH_JITTER_S * self._kick_stream.fraction()
            is_success = self.flush_trouble != "fail"
            world.at(world.now + seconds, self.post, self._flush_done, effect.flush_id, is_success)

    def _flush_done(self, flush_id: int, is_success: bool) -> None:
        if self.node is None or self._flushing.pop(flush_id, None) != self.incarnation:
            return
        self.world.trace.add(
            self.world.now, self.lane, "flush ended", f"flush={flush_id} ok={is_success}"
        )
        self.node.flush_finished(flush_id, is_success, self.world.now)
