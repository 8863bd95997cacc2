"""Figures of one run or of many, and the table that shows them."""

from __future__ import annotations

import bisect
import itertools
from collections import Counter

import attrs
from rich.console import Console
from rich.table import Table

from sim.run import Outcome


@attrs.define(eq=False)
class Summary:
    """Adds up outcomes."""

    runs: int = 0
    virtual_s: float = 0.0
    events: int = 0
    logins: int = 0
    failed_logins: int = 0
    parked: int = 0
    kicked: int = 0
    bytes_sent: int = 0
    writes: int = 0
    rows: int = 0
    conflicts: int = 0
    conflicts_settled: int = 0
    worst_conflict_s: float = 0.0
    worst_by_window: dict[str, float] = attrs.Factory(dict)
    codecs: Counter[str] = attrs.Factory(Counter)
    faults: Counter[str] = attrs.Factory(Counter)
    messages: Counter[str] = attrs.Factory(Counter)
    windows: Counter[str] = attrs.Factory(Counter)
    waits_ms: Counter[int] = attrs.Factory(Counter)

    def add(self, outcome: Outcome) -> None:
        self.runs += 1
        self.virtual_s += outcome.virtual_s
        self.events += outcome.events
        self.logins += outcome.logins
        self.failed_logins += outcome.failed_logins
        self.parked += outcome.parked
        self.kicked += outcome.kicked
        self.bytes_sent += outcome.bytes_sent
        self.writes += outcome.writes
        self.rows += outcome.rows
        self.conflicts += outcome.conflicts
        self.conflicts_settled += outcome.conflicts_settled
        self.worst_conflict_s = max(self.worst_conflict_s, outcome.worst_conflict_s)
        for name, seconds in outcome.worst_by_window.items():
            self.worst_by_window[name] = max(self.worst_by_window.get(name, 0.0), seconds)
        self.codecs[outcome.plan.codec] += 1
        self.faults.update(outcome.faults)
        self.messages.update(outcome.messages)
        self.windows.update(outcome.windows)
        self.waits_ms.update(round(1000 * wait_s) for wait_s in outcome.waits)

    def lines(self) -> list[tuple[str, str]]:
        """Return what there is to say, as names and values."""
        logins = max(1, self.logins)
        conflicts = f"{self.conflicts} opened, {self.conflicts_settled} settled"
        said = "not read" if not self.messages else f"{self.messages.total() / logins:.1f}"
        return [
            ("runs", f"{self.runs} ({_counts(self.codecs)})"),
            ("virtual hours", f"{self.virtual_s / 3600:.2f}"),
            ("events", f"{self.events}"),
            ("logins", f"{self.logins}, {self.parked} parked, {self.failed_logins} failed"),
            ("lookup wait", _quantiles(self.waits_ms)),
            ("sessions kicked", f"{self.kicked}"),
            ("conflicts", f"{conflicts}, worst {self.worst_conflict_s:.1f} s"),
            ("on two hosts for", _worst(self.worst_by_window)),
            ("messages per login", f"{said}, in {self.writes / logins:.1f} writes"),
            ("bytes per login", f"{self.bytes_sent / logins:.0f}"),
            ("faults", f"{self.faults.total()}: {_counts(self.faults)}"),
            ("excused", f"{self.windows.total()}: {_counts(self.windows)}"),
        ]

    def print(self, console: Console) -> None:
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in self.lines():
            table.add_row(name, value)
        console.print(table)


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))


def _worst(seconds: dict[str, float]) -> str:
    """Return how long each of these windows has at most kept a user on two hosts."""
    return ", ".join(f"{name} {seconds[name]:.1f} s" for name in sorted(seconds)) or "nobody"


def _quantiles(waits_ms: Counter[int]) -> str:
    """Return what half of the logins, 99 % and all of them did not wait longer than."""
    if not waits_ms:
        return "no login"
    steps = sorted(waits_ms)
    counts = list(itertools.accumulate(waits_ms[step] for step in steps))
    p50, p99 = (steps[bisect.bisect_left(counts, part * counts[-1])] for part in (0.5, 0.99))
    return f"p50 {p50} ms, p99 {p99} ms, max {steps[-1]} ms"
