"""Logins that go on while something happens to the ring: whom it delays, and how long.

Known users log in 200 times a second at each watched node, new ones 50 times, on two connections
each, whatever comes back. That is little work, so what is late was made to wait: by the director,
or by a machine that has other things to do. What the machine adds shows in a third load, which
talks to an auth service straight. (On a machine that is never quiet: `chrt -r 1 make bench`, with
real-time slices of some milliseconds in /proc/sys/kernel/sched_rr_timeslice_ms: they are 100 ms.)
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from sim.bench.results import Bound, Metric, Target
from sim.bench.rings import Ring
from sim.bench.tools import Load, Outcome

STALL_MS_MAX = 50.0
"""The worst a login may take while a native ring changes."""

KNOWN_RATE = 200
NEW_RATE = 50
SECONDS_MAX = 200
KNOWN_COUNT = 2000


@attrs.frozen(kw_only=True)
class Stall:
    """The worst of all watched nodes; `slow` took more than 50 ms, failed ones included."""

    worst_new_ms: float
    worst_known_ms: float
    worst_straight_ms: float
    """Without a director: what no director can be blamed for."""
    slow: int
    failed: int


class Logins:
    """Begins with the first login; the users below `known_prefix` must have logged in before."""

    def __init__(self, ring: Ring, numbers: Sequence[int], known_prefix: str, new: str) -> None:
        """Watch the nodes with these numbers; `new` begins the names of the new users."""
        self._known = [
            ring.load(
                number,
                *("-c", 2, "-r", KNOWN_RATE, "-n", KNOWN_RATE * SECONDS_MAX),
                *("-d", KNOWN_COUNT, "-u", known_prefix),
            )
            for number in numbers
        ]
        self._new = [
            ring.load(
                number,
                *("-c", 2, "-r", NEW_RATE, "-n", NEW_RATE * SECONDS_MAX, "-u", f"{new}{number}-"),
            )
            for number in numbers
        ]
        self._straight = ring.load_auth("-c", 2, "-r", NEW_RATE, "-n", NEW_RATE * SECONDS_MAX)

    def end(self) -> Stall:
        """Send no more, wait for all answers."""
        new, known = _end(self._new), _end(self._known)
        [straight] = _end([self._straight])
        return Stall(
            worst_new_ms=max(outcome.worst_us for outcome in new) / 1e3,
            worst_known_ms=max(outcome.worst_us for outcome in known) / 1e3,
            worst_straight_ms=straight.worst_us / 1e3,
            slow=sum(outcome.slow for outcome in new + known),
            failed=sum(outcome.failed for outcome in new + known),
        )


def _end(loads: Sequence[Load]) -> list[Outcome]:
    for load in loads:
        load.interrupt()
    return [load.finish() for load in loads]


def stall_metrics(event: str, worst_new_ms: float) -> tuple[Metric, ...]:
    """Return the lines of the table for one event, with a bound for new users."""
    return (
        Metric(
            name=f"{event}, worst new login",
            unit="ms",
            target=Target(Bound.VALUE_AT_MOST, worst_new_ms),
        ),
        Metric(name=f"{event}, worst known login", unit="ms"),
        Metric(name=f"{event}, worst without a director", unit="ms"),
        Metric(name=f"{event}, logins above 50 ms", unit="1"),
        Metric(name=f"{event}, logins failed", unit="1", target=Target(Bound.VALUE_AT_MOST, 0.0)),
    )


def stall_numbers(event: str, stall: Stall) -> dict[str, float]:
    return {
        f"{event}, worst new login": stall.worst_new_ms,
        f"{event}, worst known login": stall.worst_known_ms,
        f"{event}, worst without a director": stall.worst_straight_ms,
        f"{event}, logins above 50 ms": stall.slow,
        f"{event}, logins failed": stall.failed,
    }
