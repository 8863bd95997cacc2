"""The directors this node has heard of, and where each stands clockwise from here.

One entry per (IP, port), kept for as long as the process lives or until an administrator removes
it. The entry remembers what must survive a connection: which of the director's commands we have
seen, when it last failed, which SYNC of it waits for a right neighbour (ring-protocol.md 4.2).
What to do about a failure is decided in `neighbours.py`.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator

import attrs

from ring.address import DirectorAddress, IpAddress
from ring.messages import Sync

LASTING_SEQUENCE = 1_000_000_000
"""The stamps of our own directors start at the wall clock's seconds, at least here, and go on from
what others remember; so they are larger than any that a Dovecot director reaches, and a restart
does not make them start again (DESIGN.md decision 18)."""


@attrs.define(eq=False, kw_only=True)
class Director:
    """What we know of one director. Times are monotonic seconds, None for never."""

    address: DirectorAddress
    is_own: bool = False
    is_removed: bool = False
    last_sequence: int = 0
    sync_sequence: int = 0
    sync_timestamp: int = 0
    sync_copies: int = 0
    delayed_sync: Sync | None = None
    wrong_hosts_hash: int = 0
    hosts_resent_for: int = 0
    network_failed_at: float | None = None
    protocol_failed_at: float | None = None
    retry_at: float = 0.0
    redirected_at: float = float("-inf")
    announced_copies: int = 0
    last_failed_wall: int = 0
    refusal: str = ""
    is_incompatible: bool = False

    def forget_sequences(self) -> None:
        """The director may have restarted and count from one again (section 4.2).

        One of ours counts its commands on, so that none of them is taken for new a second time.
        """
        is_counting_on = self.last_sequence >= LASTING_SEQUENCE
        if self.sync_sequence or (self.last_sequence and not is_counting_on):
            self.announced_copies = 0
        if not is_counting_on:
            self.last_sequence = 0
        self.sync_sequence = 0
        self.sync_timestamp = 0
        self.sync_copies = 0

    def has_failed_since(self, at: float) -> bool:
        """Tell whether a network or protocol failure holds it off, counted from `at`."""
        return (self.network_failed_at is not None and self.network_failed_at > at) or (
            self.protocol_failed_at is not None and self.protocol_failed_at > at
        )

    def forgive(self) -> None:
        self.network_failed_at = None
        self.protocol_failed_at = None


class Directors:
    """Sorted by address; always holds our own entry."""

    def __init__(self, own: DirectorAddress, others: Iterable[DirectorAddress]) -> None:
        self.own = Director(address=own, is_own=True)
        self._sorted: list[Director] = [self.own]
        self._by_address = {own: self.own}
        for address in others:
            self.find_or_add(address)

    def __iter__(self) -> Iterator[Director]:
        return iter(self._sorted)

    def __len__(self) -> int:
        return len(self._sorted)

    def find(self, address: DirectorAddress) -> Director | None:
        return self._by_address.get(address)

    def find_or_add(self, address: DirectorAddress) -> Director:
        director = self._by_address.get(address)
        if director is None:
            director = Director(address=address)
            self._by_address[address] = director
            bisect.insort(self._sorted, director, key=lambda d: d.address.key)
        return director

    def find_by_ip(self, ip: IpAddress) -> Director | None:
        """Return the first entry with that IP, removed or not."""
        for director in self._sorted:
            if director.address.ip == ip:
                return director
        return None

    def delete(self, director: Director) -> None:
        assert not director.is_own
        self._sorted.remove(director)
        del self._by_address[director.address]

    def distance(self, director: Director) -> int:
        """Return clockwise steps from us; our own entry is the farthest (section 5)."""
        key = director.address.key
        steps = bisect.bisect_left(self._sorted, key, key=lambda d: d.address.key)
        steps -= self._sorted.index(self.own)
        return steps % len(self._sorted) or len(self._sorted)

    def clockwise(self) -> list[Director]:
        """Return all others, nearest on the right first."""
        own = self._sorted.index(self.own)
        return self._sorted[own + 1 :] + self._sorted[:own]

    def preferred_right(self) -> Director | None:
        """Return whom we should connect to if everybody lives; None if we are alone."""
        return next((d for d in self.clockwise() if not d.is_removed), None)
