"""Gossip between our own nodes as ready frames: packed once, passed on whole, read once.

A node's news of users go to both neighbours and meet on the far side of the ring. Were each link to
pack its own, every node would unpack, merge and pack most users twice. Instead

- all native links send the same frames, made from one outbox in which the latest wins;
- who learns something from every row of a frame passes on its very bytes (`gossip.py`);
- every node remembers the digests of the frames it has read, and drops unread the twin that comes
  over another link.

The twin is dropped only if it comes over *another* link, and only once: the same bytes over the
same link are new words (a user can be flushed and log in again within one second). Each path keeps
its order, so what stood between the two has been heard by then, and to read the twin could only
bring back what it has undone.

Measured in a ring of three: the CPU that a new user costs the two other nodes fell by two thirds.

Rejected: origin and number in each frame (more bytes, and a restarted node must not begin anew);
gossip in one direction only (what a broken link swallows would be missing on every node behind).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs
import mmh3

from ring import limits
from ring.codec import native
from ring.effects import LinkId
from ring.hosts import MailHost
from ring.messages import Users

USER_BYTES = 7
"""What a user takes in a full frame; only used to estimate how much waits."""


@attrs.define(eq=False)
class FrameQueue:
    """What one link has to send, in order: frames, and users that are told on this link alone."""

    _by_number: list[MailHost | None]
    _frames: list[bytes] = attrs.Factory(list)
    _users: dict[bytes, dict[int, int]] = attrs.Factory(dict)
    _frames_bytes: int = 0
    users_count: int = 0
    """Users in all frames that were ever in it."""

    @property
    def has_output(self) -> bool:
        return bool(self._frames) or bool(self._users)

    @property
    def bytes_count(self) -> int:
        """About how much waits; 0 exactly if nothing does."""
        users_count = sum(map(len, self._users.values())) if self._users else 0
        return self._frames_bytes + USER_BYTES * users_count

    def gossip_many(self, tag: bytes, users: Mapping[int, int]) -> None:
        """Tell users, packed by hash; the latest wins as long as nothing else is added."""
        self._users.setdefault(tag, {}).update(users)

    def add(self, frame: bytes, users_count: int) -> None:
        if self._users:
            self._pack()
        self._add(frame, users_count)

    def take(self) -> bytes:
        self._pack()
        data = b"".join(self._frames)
        self._frames.clear()
        self._frames_bytes = 0
        return data

    def _pack(self) -> None:
        tags, self._users = self._users, {}
        for packed_users in tags.values():
            for users in columns(packed_users, self._by_number):
                self._add(native.encode(users), len(users))

    def _add(self, frame: bytes, users_count: int) -> None:
        self._frames.append(frame)
        self._frames_bytes += len(frame)
        self.users_count += users_count


class Frames:
    """One per node, shared by its links."""

    def __init__(self, by_number: list[MailHost | None]) -> None:
        self._by_number = by_number
        self._users: dict[bytes, dict[int, int]] = {}
        self._queues: dict[LinkId, FrameQueue] = {}
        self._sources: dict[bytes, LinkId] = {}  # by digest, oldest first

    @property
    def has_users(self) -> bool:
        """Tell whether anything is not packed yet."""
        return bool(self._users)

    @property
    def bytes_count(self) -> int:
        """About how much is not packed yet; 0 exactly if nothing is."""
        return USER_BYTES * sum(map(len, self._users.values())) if self._users else 0

    def join(self, link_id: LinkId) -> FrameQueue:
        """Let a link have all that is told from now on."""
        self.seal()
        queue = self._queues[link_id] = FrameQueue(self._by_number)
        return queue

    def leave(self, link_id: LinkId) -> None:
        """The link is closed; it need not have joined."""
        self._queues.pop(link_id, None)
        if not self._queues:
            self._users.clear()

    def gossip_many(self, tag: bytes, users: Mapping[int, int]) -> None:
        """Tell users, packed by hash, over all links that have joined. hot: bench gossip"""
        if self._queues:
            self._users.setdefault(tag, {}).update(users)

    def seal(self) -> None:
        """Pack what has gathered; what is told later stands in later frames."""
        if not self._users:
            return
        tags, self._users = self._users, {}
        for packed_users in tags.values():
            for users in columns(packed_users, self._by_number):
                frame = native.encode(users)
                for queue in self._queues.values():
                    queue.add(frame, len(users))

    def is_twin(self, link_id: LinkId, frame: bytes) -> bool:
        """Tell whether the same frame has come over another link, and is not to be read again."""
        digest = mmh3.mmh3_x64_128_digest(frame)
        source = self._sources.pop(digest, link_id)
        if source != link_id:
            return True
        self._sources[digest] = link_id
        if len(self._sources) > limits.FRAMES_REMEMBERED_MAX:
            del self._sources[next(iter(self._sources))]
        return False


def columns(packed_users: dict[int, int], by_number: list[MailHost | None]) -> Iterator[Users]:
    """Yield `{user hash: timestamp << 16 | host number}` as columns for the wire.

    Users whose host number has died since (flushed or removed host) are left out.
    hot: bench gossip
    """
    hashes = list(packed_users)
    packed = list(packed_users.values())
    numbers = [p & 0xFFFF for p in packed]
    distinct = list(dict.fromkeys(numbers))
    if any(by_number[number] is None for number in distinct):
        alive = {h: p for h, p in packed_users.items() if by_number[p & 0xFFFF] is not None}
        if alive:
            yield from columns(alive, by_number)
        return
    ips = tuple(host.ip for n in distinct if (host := by_number[n]) is not None)
    position = {number: index for index, number in enumerate(distinct)}
    for start in range(0, len(hashes), limits.STEP_USERS_MAX):
        rows = slice(start, start + limits.STEP_USERS_MAX)
        yield Users(
            hashes=hashes[rows],
            timestamps=[p >> 16 for p in packed[rows]],
            hosts=ips,
            host_indexes=[position[n] for n in numbers[rows]],
        )
