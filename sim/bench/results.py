"""What the numbers of a bench mean: medians, ratios, targets, one table, one JSON file.

Every round measures both directors one after the other, so what the machine did meanwhile happened
to both. The ratio is the median of the rounds' ratios, not the ratio of the medians: it does not
mix a quiet round of one with a noisy round of the other.
"""

from __future__ import annotations

import enum
import json
import statistics
from collections.abc import Sequence

import attrs


class Kind(enum.Enum):
    OURS = "ours"
    REAL = "real"


class Bound(enum.Enum):
    """What a target is about."""

    RATIO_AT_MOST = "<= {:g}x"
    RATIO_AT_LEAST = ">= {:g}x"
    VALUE_AT_MOST = "<= {:g}"


@attrs.frozen
class Target:
    bound: Bound
    number: float

    def __str__(self) -> str:
        return self.bound.value.format(self.number)


@attrs.frozen(kw_only=True)
class Metric:
    """One line of the table. `name` is what a bench returns the number under."""

    name: str
    unit: str
    target: Target | None = None


@attrs.frozen(kw_only=True)
class Result:
    """A metric with its rounds: pairs of ours and the real director's, None if not measured."""

    bench: str
    metric: Metric
    rounds: Sequence[tuple[float | None, float | None]]

    @property
    def ours(self) -> float | None:
        return _median([ours for ours, _ in self.rounds])

    @property
    def real(self) -> float | None:
        return _median([real for _, real in self.rounds])

    @property
    def ratio(self) -> float | None:
        return _median([ours / real for ours, real in self.rounds if ours is not None and real])

    @property
    def is_met(self) -> bool | None:
        """Return whether the target is reached; None if there is none, or nothing to judge by."""
        target = self.metric.target
        if target is None:
            return None
        measured = self.ours if target.bound is Bound.VALUE_AT_MOST else self.ratio
        if measured is None:
            return None
        if target.bound is Bound.RATIO_AT_LEAST:
            return measured >= target.number
        return measured <= target.number


def _median(numbers: Sequence[float | None]) -> float | None:
    measured = [number for number in numbers if number is not None]
    return statistics.median(measured) if measured else None


# --- output -----------------------------------------------------------------------------------

HEADINGS = ("bench", "unit", "ours", "real", "ratio", "target", "")


def format_table(results: Sequence[Result]) -> str:
    """Return one line per result under headings, in aligned columns."""
    rows = [HEADINGS, *(_cells(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, 1, 5) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def format_markdown(results: Sequence[Result]) -> str:
    """Return the table as the README shows it."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *(_cells(result) for result in results)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(result: Result) -> tuple[str, ...]:
    verdict = {None: "", True: "ok", False: "missed"}[result.is_met]
    target = result.metric.target
    return (
        f"{result.bench}: {result.metric.name}",
        result.metric.unit,
        format_number(result.ours),
        format_number(result.real),
        "-" if result.ratio is None else f"{result.ratio:.2f}",
        "" if target is None else str(target),
        verdict,
    )


def format_number(number: float | None) -> str:
    """Return a number with three digits that matter."""
    if number is None:
        return "-"
    if abs(number) >= 100:
        return f"{number:,.0f}"
    if abs(number) >= 10:
        return f"{number:.1f}"
    return f"{number:.2f}"


def format_json(results: Sequence[Result]) -> str:
    """Return a list of objects, one per result."""
    return json.dumps(
        [
            {
                "bench": f"{result.bench}: {result.metric.name}",
                "unit": result.metric.unit,
                "ours": result.ours,
                "real": result.real,
                "ratio": result.ratio,
                "target": None if result.metric.target is None else str(result.metric.target),
                "is_met": result.is_met,
                "rounds": [list(pair) for pair in result.rounds],
            }
            for result in results
        ],
        indent=1,
    )
