"""Which host does this user go to, and who has to wait for the answer.

The decision is login-sockets.md section 5.2 (users-and-hosts.md section 9), in that order. A lookup
that must wait is parked under its token; it is looked at again when something changed that could
decide it, and fails after exactly `LOOKUP_TIMEOUT_S` (the original: 30 to 60 s).

Between our own nodes a ring that is re-forming does not stall new users (DESIGN section 3): a node
whose state is complete keeps assigning, because the circle of equal host lists gives every node the
same answer. Only a change of the host list parks new users until it is agreed.

Also here: what ends a user's entry, the sweep that walks the table shard by shard.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence

import attrs

from ring import limits
from ring.effects import LookupAnswered, ParkedReason, Refusal
from ring.gossip import Gossip
from ring.hosts import MailHost
from ring.lifetime import is_expired, is_near_expiry
from ring.messages import SHARDS_COUNT
from ring.state import Pool, State
from ring.users import ABSENT

SWEEPS_PER_EXPIRY = 10
SWEEP_INTERVAL_S = 0.25
SWEEP_INTERVAL_MAX_S = 2.0
SWEEP_USERS = 1024
"""Every shard is swept ten times in a user's lifetime, in steps of at least a quarter second. Few
users are swept so many at a time (some 0.5 ms), so that a small director wakes up less often."""

STUCK_WEAK_S = 30
"""An expired weak user is kept this much longer, then dropped (users-and-hosts.md section 6)."""


@attrs.define(eq=False, kw_only=True)
class Parked:
    token: Hashable
    user_hash: int
    tag: bytes
    parked_at: float
    reason: ParkedReason


class Lookups:
    def __init__(self, state: State, gossip: Gossip) -> None:
        self._state = state
        self._gossip = gossip
        self._parked: dict[Hashable, Parked] = {}  # oldest first
        self._by_user: dict[tuple[bytes, int], dict[Hashable, Parked]] = {}
        self._retrying: list[Parked] = []
        self._next_shard = 0
        self._fresh_s = state.settings.user_expire_s - state.expiry_margin_s
        self.weak_rounds_count = 0
        self.expired_count = 0

    @property
    def parked_count(self) -> int:
        return len(self._parked)

    @property
    def has_work(self) -> bool:
        return bool(self._retrying)

    # --- deciding -------------------------------------------------------------------------------

    def lookup(self, token: Hashable, user_hash: int, tag: bytes) -> MailHost | None:
        """Return the user's host, or None: parked, and answered by an effect later."""
        [host] = self.lookup_many((user_hash,), tag)
        if host is not None:
            return host
        decided = self._decide(user_hash, tag)
        if isinstance(decided, MailHost):
            return decided
        self._park(token, user_hash, tag, decided)
        return None

    # hot: every login; bench login
    def lookup_many(self, user_hashes: Sequence[int], tag: bytes) -> list[MailHost | None]:
        """Return the hosts of these users; None: nothing was done, `lookup` must decide.

        Knows the two common cases, a known user far from its expiry and a new one in a synced ring;
        `_decide` knows all. What changed is stored and gossiped in columns.
        """
        state = self._state
        pool = state.pools.get(tag)
        if pool is None or not state.is_handshaked:
            return [None] * len(user_hashes)
        numbers, changed = pool.table.refresh_many(
            user_hashes,
            wall=state.wall,
            fresh_from=state.wall - self._fresh_s,
            special=pool.special,
            place=state.hosts.placing(tag) if state.is_synced else _place_nowhere,
        )
        if changed:
            self._gossip.flood_users(tag, changed)
        by_number = state.hosts.by_number
        return [by_number[number] for number in numbers]

    def _decide(self, user_hash: int, tag: bytes) -> MailHost | ParkedReason:
        state = self._state
        if not state.is_handshaked:
            return ParkedReason.NOT_HANDSHAKED
        pool = state.pools.get(tag)
        packed = pool.table.find(user_hash) if pool is not None else ABSENT
        expire_s = state.settings.user_expire_s
        if pool is not None and user_hash in pool.moving:
            return ParkedReason.MOVING
        if pool is None:
            return self._assign(user_hash, tag)
        is_weak = user_hash in pool.weak
        if packed == ABSENT or (is_expired(packed >> 16, state.wall, expire_s) and not is_weak):
            pool.forget(user_hash)
            return self._assign(user_hash, tag)
        stored = state.hosts.by_number[packed & 0xFFFF]
        assert stored is not None
        if state.right is None and state.is_synced:
            pool.clear_weak(user_hash)
        elif is_weak:
            return ParkedReason.WEAK
        elif is_near_expiry(packed >> 16, state.wall, expire_s):
            if not state.is_synced:
                return ParkedReason.NOT_SYNCED
            hashed = state.hosts.lookup(user_hash, tag)
            if hashed is not stored and state.ring.minor >= 1:
                self.weak_rounds_count += 1
                self._gossip.become_weak(pool, user_hash, stored.ip)
                return ParkedReason.WEAK
        self._refresh(pool, user_hash, stored)
        return stored

    def _assign(self, user_hash: int, tag: bytes) -> MailHost | ParkedReason:
        state = self._state
        if not state.is_synced and not self._may_assign_unsynced():
            return ParkedReason.NOT_SYNCED
        host = state.hosts.lookup(user_hash, tag)
        if host is None:
            return ParkedReason.NO_HOSTS
        self._refresh(state.pool(tag), user_hash, host)
        return host

    def _may_assign_unsynced(self) -> bool:
        """Tell whether every node of the ring would give a new user the same host as we."""
        state = self._state
        return (
            state.is_native_ring
            and not any(host.is_desynced for host in state.hosts)
            and not any(director.wrong_hosts_hash for director in state.directors)
        )

    def _refresh(self, pool: Pool, user_hash: int, host: MailHost) -> None:
        wall = self._state.wall
        fresh = wall << 16 | host.number
        if pool.table.find(user_hash) == fresh:
            return  # everybody has been told, or is being told
        pool.table.store(user_hash, host.number, wall)
        self._gossip.flood_user(pool, user_hash, fresh, exclude=None)

    def refresh(self, user_hash: int) -> None:
        """The user still has sessions (proxy-notify): all its entries live on."""
        state = self._state
        for pool in state.pools.values():
            packed = pool.table.find(user_hash)
            if packed == ABSENT or is_expired(
                packed >> 16, state.wall, state.settings.user_expire_s
            ):
                continue
            host = state.hosts.by_number[packed & 0xFFFF]
            assert host is not None
            self._refresh(pool, user_hash, host)

    # --- waiting --------------------------------------------------------------------------------

    def _park(self, token: Hashable, user_hash: int, tag: bytes, reason: ParkedReason) -> None:
        state = self._state
        parked = Parked(
            token=token, user_hash=user_hash, tag=tag, parked_at=state.now, reason=reason
        )
        if len(self._parked) >= limits.PARKED_LOOKUPS_MAX:
            self._answer(parked, None, Refusal.TOO_MANY_PARKED)
            return
        assert token not in self._parked
        if not self._parked:
            state.timers.set("lookups", state.now + limits.LOOKUP_TIMEOUT_S)
        self._parked[token] = parked
        self._by_user.setdefault((tag, user_hash), {})[token] = parked

    def _unpark(self, parked: Parked) -> None:
        del self._parked[parked.token]
        key = parked.tag, parked.user_hash
        of_user = self._by_user[key]
        del of_user[parked.token]
        if not of_user:
            del self._by_user[key]

    def abandon(self, token: Hashable) -> None:
        """Nobody waits for the answer any more."""
        parked = self._parked.get(token)
        if parked is not None:
            self._unpark(parked)

    def _answer(self, parked: Parked, host: MailHost | None, refusal: Refusal | None) -> None:
        state = self._state
        waited_s = state.now - parked.parked_at
        state.effects.append(
            LookupAnswered(
                token=parked.token,
                user_hash=parked.user_hash,
                tag=parked.tag,
                ip=host.ip if host else None,
                hostname=host.hostname if host else b"",
                refusal=refusal,
                waited_s=waited_s,
                detail="" if host else self._explain(parked, waited_s),
            )
        )

    def _explain(self, parked: Parked, waited_s: float) -> str:
        """Return the classic explanation of a failed lookup (users-and-hosts.md section 9)."""
        state = self._state
        if not state.is_handshaked:
            ring = "Ring has never been synced"
        else:
            word = "synced" if state.is_synced else "not synced"
            ring = f"Ring {word} for {state.now - state.synced_changed_at:.0f} secs"
        pool = state.pools.get(parked.tag)
        parts = [ring]
        if pool is not None:
            if parked.user_hash in pool.weak:
                parts.append("weak user")
            packed = pool.table.find(parked.user_hash)
            if packed != ABSENT:
                parts.append(f"user refreshed {state.wall - (packed >> 16)} secs ago")
        parts.append(f"hash={parked.user_hash}")
        if parked.tag:
            parts.append(f"tag={parked.tag.decode('utf-8', 'backslashreplace')}")
        return (
            f"Timeout because {parked.reason.value} -"
            f" queued for {waited_s:.0f} secs ({', '.join(parts)})"
        )

    def timeout_due(self) -> None:
        """Fail the lookups that have waited long enough, exactly those, so many a turn.

        A user whose agreement did not come in time is no longer weak; others who wait for it may
        begin another round.
        """
        state = self._state
        for parked in list(itertools.islice(self._parked.values(), limits.WALK_USERS_MAX)):
            due_at = parked.parked_at + limits.LOOKUP_TIMEOUT_S
            if due_at > state.now:
                state.timers.set("lookups", due_at)
                return
            self._unpark(parked)
            self._answer(parked, None, Refusal.TIMED_OUT)
            if parked.reason is ParkedReason.WEAK:
                state.pools[parked.tag].clear_weak(parked.user_hash)
                state.settled_users.append((parked.tag, parked.user_hash))
        if self._parked:
            state.timers.set("lookups", state.next_turn)

    def retry_users(self, keys: list[tuple[bytes, int]]) -> None:
        """These users stopped being weak or moving: look at who waits for them again."""
        for key in keys:
            self._retrying += self._by_user.get(key, {}).values()

    def retry_all(self) -> None:
        """The ring or the host list changed: look at every parked lookup again, oldest first."""
        state = self._state
        if state.is_synced or self._may_assign_unsynced():
            self._retrying = list(self._parked.values())

    def ring_synced(self) -> None:
        """Weak marks may have been lost while the ring was not whole: ask for agreement again."""
        state = self._state
        if not state.is_native_ring or state.is_alone:
            return
        for pool in state.pools.values():
            for user_hash in list(pool.weak):
                packed = pool.table.find(user_hash)
                host = state.hosts.by_number[packed & 0xFFFF] if packed != ABSENT else None
                if host is not None:
                    self._gossip.become_weak(pool, user_hash, host.ip)

    def continue_work(self) -> None:
        """Take the next step of retrying."""
        waiting = self._retrying[: limits.WALK_USERS_MAX]
        del self._retrying[: limits.WALK_USERS_MAX]
        for parked in waiting:
            if self._parked.get(parked.token) is not parked:
                continue
            decided = self._decide(parked.user_hash, parked.tag)
            if isinstance(decided, MailHost):
                self._unpark(parked)
                self._answer(parked, decided, None)
            else:
                parked.reason = decided

    # --- expiry ---------------------------------------------------------------------------------

    def sweep_due(self) -> None:
        """Drop the expired users of the next shards (users-and-hosts.md section 6)."""
        state = self._state
        expire_s = state.settings.user_expire_s
        pass_s = expire_s / SWEEPS_PER_EXPIRY
        users = sum(len(pool.table) for pool in state.pools.values())
        step_s = min(SWEEP_INTERVAL_MAX_S, pass_s * SWEEP_USERS / max(users, 1))
        step_s = max(SWEEP_INTERVAL_S, pass_s / SHARDS_COUNT, step_s)
        state.timers.set("sweep", state.now + step_s)
        shards = min(SHARDS_COUNT, max(1, round(SHARDS_COUNT * step_s / pass_s)))
        for pool in state.pools.values():
            self._drop_stuck_weak(pool)
            for number in range(self._next_shard, self._next_shard + shards):
                index = number % SHARDS_COUNT
                if state.is_native_ring:
                    self._bring_back(pool, index)
                self.expired_count += pool.table.sweep(index, state.wall - expire_s, pool.special)
        self._next_shard = (self._next_shard + shards) % SHARDS_COUNT

    def _bring_back(self, pool: Pool, index: int) -> None:
        """Whom a clock that is ahead refreshed would be known for as much longer (section 17, 14).

        What is said of it is older than what the others have. Each that brings the user back says
        so in its turn, and the last one is heard by all.
        """
        state = self._state
        newest = state.wall + state.expiry_margin_s
        changed = pool.table.bring_back(index, newest, state.wall, pool.special)
        if changed:
            state.note("users_brought_back", users=len(changed))
            self._gossip.flood_users(pool.tag, changed)

    def _drop_stuck_weak(self, pool: Pool) -> None:
        state = self._state
        expire_s = state.settings.user_expire_s
        for user_hash in list(pool.weak):
            packed = pool.table.find(user_hash)
            age_s = state.wall - (packed >> 16)
            if packed != ABSENT:
                if age_s < expire_s + STUCK_WEAK_S or user_hash in pool.moving:
                    continue
                state.note("weak_user_dropped", user_hash=user_hash, age_s=age_s)
            pool.forget(user_hash)
            state.settled_users.append((pool.tag, user_hash))


def _place_nowhere(_user_hash: int) -> None:
    """While the ring is not of one mind `_decide` must look at every new user."""
