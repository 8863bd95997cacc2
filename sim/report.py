"""Figures of one run or of many, and the table that shows them."""

from __future__ import annotations

from collections import Counter

import attrs
from rich.console import Console
from rich.table import Table

from sim.run import Outcome

WAITS_SAMPLED = 500_000


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
    worst_conflict_s: float = 0.0
    codecs: Counter[str] = attrs.Factory(Counter)
    faults: Counter[str] = attrs.Factory(Counter)
    windows: Counter[str] = attrs.Factory(Counter)
    waits: list[float] = attrs.Factory(list)

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
        self.worst_conflict_s = max(self.worst_conflict_s, outcome.worst_conflict_s)
        self.codecs[outcome.plan.codec] += 1
        self.faults.update(outcome.faults)
        self.windows.update(outcome.windows)
        if len(self.waits) < WAITS_SAMPLED:
            self.waits += outcome.waits

    def lines(self) -> list[tuple[str, str]]:
        """Return what there is to say, as names and values."""
        waits = sorted(self.waits)
        logins = max(1, self.logins)
        return [
            ("runs", f"{self.runs} ({_counts(self.codecs)})"),
            ("virtual hours", f"{self.virtual_s / 3600:.2f}"),
            ("events", f"{self.events}"),
            ("logins", f"{self.logins}, {self.parked} parked, {self.failed_logins} failed"),
            ("lookup wait", _quantiles(waits)),
            ("sessions kicked", f"{self.kicked}"),
            ("conflicts", f"{self.conflicts}, worst {self.worst_conflict_s:.1f} s"),
            ("writes per login", f"{self.writes / logins:.1f}"),
            ("bytes per login", f"{self.bytes_sent / logins:.0f}"),
            ("faults", _counts(self.faults) or "none"),
            ("excused", _counts(self.windows) or "nothing"),
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


def _quantiles(waits: list[float]) -> str:
    if not waits:
        return "no login"
    p50, p99 = (waits[int(len(waits) * part)] for part in (0.5, 0.99))
    return f"p50 {1000 * p50:.0f} ms, p99 {1000 * p99:.0f} ms, max {1000 * waits[-1]:.0f} ms"
