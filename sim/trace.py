"""What happened, one line per event in fixed columns: when, where, what, and details.

The same seed gives the same lines under any PYTHONHASHSEED; `digest` is what tests compare. Lines
are kept only if somebody wants to read them (the last ones always, for a failure), because a
virtual hour of 100 directors has tens of millions.

Rejected: structured events with a renderer each; `explain` needs the columns only.
"""

from __future__ import annotations

from collections import deque

import mmh3

LAST_LINES_MAX = 400
"""Lines kept when nobody asked for all of them; older ones are only in the digest."""


class Trace:
    def __init__(self, *, is_kept: bool) -> None:
        self.lines: deque[str] = deque(maxlen=None if is_kept else LAST_LINES_MAX)
        self.events_count = 0
        self._digest = 0

    def add(self, now: float, lane: str, event: str, detail: str = "") -> None:
        """Write one line. hot: every event of a run"""
        line = f"{now:12.6f} {lane:<5} {event:<18} {detail}"
        self.events_count += 1
        self._digest = mmh3.hash(line.encode(), self._digest, signed=False)
        self.lines.append(line)

    @property
    def digest(self) -> str:
        return f"{self._digest:08x}"
