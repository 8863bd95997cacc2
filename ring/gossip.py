"""Who is told what: stamps, flooding, and what a user heard of from a neighbour changes here.

A command carries its origin and a number, so each node acts on it once and passes it on once
(ring-protocol.md section 8.0). Users carry no stamp; the rule "no change, no forward" stops them.
Flooding leaves out a *director*, not a link: in a ring of two nothing is ever sent back.

Received users go through `UserTable.merge` as columns; only rows that need thought (another host,
weak, being moved, no time) come here one by one (`refresh_user`, users-and-hosts.md section 8).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from ring.address import IpAddress
from ring.directors import LASTING_SEQUENCE, Director
from ring.effects import Kick, KickField, KickHash, KickName
from ring.errors import RemoteProtocolError
from ring.hosts import MailHost
from ring.lifetime import is_expired, is_near_expiry, is_recently_updated
from ring.link import Link, Phase
from ring.messages import (
    NATIVE_MINOR,
    UNKNOWN_TIMESTAMP,
    Host,
    Message,
    Stamp,
    UserKickHash,
    Users,
    UserWeak,
)
from ring.state import Pool, State
from ring.users import ABSENT

SEQUENCES = 1 << 32
"""A sequence has 32 bits on the wire; one more would cost every link. It starts again at the first
one, and which of two is later is decided by the shorter way round."""

UNTIMED_SUPPRESSION_S = 15
"""A user line without a time refreshes an entry only when that is older than this, or a quarter of
the expiry if that is less (users-and-hosts.md section 7)."""


@attrs.frozen
class Refreshed:
    """Outcome of `refresh_user`: was anything changed, must even the sender hear of it?

    `is_settled` tells that two hosts were in conflict and ours won: the sender still has the other.
    """

    is_changed: bool
    is_forced: bool
    is_settled: bool = False


CHANGED = Refreshed(True, False)


def _is_later(sequence: int, last: int) -> bool:
    if sequence < LASTING_SEQUENCE <= last:
        return True  # one of ours was replaced by a Dovecot director
    ahead = (sequence - last) % SEQUENCES
    return 0 < ahead < SEQUENCES // 2 or (ahead > 0 and not last)


def host_message(host: MailHost, stamp: Stamp | None) -> Host:
    """Return a mail host as it is now, as the ring spells it."""
    return Host(
        stamp=stamp,
        ip=host.ip,
        weight=host.weight,
        tag=host.tag,
        is_down=host.is_down,
        changed_at=host.changed_at,
        hostname=host.hostname,
        weight_set_at=host.weight_set_at,
    )


class Gossip:
    def __init__(self, state: State) -> None:
        self._state = state
        if state.settings.minor >= NATIVE_MINOR:
            state.directors.own.last_sequence = max(state.wall, LASTING_SEQUENCE)

    # --- stamps ---------------------------------------------------------------------------------

    def own_stamp(self) -> Stamp:
        own = self._state.directors.own
        own.last_sequence += 1
        if own.last_sequence == SEQUENCES:
            own.last_sequence = LASTING_SEQUENCE
        return Stamp(origin=own.address, sequence=own.last_sequence)

    def accept(self, stamp: Stamp) -> Stamp | None:
        """Return the stamp to forward a command with, or None if it was seen before.

        A command of a director we do not know (any more) is adopted: forwarded as our own.
        """
        origin = self._state.directors.find(stamp.origin)
        if origin is None or origin.is_removed:
            return self.own_stamp()
        if not _is_later(stamp.sequence, origin.last_sequence):
            return None
        origin.last_sequence = stamp.sequence
        return stamp

    # --- sending --------------------------------------------------------------------------------

    def flood(self, message: Message, *, exclude: Director | None) -> None:
        """Send to every connected link, except those of the director it came from."""
        for link in self._targets(exclude):
            link.send(message)

    def flood_user(
        self, pool: Pool, user_hash: int, packed: int, *, exclude: Director | None
    ) -> None:
        if exclude is None:
            self.flood_users(pool.tag, {user_hash: packed})
            return
        for link in self._targets(exclude):
            link.gossip_many(pool.tag, {user_hash: packed})

    def flood_users(self, tag: bytes, users: Mapping[int, int]) -> None:
        """Tell all neighbours, packed by hash. hot: bench login"""
        state = self._state
        state.frames.gossip_many(tag, users)
        for link in state.links.values():
            if not link.takes_frames:
                link.gossip_many(tag, users)

    def flood_weak(
        self, message: UserWeak, *, source: Link | None, exclude: Director | None
    ) -> None:
        """Send a weak mark round the ring in both directions (section 8.2).

        In a ring of two it goes out on the neighbour's other link. It never travels on an outgoing
        link before its handshake is done: a real director aborts on that (section 16, hazard 3).
        """
        state = self._state
        left, right = state.left, state.right
        is_pair = left is not None and right is not None and left.director is right.director
        if is_pair and exclude is not None and source in (left, right):
            other = right if source is left else left
            assert other is not None
            other.send(message)
            return
        for link in self._targets(exclude):
            if link.is_incoming or link is right:
                link.send(message)

    def _targets(self, exclude: Director | None) -> list[Link]:
        return [
            link
            for link in self._state.links.values()
            if link.phase is not Phase.CONNECTING
            and (exclude is None or link.director is not exclude)
        ]

    # --- users heard of ---------------------------------------------------------------------------

    def users_received(self, link: Link, users: Users) -> None:
        """Merge columns of users and pass on what changed.

        A node of ours that was away may export users on hosts that the ring has removed since; they
        are passed over, as are those of a host of which we are still to hear. A real director must
        be refused here (ring-protocol.md section 7.4).

        Raises:
            RemoteProtocolError: a classic export names a host the exporter did not list.
        """
        state = self._state
        link.users_received += len(users)
        hosts = [state.hosts.get(ip) for ip in users.hosts]
        if None in hosts and link.is_native:
            state.has_missed_users = True
        if users.is_handshake and None in hosts and not link.is_native:
            raise RemoteProtocolError(
                f"handshake user on the unknown host {users.hosts[hosts.index(None)]}",
                token="U",
                is_stamped=False,
            )
        tags = {host.tag for host in hosts if host is not None}
        for tag in tags:
            numbers = [h.number if h is not None and h.tag == tag else -1 for h in hosts]
            self._merge(link, users, tag, [numbers[index] for index in users.host_indexes])

    def _merge(self, link: Link, users: Users, tag: bytes, numbers: Sequence[int]) -> None:
        state = self._state
        pool = state.pool(tag)
        timestamps = users.timestamps
        special = pool.special
        if users.is_handshake:
            wall = state.wall
            if max(timestamps) > wall:
                timestamps = [min(timestamp, wall) for timestamp in timestamps]
            if users.weak:
                special = special | {users.hashes[row] for row in users.weak}
        changed, slow = pool.table.merge(
            users.hashes,
            numbers,
            timestamps,
            wall=state.wall,
            expire_s=state.settings.user_expire_s,
            special=special,
        )
        is_forwarded = not users.is_handshake or self.is_export_forwarded(link)
        if changed and is_forwarded:
            targets = self._targets(link.director)
            if users.is_handshake and self._is_spread_later(link):
                targets = [t for t in targets if t.is_telling or not t.takes_frames]
            is_clamped = max(timestamps) > state.wall  # else all are stored as they came
            # What a link tells before its handshake is done, its export tells again, newer perhaps.
            if len(changed) == len(users) and not is_clamped and link.is_done:
                targets = self._pass_on(users, targets)
            if targets:
                hashes = users.hashes
                packed = {
                    hashes[row]: pool.table.find(hashes[row])
                    if is_clamped
                    else timestamps[row] << 16 | numbers[row]
                    for row in changed
                }
                for target in targets:
                    target.gossip_many(tag, packed)
        for row in slow:
            self._merge_one(
                link,
                pool,
                users.hashes[row],
                numbers[row],
                timestamps[row],
                is_weak=row in users.weak,
                is_forwarded=is_forwarded,
            )

    def _pass_on(self, users: Users, targets: list[Link]) -> list[Link]:
        """Send a frame on as it came, so that its twin is known by it; return who takes none."""
        if not users.frame:
            return targets
        for target in targets:
            if target.takes_frames:
                target.pass_on(users)
        return [target for target in targets if not target.takes_frames]

    def is_export_forwarded(self, link: Link) -> bool:
        """Tell whether an export over `link` is news for the rest of the ring too.

        The original never forwards handshake users, so that after a healed partition only the two
        nodes at each seam know better (section 17, defect 4). Among our own nodes it is gossip,
        even at a node that is only just joining, because it may join between two that are new too
        (DESIGN.md decision 10).
        """
        return link.is_native

    def _is_spread_later(self, link: Link) -> bool:
        """Tell whether `exports.spread` will tell the others what this link tells us.

        It compares when a handshake ends; what comes after that has only us to pass it on.
        """
        return not self._state.is_handshaked and not link.is_done

    def _merge_one(
        self,
        link: Link,
        pool: Pool,
        user_hash: int,
        number: int,
        timestamp: int,
        *,
        is_weak: bool,
        is_forwarded: bool,
    ) -> None:
        host = self._state.hosts.by_number[number]
        assert host is not None
        outcome = self.refresh_user(pool, user_hash, host, timestamp, is_weak=is_weak)
        if outcome.is_changed and is_forwarded:
            packed = pool.table.find(user_hash)
            is_answered = outcome.is_forced or (outcome.is_settled and link.is_native)
            exclude = None if is_answered else link.director
            self.flood_user(pool, user_hash, packed, exclude=exclude)

    def refresh_user(
        self, pool: Pool, user_hash: int, host: MailHost, timestamp: int, *, is_weak: bool
    ) -> Refreshed:
        """Apply what a neighbour says of one user: the table of users-and-hosts.md section 8."""
        state = self._state
        expire_s = state.settings.user_expire_s
        wall = state.wall
        is_timed = timestamp != UNKNOWN_TIMESTAMP
        if not is_timed:
            timestamp = wall
        assert not is_expired(timestamp, wall, expire_s)  # `UserTable.merge` passes those over
        packed = pool.table.find(user_hash)
        if packed == ABSENT:
            pool.table.store(user_hash, host.number, min(timestamp, wall))
            if is_weak:
                pool.mark_weak(user_hash)
            else:
                pool.clear_weak(user_hash)  # of before its host was flushed
            return CHANGED
        stored = packed >> 16
        current = state.hosts.by_number[packed & 0xFFFF]
        assert current is not None
        is_changed = is_forced = is_settled = False
        if user_hash in pool.weak:
            is_changed = not is_weak or current is not host
            if not is_weak:
                pool.clear_weak(user_hash)
                state.settled_users.append((pool.tag, user_hash))
                if is_near_expiry(max(timestamp, stored), wall, expire_s):
                    timestamp = wall  # told by another clock: to ask again would not end
            current = host
        elif is_weak:
            is_changed = True
            if not is_recently_updated(stored, wall, expire_s):
                current = host
                pool.mark_weak(user_hash)
        elif current is host:
            pass
        elif is_near_expiry(stored, wall, expire_s):
            current = host
            is_changed = True
        elif user_hash not in pool.moving:
            is_changed = True
            is_forced = self._settle_conflict(user_hash, current, host, stored)
            is_settled = not is_forced
            if is_forced:
                current = host
        else:
            pool.moving[user_hash] = True
        suppression_s = 0 if is_timed else min(expire_s // 4, UNTIMED_SUPPRESSION_S)
        if timestamp > stored + suppression_s:
            stored = timestamp
            is_changed = True
        if is_changed:
            pool.table.store(user_hash, current.number, stored)
        return Refreshed(is_changed, is_forced, is_settled)

    def _settle_conflict(
        self, user_hash: int, current: MailHost, other: MailHost, stored: int
    ) -> bool:
        """Two directors sent one user to two hosts: the lower address wins, everywhere.

        Every node decides the same from the same facts; the losing host's sessions are kicked.
        Returns whether the other host won.
        """
        hosts = sorted((current, other), key=lambda h: (h.ip.version, h.ip.packed))
        winner = hosts[0]
        self._state.note(
            "user_conflict_settled",
            user_hash=user_hash,
            host=winner.ip,
            loser=hosts[1].ip,
            last_refreshed=stored,
        )
        self.kick(KickHash(user_hash=user_hash, except_ip=winner.ip))
        self.flood(
            UserKickHash(stamp=self.own_stamp(), user_hash=user_hash, except_ip=winner.ip),
            exclude=None,
        )
        return winner is other

    def kick(self, what: KickName | KickField | KickHash) -> None:
        """Close sessions here; nobody waits for the outcome."""
        self._state.effects.append(Kick(kick_id=next(self._state.kick_ids), what=what))

    # --- weak users -------------------------------------------------------------------------------

    def weak_received(self, link: Link, message: UserWeak) -> None:
        """A director suspends a user's logins until the ring agrees on its host (section 8.2).

        Who knows better says so in all directions, the sender's too. The original does not answer
        the sender, so that two who know better on both sides of the originator (or the other half
        of a pair) leave it waiting until it gives up (users-and-hosts.md section 10).
        """
        state = self._state
        host = state.hosts.get(message.ip)
        stamp = self.accept(message.stamp)
        if host is None:
            return
        is_ours = stamp is None and message.stamp.origin == state.directors.own.address
        pool = state.pool(host.tag)
        outcome = self.refresh_user(pool, message.user_hash, host, state.wall, is_weak=not is_ours)
        if not outcome.is_changed and is_ours:
            return
        packed = pool.table.find(message.user_hash)
        if message.user_hash not in pool.weak:
            self.flood_user(pool, message.user_hash, packed, exclude=None)
            return
        if stamp is None:
            if not pool.may_forward_weak(message.user_hash):
                return
            stamp = message.stamp
            if not state.is_native_ring:  # as the original; it may hide the command of that number
                origin = state.directors.find(stamp.origin)
                assert origin is not None
                stamp = Stamp(origin=stamp.origin, sequence=origin.last_sequence)
        stored = state.hosts.by_number[packed & 0xFFFF]
        assert stored is not None
        weak = UserWeak(stamp=stamp, user_hash=message.user_hash, ip=stored.ip)
        self.flood_weak(weak, source=link, exclude=link.director)

    def become_weak(self, pool: Pool, user_hash: int, ip: IpAddress) -> None:
        pool.mark_weak(user_hash)
        weak = UserWeak(stamp=self.own_stamp(), user_hash=user_hash, ip=ip)
        self.flood_weak(weak, source=None, exclude=None)
