"""The user table of one tag: which host a user hash belongs to, and since when.

Decides nothing about the ring: whether a user is weak, moving or in conflict is known elsewhere
(`lookups`, `moves`, `gossip`), who is expired is told from outside (`lifetime`).

The table is cut into 256 shards by the top byte of the hash, so that export, sweep, digest and
growth are bounded pieces of work. A shard is an open-addressing table with linear probing over two
arrays: `hash` (32 bits) and `timestamp << 16 | host number` (in 64 bits). The timestamp comes first
so that one comparison of packed values tells which of two entries is older.

Number 0 is never a host's (`MailHosts`), which makes three things one: an empty slot (hash 0,
number 0), a removed entry (its hash stays as a tombstone, number 0) and an entry whose host number
has died (DESIGN.md decision 4) are all "no host behind this number". So tombstones cost no branch
that dead numbers did not need already, and a user that comes back takes its old slot; shifting
entries back instead would move two columns in Python for each of the thousands that expire in one
sweep. A shard is rebuilt without them when it is full, or by a sweep that finds too many.

Measured with CPython 3.11, 1 M users: 25 bytes a user (36 at worst, just after growth), find 0.45
us and of an unknown hash 0.35, store 0.55; merge 0.5 a row that is known, 0.6 newer, 1.1 new, 0.5
new in an export; one shard: growth 1.3 ms, export 1.5, digest 1.4, sweep 0.5 if nothing is expired
and 2 to 3.5 if most is; so everything stays below 5 ms to some 2 M users a tag.

Rejected: dicts of packed integers (find 1.7 times as fast, but 97 bytes a user); three columns with
16-bit numbers (2 bytes less a slot, find 10 % slower); a list in order of expiry as the original
has (another 8 bytes a user and work at each refresh; the sweep needs no order).
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Container, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeAlias

import mmh3

from ring.hosts import MailHost, MailHosts
from ring.messages import SHARDS_COUNT, UNKNOWN_TIMESTAMP

ABSENT = -1
"""What `UserTable.find` returns for a user that has no host."""

assert (array("I").itemsize, array("Q").itemsize) == (4, 8)

_SLOTS_MIN = 8
_Shard: TypeAlias = tuple["array[int]", "array[int]", int]
"""Hashes, packed values, and the mask that makes a slot of a hash."""


class UserTable:
    """Users of one tag by hash; see the module for what "dead" means."""

    __slots__ = ("_by_number", "_counts", "_hosts", "_room", "_shards")

    def __init__(self, hosts: MailHosts) -> None:
        self._hosts = hosts
        self._by_number = hosts.by_number
        self._shards: list[_Shard] = [_new_shard(_SLOTS_MIN) for _ in range(SHARDS_COUNT)]
        self._room = [_room(_SLOTS_MIN)] * SHARDS_COUNT  # slots to be taken before a rebuild
        self._counts: list[int] = []

    def __len__(self) -> int:
        """Return how many users have a host, expired ones included that no sweep has met yet."""
        return sum(self.count(host.number) for host in self._hosts)

    def count(self, host_number: int) -> int:
        """Return how many users have this number, dead or alive."""
        return self._counts[host_number] if host_number < len(self._counts) else 0

    # hot: every login; bench sim.bench.users
    def find(self, user_hash: int) -> int:
        """Return `timestamp << 16 | host number`, or ABSENT if the user has no host."""
        hashes, values, mask = self._shards[user_hash >> 24]
        slot = user_hash & mask
        while True:
            found = hashes[slot]
            if found == user_hash:
                break
            if not found:
                return ABSENT
            slot = (slot + 1) & mask
        value = values[slot]
        return ABSENT if self._by_number[value & 0xFFFF] is None else value

    def find_many(self, user_hashes: Sequence[int]) -> list[int]:
        """Return what `find` would for each of these, in 0.3 instead of 0.45 us."""
        shards, by_number = self._shards, self._by_number
        values_found = []
        for h in user_hashes:
            hashes, values, mask = shards[h >> 24]
            slot = h & mask
            while (found := hashes[slot]) != h and found:
                slot = (slot + 1) & mask
            value = values[slot] if found else 0
            values_found.append(ABSENT if by_number[value & 0xFFFF] is None else value)
        return values_found

    # hot: every login; bench login
    def refresh_many(
        self,
        user_hashes: Sequence[int],
        *,
        wall: int,
        fresh_from: int,
        special: Container[int],
        place: Callable[[int], MailHost | None],
    ) -> tuple[list[int], dict[int, int]]:
        """Let users live on since `wall`, and those that have no host get one by `place`.

        Nothing is done for users in `special`, those that were last refreshed before `fresh_from`,
        and new ones for whom `place` knows no host. In one pass: 0.4 us a known user, 1.2 a new
        one; to find all first and to store all then cost half as much again.

        Returns:
            The host number of each user, 0 if nothing was done; and what changed, as values of
            `find` by hash.
        """
        self._reserve_count(len(self._by_number) - 1)
        shards, room, counts, by_number = self._shards, self._room, self._counts, self._by_number
        oldest, stamp = fresh_from << 16, wall << 16
        numbers: list[int] = []
        changed: dict[int, int] = {}
        for h in user_hashes:
            index = h >> 24
            hashes, values, mask = shards[index]
            slot = h & mask
            while (found := hashes[slot]) != h and found:
                slot = (slot + 1) & mask
            value = values[slot]
            number = value & 0xFFFF
            if h in special:
                number = 0
            elif by_number[number] is not None:
                if value < oldest:
                    number = 0
                elif value >> 16 != wall:
                    values[slot] = changed[h] = stamp | number
            elif (host := place(h)) is None:
                number = 0
            else:
                old_number, number = number, host.number
                changed[h] = stamp | number
                if not found and not room[index]:
                    self.store(h, number, wall)
                else:
                    if not found:
                        room[index] -= 1
                        hashes[slot] = h
                    elif old_number:
                        counts[old_number] -= 1
                    values[slot] = stamp | number
                    counts[number] += 1
            numbers.append(number)
        return numbers, changed

    # hot: every login; bench sim.bench.users
    def store(self, user_hash: int, host_number: int, timestamp: int) -> None:
        """Let the user belong to this host since `timestamp`, whatever was there before."""
        assert user_hash > 0
        assert self._by_number[host_number] is not None
        index = user_hash >> 24
        hashes, values, mask = self._shards[index]
        slot = user_hash & mask
        while True:
            found = hashes[slot]
            if found == user_hash:
                break
            if not found:
                if not self._room[index]:
                    self._rebuild(index, 1)
                    self.store(user_hash, host_number, timestamp)
                    return
                self._room[index] -= 1
                hashes[slot] = user_hash
                break
            slot = (slot + 1) & mask
        old_number = values[slot] & 0xFFFF
        values[slot] = timestamp << 16 | host_number
        if old_number != host_number:
            self._recount(old_number, host_number)

    def remove(self, user_hash: int) -> bool:
        """Forget a user; return whether it had a host."""
        hashes, values, mask = self._shards[user_hash >> 24]
        slot = user_hash & mask
        while (found := hashes[slot]) != user_hash:
            if not found:
                return False
            slot = (slot + 1) & mask
        number = values[slot] & 0xFFFF
        values[slot] = 0
        self._recount(number, 0)
        return self._by_number[number] is not None

    # hot: every gossiped user; bench sim.bench.users
    def merge(
        self,
        hashes: Sequence[int],
        host_numbers: Sequence[int],
        timestamps: Sequence[int],
        *,
        wall: int,
        expire_s: int,
        special: AbstractSet[int],
    ) -> tuple[list[int], list[int]]:
        """Take over what neighbours say, as far as no decision is needed.

        Rows with a negative host number or an expired timestamp are passed over. A user that has no
        host gets one; a newer timestamp for the same host is stored exactly. Rows for another host,
        without a timestamp, of a user in `special` (weak or moving), and all later ones of a user
        that had such a row, need the slow path.

        Returns:
            The numbers of the rows that changed the table, and of those for the slow path.
        """
        self._reserve_count(max(host_numbers, default=0))
        expired_at = wall - expire_s
        changed: list[int] = []
        start = 0
        if (
            min(host_numbers, default=0) >= 0
            and expired_at < min(timestamps, default=wall)
            and max(timestamps, default=wall) <= wall
            and 0 not in hashes
            and (not special or special.isdisjoint(hashes))
        ):
            start = self._merge_plain(hashes, host_numbers, timestamps, changed)
            if start == len(hashes):
                return changed, []
        slow: list[int] = []
        slow_hashes: set[int] = set()
        shards, room, counts, by_number = self._shards, self._room, self._counts, self._by_number
        rows = range(start, len(hashes))
        columns = hashes[start:], host_numbers[start:], timestamps[start:]
        for row, h, number, t in zip(rows, *columns, strict=True):
            if number < 0 or t <= expired_at:
                continue
            if t == UNKNOWN_TIMESTAMP or h in special or h in slow_hashes:
                slow.append(row)
                slow_hashes.add(h)
                continue
            taken, values, mask = shards[h >> 24]
            slot = h & mask
            while (found := taken[slot]) != h and found:
                slot = (slot + 1) & mask
            value = values[slot]
            if value & 0xFFFF == number:
                if t > value >> 16:
                    values[slot] = t << 16 | number
                    changed.append(row)
            elif by_number[value & 0xFFFF] is not None:
                slow.append(row)
                slow_hashes.add(h)
            elif h:  # a user hash is never 0; a peer that sends one is not worth a branch above
                index = h >> 24
                if not found and room[index]:
                    room[index] -= 1
                    taken[slot] = h
                    values[slot] = (t if t < wall else wall) << 16 | number
                    counts[number] += 1
                else:
                    if not found:
                        self._rebuild(index, 1)
                    self.store(h, number, min(t, wall))
                changed.append(row)
        return changed, slow

    # hot: every gossiped user; bench gossip
    def _merge_plain(
        self,
        hashes: Sequence[int],
        host_numbers: Sequence[int],
        timestamps: Sequence[int],
        changed: list[int],
    ) -> int:
        """Do the same for live users that are not special, in half the time.

        Adds to `changed`. Returns the number of the first row that needs the slow path, and is left
        to the caller with all that follow; how many rows there are if none does.
        """
        shards, room, counts, by_number = self._shards, self._room, self._counts, self._by_number
        # An export comes shard by shard. To grow once for all its rows makes a join twice as fast.
        is_one_shard = bool(hashes) and hashes[0] >> 24 == hashes[-1] >> 24
        packed = [t << 16 | n for t, n in zip(timestamps, host_numbers, strict=True)]
        for row, h, p in zip(range(len(hashes)), hashes, packed, strict=True):
            index = h >> 24
            taken, values, mask = shards[index]
            slot = h & mask
            while (found := taken[slot]) != h and found:
                slot = (slot + 1) & mask
            if found:
                v = values[slot]
                if not (v ^ p) & 0xFFFF:
                    if p > v:
                        values[slot] = p
                        changed.append(row)
                    continue
                if by_number[v & 0xFFFF] is not None:
                    return row
                self._recount(v & 0xFFFF, p & 0xFFFF)
                values[slot] = p
            elif room[index]:
                room[index] -= 1
                taken[slot] = h
                values[slot] = p
                counts[p & 0xFFFF] += 1
            else:
                self._rebuild(index, _still_to_come(hashes, row) if is_one_shard else 1)
                self.store(h, p & 0xFFFF, p >> 16)
            changed.append(row)
        return len(hashes)

    def shard(self, index: int) -> tuple[array[int], array[int], array[int]]:
        """Return the users of one shard that have a host, as columns sorted by hash.

        They are hashes, host numbers and timestamps, a copy. Sorted, because columns in the order
        of slots would fill another node's growing table from the front, at 4 times the probes.
        """
        hashes, values, _ = self._shards[index]
        by_number = self._by_number
        users = {h: v for h, v in zip(hashes, values, strict=True) if by_number[v & 0xFFFF]}
        ordered = sorted(users)
        packed = [users[h] for h in ordered]
        return (
            array("I", ordered),
            array("H", [p & 0xFFFF for p in packed]),
            array("I", [p >> 16 for p in packed]),
        )

    def sweep(self, index: int, expired_before: int, keep: Container[int]) -> int:
        """Remove the users of one shard whose timestamp is `expired_before` or less.

        Those in `keep` stay. Entries with dead numbers go too, without being counted. Return how
        many users were removed.
        """
        hashes, values, mask = self._shards[index]
        by_number, counts = self._by_number, self._counts
        newest_expired = expired_before << 16 | 0xFFFF
        removed_count = live_count = 0
        for slot, v in enumerate(values):
            if not v:
                continue
            number = v & 0xFFFF
            if by_number[number] is None:
                counts[number] -= 1
                values[slot] = 0
            elif v <= newest_expired and hashes[slot] not in keep:
                counts[number] -= 1
                values[slot] = 0
                removed_count += 1
            else:
                live_count += 1
        tombstones_count = _room(mask + 1) - self._room[index] - live_count
        if tombstones_count * 8 > mask or _slots_for(live_count) * 2 <= mask:
            self._rebuild(index, 0)
        return removed_count

    def bring_back(
        self, index: int, newest: int, wall: int, keep: Container[int]
    ) -> dict[int, int]:
        """Let users of one shard that were refreshed after `newest` have been so at `wall`.

        Those in `keep` stay. Return what changed, as values of `find` by hash. 0.2 ms at 1 M users
        if nobody's time lies ahead, 2 ms if everybody's does.
        """
        hashes, values, _ = self._shards[index]
        newest_value = newest << 16 | 0xFFFF
        changed: dict[int, int] = {}
        if max(values) <= newest_value:
            return changed
        for slot, v in enumerate(values):
            number = v & 0xFFFF
            is_ahead = v > newest_value and self._by_number[number] is not None
            if is_ahead and hashes[slot] not in keep:
                values[slot] = changed[hashes[slot]] = wall << 16 | number
        return changed

    def digest(self, index: int, expired_before: int) -> int:
        """Return 64 bits that tell whether two nodes know the same of the users of a shard.

        It covers hash, host address and timestamp of each user that has a host and is not expired,
        and depends neither on host numbers nor on the order in which users came.
        """
        salts = {h.number: mmh3.mmh3_x64_128_uintdigest(h.ip.packed) >> 64 for h in self._hosts}
        hashes, values, _ = self._shards[index]
        newest_expired = expired_before << 16 | 0xFFFF
        rows = [
            (h << 32 | v >> 16) ^ salts[n]
            for h, v in zip(hashes, values, strict=True)
            if v > newest_expired and (n := v & 0xFFFF) in salts
        ]
        rows.sort()
        column = array("Q", rows)
        if sys.byteorder == "big":
            column.byteswap()
        return mmh3.mmh3_x64_128_uintdigest(column.tobytes()) & 0xFFFF_FFFF_FFFF_FFFF

    # hot: growth of a shard must stay far below 5 ms, and is half of what a new user costs
    def _rebuild(self, index: int, room_min: int) -> None:
        """Rid a shard of everything dead and give it a size with room for `room_min` more."""
        by_number, counts = self._by_number, self._counts
        hashes, values, _ = self._shards[index]
        users_count = len(values) - values.count(0)  # and those with dead numbers, if there are any
        slots_count = _slots_for(users_count)
        while _room(slots_count) < users_count + room_min:
            slots_count *= 2
        self._shards[index] = taken, stored, mask = _new_shard(slots_count)
        has_dead = self._hosts.has_dead_numbers
        for h, v in zip(hashes, values, strict=True):
            if not v:
                continue
            if has_dead and by_number[v & 0xFFFF] is None:
                counts[v & 0xFFFF] -= 1
                users_count -= 1
                continue
            slot = h & mask
            while taken[slot]:
                slot = (slot + 1) & mask
            taken[slot] = h
            stored[slot] = v
        self._room[index] = _room(slots_count) - users_count

    def _recount(self, old_number: int, new_number: int) -> None:
        """Note that one user went from one host to another; 0 stands for none."""
        self._reserve_count(new_number)
        if old_number:
            self._counts[old_number] -= 1
        if new_number:
            self._counts[new_number] += 1

    def _reserve_count(self, number: int) -> None:
        missing = number + 1 - len(self._counts)
        if missing > 0:
            self._counts += [0] * missing


# --- slots ------------------------------------------------------------------------------------


def _new_shard(slots_count: int) -> _Shard:
    return array("I", bytes(4 * slots_count)), array("Q", bytes(8 * slots_count)), slots_count - 1


def _room(slots_count: int) -> int:
    """Return how many slots may be taken: two thirds, so that a miss costs 5 probes at worst."""
    return slots_count * 2 // 3


def _still_to_come(hashes: Sequence[int], row: int) -> int:
    """Return how many users of a shard an export will tell from this row on, as far as one can see.

    It tells them sorted, in steps, so the first step shows how dense they are. Without that a shard
    of four steps grew four times, a seventh of what a join costs. Four steps at most are believed.
    """
    rows_count = len(hashes) - row
    first, last = hashes[row] & 0xFF_FFFF, hashes[-1] & 0xFF_FFFF
    if last <= first:
        return rows_count
    return min(rows_count * (0x100_0000 - first) // (last - first), 4 * len(hashes))


def _slots_for(users_count: int) -> int:
    """Return the size of a rebuilt shard: at most half full, so that rebuilds are rare."""
    return max(_SLOTS_MIN, 1 << (2 * users_count - 1).bit_length() if users_count else 0)
