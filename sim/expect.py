"""What a scenario file expects of its run, as comparisons that survive unrelated changes.

    kept                                        no promise was broken
    broken one-host                             this one was
    longest_wait_s < 1.0                        also conflicts, longest_conflict_s, failed_logins,
    windows > 0                                 parked, kicked, logins, bytes_sent
    longest_apart_s < 2                         how long directors had a user on different hosts
    rest_s < 40                                 when everybody was forgotten, having logged out
    weight 4 == 0                               of a mail host at the end, 0 if it is not there
    longest_wait_s ~ 29.6                       measured: this, give or take a tenth, or a half
    window same-users: classic export ... > 0   how often something was excused under that name
    note move_timed_out == 0                    how often directors noted this

`rewritten` replaces what is not true any more by what was measured; a person reads and accepts it.

Rejected: the exact figures, as one more ping would change them in every file.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

from sim.run import Outcome
from sim.world import World


def _is_about(value: float, expected: float) -> bool:
    return abs(value - expected) <= max(0.5, expected / 10)


_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "~": _is_about,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}

_FIGURES: dict[str, Callable[[Outcome], float]] = {
    "longest_wait_s": lambda outcome: max(outcome.waits, default=0.0),
    "longest_conflict_s": lambda outcome: outcome.worst_conflict_s,
    "longest_apart_s": lambda outcome: outcome.longest_apart_s,
    "rest_s": lambda outcome: outcome.rest_s,
    "conflicts": lambda outcome: outcome.conflicts,
    "failed_logins": lambda outcome: outcome.failed_logins,
    "parked": lambda outcome: outcome.parked,
    "kicked": lambda outcome: outcome.kicked,
    "logins": lambda outcome: outcome.logins,
    "bytes_sent": lambda outcome: outcome.bytes_sent,
    "windows": lambda outcome: sum(outcome.windows.values()),
}

_LINE = re.compile(r"(.+) (<=|>=|==|<|>|~) ([0-9.]+)")


def unmet(expected: str, outcome: Outcome) -> list[str]:
    """Return the lines that are not true of this outcome, each with what was found.

    Raises:
        ValueError: a line is no expectation.
    """
    lines = filter(None, map(str.strip, expected.splitlines()))
    return [problem for line in lines if (problem := _problem(line, outcome)[0])]


def rewritten(expected: str, outcome: Outcome) -> str:
    """Return the lines, each that is not true replaced by one that is."""
    lines = filter(None, map(str.strip, expected.splitlines()))
    return "".join(f"{_problem(line, outcome)[1] or line}\n" for line in lines)


def _problem(line: str, outcome: Outcome) -> tuple[str, str]:
    """Return what is wrong with a line and what is true instead; both empty if it is true."""
    if line == "kept" or line.startswith("broken "):
        broken = outcome.violation
        found = f"broken {broken.promise.value}" if broken else "kept"
        problem = f"expected {line}, but {broken or 'all promises were kept'}"
        return ("", "") if line == found else (problem, found)
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError(f"{line!r} is no expectation")
    name, comparison, number = match.groups()
    value = _figure(name, outcome)
    if _COMPARISONS[comparison](value, float(number)):
        return "", ""
    return f"expected {line}, got {value:g}", f"{name} ~ {value:.1f}"


def _figure(name: str, outcome: Outcome) -> float:
    kind, _, rest = name.partition(" ")
    if kind == "window":
        return outcome.windows.get(rest, 0)
    if kind == "note":
        return outcome.notes.get(rest, 0)
    if kind == "weight":
        return _weight(outcome, int(rest))
    if name not in _FIGURES:
        names = ", ".join(_FIGURES)
        raise ValueError(f"{name!r}: expected one of {names}, window X, note X, weight N")
    return _FIGURES[name](outcome)


def _weight(outcome: Outcome, host: int) -> float:
    for line in outcome.final_hosts:
        place, weight, *_ = line.split()
        if place.startswith(f"{World.host_ip(host)}@"):
            return float(weight)
    return 0.0
