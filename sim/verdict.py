"""What a promise is called, how it is broken, and what counts as an excuse.

The promises themselves are told and checked in `promises.py`, two hosts for one user in
`one_host.py`; the windows that excuse a breach in `windows.py`.
"""

from __future__ import annotations

import enum
from collections import Counter
from typing import TYPE_CHECKING

import attrs

from sim.windows import Windows

if TYPE_CHECKING:
    from sim.machine import Machine
    from sim.world import World


class Promise(enum.Enum):
    ONE_HOST = "one-host"
    SETTLED = "settled"
    ONE_RING = "one-ring"
    SAME_HOSTS = "same-hosts"
    SAME_USERS = "same-users"
    ANSWERED = "answered"
    UP_HOST = "up-host"
    MOVES = "moves"
    QUIET = "quiet"
    AT_REST = "at-rest"
    WEIGHTS = "weights"
    NO_BUG = "no-bug"


@attrs.frozen(kw_only=True)
class Violation:
    at: float
    promise: Promise
    detail: str

    def __str__(self) -> str:
        return f"{self.promise.value} broken at {self.at:.3f} s: {self.detail}"


class Broken(Exception):
    """Ends a run at its first violation."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(str(violation))
        self.violation = violation


class Judge:
    """`faults` are the windows that may excuse something, `windows` counts what they did excuse."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.faults = Windows(world)
        self.windows: Counter[str] = Counter()

    def break_(self, promise: Promise, detail: str) -> None:
        world = self._world
        violation = Violation(at=world.now, promise=promise, detail=detail)
        world.trace.add(world.now, "-----", "PROMISE BROKEN", f"{promise.value}: {detail}")
        raise Broken(violation)

    def excuse(self, promise: Promise, window: str, detail: str) -> None:
        """Count something that is allowed in this window."""
        world = self._world
        self.windows[f"{promise.value}: {window}"] += 1
        world.trace.add(world.now, "-----", "excused", f"{promise.value} ({window}): {detail}")

    def window(self, *machines: Machine, counts_clocks: bool = True) -> str:
        """Return the name of a window that excuses this, empty if there is none."""
        numbers = [machine.number for machine in machines]
        return self.faults.name(*numbers, counts_clocks=counts_clocks)

    def classic_window(self, promise: Promise, name: str, detail: str) -> bool:
        """Excuse what the original's protocol cannot do better; native links have no excuse."""
        if not self.faults.is_defect(name):
            return False
        self.excuse(promise, f"classic {name}", detail)
        return True
