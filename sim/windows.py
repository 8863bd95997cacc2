"""When a promise may be broken: windows that faults open, whom they concern, and for how long.

A window is opened by a fault that no protocol can hide: a partition, a crash, a process that stands
still, a clock that is wrong. It has an aftermath, because the ring has to form again first. A
window around one director, or around one path between two, leaves the ring in one piece, so that it
only excuses what happens to sessions through these; two such windows at the same time may split the
ring, and excuse everybody. With native links there are no other excuses but these and those of
single sessions that nobody could end (`workload.py`). With classic links the original's own defects
are excuses too, each under its name and for a bounded time after something happened to the ring.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from ring import limits

if TYPE_CHECKING:
    from sim.world import World

AFTERMATH_S = {"native": 10.0, "classic": 75.0, "mixed": 75.0}
"""How long after a window has closed what happened in it may still show.

Among our own nodes the halves of a split ring look for each other every 5 s, a director that does
not answer is given up after 3 s. The original holds a failed peer off for 60 s, and returns to its
preferred neighbour every 30 s.
"""


RING = "ring-protocol.md section 17"
USERS = "users-and-hosts.md section 16"


@attrs.frozen(kw_only=True)
class Defect:
    """A weak point of the original: where it is listed, its number there, and how long it may show
    after the last fault or command."""

    listed_in: str
    number: int
    shows_s: float


CLASSIC_DEFECTS = {
    "stamps reset by DIRECTOR": Defect(listed_in=RING, number=2, shows_s=75.0),
    "export not forwarded": Defect(listed_in=RING, number=4, shows_s=75.0 + 900.0),  # they expire
    "handshake user on a host that was removed": Defect(listed_in=RING, number=5, shows_s=75.0),
    "kill report without a name": Defect(
        listed_in=USERS, number=4, shows_s=75.0 + limits.MOVE_TIMEOUT_S
    ),
    "right neighbour but no left": Defect(
        listed_in=RING, number=17, shows_s=75.0 + limits.LOOKUP_TIMEOUT_S
    ),
    "weak mark lost": Defect(listed_in=USERS, number=15, shows_s=75.0 + limits.LOOKUP_TIMEOUT_S),
}
"""Each is shown, by this name, by a scenario of `tests/scenarios`."""


@attrs.define(eq=False, kw_only=True)
class Window:
    """`directors` are the numbers of those concerned, nobody for all."""

    name: str
    directors: frozenset[int]
    is_of_clocks: bool
    closed_at: float = float("inf")


class Windows:
    def __init__(self, world: World) -> None:
        self._world = world
        self._windows: list[Window] = []
        self._aftermath_s = AFTERMATH_S[world.plan.codec]
        self.disturbed_at = 0.0

    def open(self, name: str, *directors: int, is_of_clocks: bool = False) -> Callable[[], None]:
        """Open a window and return what closes it."""
        window = Window(name=name, directors=frozenset(directors), is_of_clocks=is_of_clocks)
        self._windows.append(window)

        def close() -> None:
            self.disturbed_at = self._world.now
            window.closed_at = min(window.closed_at, self._world.now)

        return close

    @property
    def quiet_since(self) -> float:
        """When the last window closed; infinity while one is open."""
        return max((w.closed_at for w in self._windows), default=float("-inf"))

    @property
    def is_any_open(self) -> bool:
        """Tell whether a fault goes on; a wrong clock is none, the ring can live with it."""
        return any(w.closed_at == float("inf") and not w.is_of_clocks for w in self._windows)

    def is_defect(self, name: str) -> bool:
        """Tell whether a defect of the original may show now."""
        if self._world.plan.codec == "native":
            return False
        return self._world.now <= self.disturbed_at + CLASSIC_DEFECTS[name].shows_s

    def name(self, *directors: int, counts_clocks: bool = True) -> str:
        """Return the name of a window that excuses what happens to these directors' sessions.

        None given: to anybody's. Empty if there is no such window, open or just closed.
        """
        now = self._world.now
        active = [
            w
            for w in self._windows
            if w.closed_at + self._aftermath_s >= now and (counts_clocks or not w.is_of_clocks)
        ]
        if not active:
            return ""
        window = max(active, key=lambda w: w.closed_at)
        is_whole = len({w.directors for w in active}) == 1 and window.directors
        if is_whole and directors and window.directors.isdisjoint(directors):
            return ""
        return window.name
