"""What a scenario file expects of its run, as comparisons that survive unrelated changes.

    kept                                        no promise was broken
    broken one-host                             this one was
    longest_wait_s < 1.0                        also conflicts, longest_conflict_s, failed_logins,
    windows > 0                                 parked, kicked, logins, bytes_sent
    window same-users: classic export ... > 0   how often something was excused under that name

Rejected: the exact figures, as one more ping would change them in every file.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

from sim.run import Outcome

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}

_FIGURES: dict[str, Callable[[Outcome], float]] = {
    "longest_wait_s": lambda outcome: max(outcome.waits, default=0.0),
    "longest_conflict_s": lambda outcome: outcome.worst_conflict_s,
    "conflicts": lambda outcome: outcome.conflicts,
    "failed_logins": lambda outcome: outcome.failed_logins,
    "parked": lambda outcome: outcome.parked,
    "kicked": lambda outcome: outcome.kicked,
    "logins": lambda outcome: outcome.logins,
    "bytes_sent": lambda outcome: outcome.bytes_sent,
    "windows": lambda outcome: sum(outcome.windows.values()),
}

_LINE = re.compile(r"(.+) (<=|>=|==|<|>) ([0-9.]+)")


def unmet(expected: str, outcome: Outcome) -> list[str]:
    """Return the lines that are not true of this outcome, each with what was found.

    Raises:
        ValueError: a line is no expectation.
    """
    found = []
    for line in filter(None, map(str.strip, expected.splitlines())):
        problem = _problem(line, outcome)
        if problem:
            found.append(problem)
    return found


def _problem(line: str, outcome: Outcome) -> str:
    if line == "kept":
        return "" if outcome.violation is None else f"expected kept, but {outcome.violation}"
    if line.startswith("broken "):
        promise = outcome.violation.promise.value if outcome.violation else "nothing"
        wanted = line.removeprefix("broken ")
        return "" if promise == wanted else f"expected {line}, but {promise} was broken"
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError(f"{line!r} is no expectation")
    name, comparison, number = match.groups()
    if name.startswith("window "):
        value = float(outcome.windows.get(name.removeprefix("window "), 0))
    elif name in _FIGURES:
        value = float(_FIGURES[name](outcome))
    else:
        raise ValueError(f"{line!r}: expected one of {', '.join(_FIGURES)}, window NAME")
    is_met = _COMPARISONS[comparison](value, float(number))
    return "" if is_met else f"expected {line}, got {value:g}"
