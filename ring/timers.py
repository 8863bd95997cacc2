"""A table of deadlines: at most one per key, the earliest found in O(log n).

Setting a key again replaces its deadline. Cancelled and replaced entries stay in the heap until
they surface (the usual lazy deletion); the table is rebuilt when they outnumber the live ones, so
memory stays proportional to what is really set.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Timers(Generic[K]):
    __slots__ = ("_counter", "_entries", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, K]] = []
        self._entries: dict[K, tuple[float, int, K]] = {}
        self._counter = itertools.count()  # equal deadlines fire in the order they were set

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def set(self, key: K, at: float) -> None:
        """Let `key` fall due at monotonic second `at`, instead of whenever it was due before."""
        entry = (at, next(self._counter), key)
        self._entries[key] = entry
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._entries) + 64:
            self._heap = list(self._entries.values())
            heapq.heapify(self._heap)

    def cancel(self, key: K) -> None:
        """Forget `key`; it need not be set."""
        self._entries.pop(key, None)

    @property
    def deadline(self) -> float:
        """The earliest deadline, infinity if there is none."""
        self._drop_stale()
        return self._heap[0][0] if self._heap else math.inf

    def pop_due(self, now: float) -> K | None:
        """Remove and return the key that is due first, or None if none is due."""
        self._drop_stale()
        if not self._heap or self._heap[0][0] > now:
            return None
        key = heapq.heappop(self._heap)[2]
        del self._entries[key]
        return key

    def _drop_stale(self) -> None:
        while self._heap and self._entries.get(self._heap[0][2]) is not self._heap[0]:
            heapq.heappop(self._heap)
