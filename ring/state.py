"""What one node knows: plain data, shared by the modules that decide about it.

Nothing is decided here. Each field names the module that changes it; the others read. `node.py`
sets `now` before it hands a stimulus down, so that nobody below passes time around.
"""

from __future__ import annotations

import itertools
import math
from typing import Literal, TypeAlias

import attrs

from ring import limits
from ring.directors import Directors
from ring.effects import Effect, Noted
from ring.frames import Frames
from ring.hosts import MailHosts
from ring.lifetime import expiry_margin_s
from ring.link import Link, RingVersion
from ring.messages import NATIVE_MINOR, SHARDS_COUNT
from ring.settings import DEFAULT_WEIGHT, NodeSettings
from ring.timers import Timers
from ring.users import UserTable

TimerKey: TypeAlias = (
    tuple[Literal["idle", "pong", "leave"], int]  # neighbours.py, heartbeat.py, by link id
    | tuple[Literal["move", "delay"], bytes, int]  # moves.py, by tag and user hash
    | Literal["reconnect", "preferred", "nearer"]  # neighbours.py
    | Literal["purge"]  # members.py
    | Literal["resync"]  # sync.py
    | Literal["lookups", "sweep"]  # lookups.py
    | Literal["administration"]  # administration.py
)


@attrs.define(eq=False, kw_only=True)
class Pool:
    """The users of one tag.

    `weak` (lookups.py, gossip.py) and `moving` (moves.py) are side tables of the few users that
    need care; `special` is their union, the one set the hot paths look at. The value of a weak user
    is how many copies of old weak marks were forwarded for it, that of a moving one whether another
    host than its new one was heard of meanwhile.
    """

    tag: bytes
    table: UserTable
    weak: dict[int, int] = attrs.Factory(dict)
    moving: dict[int, bool] = attrs.Factory(dict)
    special: set[int] = attrs.Factory(set)

    def mark_weak(self, user_hash: int) -> None:
        self.weak.setdefault(user_hash, 0)
        self.special.add(user_hash)

    def may_forward_weak(self, user_hash: int) -> bool:
        """Count one more copy of an old weak mark; tell whether it may still travel.

        The original forwards copies for ever, which only their originator ends. If that has died,
        they would circle until the next change of neighbours.
        """
        self.weak[user_hash] += 1
        return self.weak[user_hash] <= limits.WEAK_COPIES_MAX

    def clear_weak(self, user_hash: int) -> None:
        self.weak.pop(user_hash, None)
        if user_hash not in self.moving:
            self.special.discard(user_hash)

    def mark_moving(self, user_hash: int) -> None:
        self.moving.setdefault(user_hash, False)
        self.special.add(user_hash)

    def clear_moving(self, user_hash: int) -> None:
        self.moving.pop(user_hash, None)
        if user_hash not in self.weak:
            self.special.discard(user_hash)

    def forget(self, user_hash: int) -> None:
        """Drop the user and its weak mark; a move goes on without it (users-and-hosts.md 6)."""
        self.table.remove(user_hash)
        self.clear_weak(user_hash)


class State:
    """See the module docstring; `now` is monotonic seconds, `wall` Unix seconds."""

    def __init__(self, settings: NodeSettings, directors: Directors, now: float, wall: float):
        self.settings = settings
        self.now = now
        self.wall_offset = wall - now
        self.effects: list[Effect] = []
        self.timers: Timers[TimerKey] = Timers()
        self.directors = directors
        self.hosts = MailHosts()
        self.configured_hosts = MailHosts()
        for hosts in (self.hosts, self.configured_hosts):
            for host in settings.hosts:
                hosts.add(host.ip, tag=host.tag, hostname=host.hostname, weight=DEFAULT_WEIGHT)
        self.pools: dict[bytes, Pool] = {}
        self.expiry_margin_s = expiry_margin_s(settings.user_expire_s)
        # neighbours.py
        self.frames = Frames(self.hosts.by_number)
        self.links: dict[int, Link] = {}
        self.left: Link | None = None
        self.right: Link | None = None
        self.first_alone_at: float | None = None
        # sync.py
        self.ring = RingVersion(settings.minor)
        self.is_handshaked = False
        self.is_synced = False
        self.synced_changed_at = now
        # Ours goes on after a restart: no SYNC of before that is still under way looks newer.
        self.sync_sequence = int(wall) if settings.minor >= NATIVE_MINOR else 0
        self.sync_sent_at = now
        self.sync_roundtrip_s = 0.0
        self.is_batching = False
        self.is_sync_wanted = False
        self.directors_changed_count = 0
        self.directors_synced_count = 0
        self.kick_ids = itertools.count(1)  # gossip.py, moves.py, kicks.py
        # Anybody: what waits for the ring or for a user is looked at again (node.py, at the end).
        self.is_changed = False
        self.is_newly_synced = False  # sync.py
        # Until the ring is synced again (exports.py).
        self.has_forgotten_users = False  # host_list.py
        self.has_missed_users = False  # gossip.py
        self.settled_users: list[tuple[bytes, int]] = []

    @property
    def wall(self) -> int:
        return int(self.now + self.wall_offset)

    @property
    def wall_ms(self) -> int:
        return int((self.now + self.wall_offset) * 1000)

    @property
    def next_turn(self) -> float:
        """The deadline of what is to go on as soon as everybody else had a turn."""
        return math.nextafter(self.now, math.inf)

    @property
    def is_alone(self) -> bool:
        """Tell whether there is no neighbour to agree with."""
        return self.left is None and self.right is None

    @property
    def is_native_ring(self) -> bool:
        """Tell whether the last complete SYNC met nobody but our own kind."""
        return self.is_handshaked and self.ring.minor >= NATIVE_MINOR

    def pool(self, tag: bytes) -> Pool:
        """Return the users of a tag, which exists from its first mention on."""
        pool = self.pools.get(tag)
        if pool is None:
            pool = self.pools[tag] = Pool(tag=tag, table=UserTable(self.hosts))
        return pool

    def reclaim_host_numbers(self) -> None:
        """If no number is left for a host, make those of flushed hosts free again.

        Every entry of every table must be looked at, about 0.4 s a million users. That is once in
        some 60,000 flushes.
        """
        if self.hosts.numbers_left:
            return
        for pool in self.pools.values():
            for shard in range(SHARDS_COUNT):
                pool.table.sweep(shard, 0, pool.special)
        tables = [pool.table for pool in self.pools.values()]
        self.hosts.reclaim_numbers(lambda number: any(t.count(number) for t in tables))

    def note(self, kind: str, **fields: object) -> None:
        self.effects.append(Noted(kind, tuple(fields.items())))
