"""The table that says what a run or a soak was made of."""

from __future__ import annotations

import io

import attrs
from rich.console import Console

from sim.plan import Plan
from sim.report import Summary
from sim.run import Outcome, run

PLAN = Plan(seed=3, directors=1, users=1, devices=1, faults_s=5.0, expire_s=5)


def outcome(**changes: object) -> Outcome:
    return attrs.evolve(run(PLAN), **changes)


def table(*outcomes: Outcome) -> dict[str, str]:
    summary = Summary()
    for one in outcomes:
        summary.add(one)
    return dict(summary.lines())


def test_outcomes_are_added_up() -> None:
    one = outcome(
        logins=10,
        virtual_s=3600.0,
        bytes_sent=1000,
        writes=20,
        messages={"Users": 30, "Ping": 10},
        faults={"crash": 2},
        windows={"one-host: crash": 1},
        conflicts=3,
        conflicts_settled=2,
        worst_conflict_s=1.5,
        worst_by_window={"crash": 1.5},
    )
    other = attrs.evolve(
        one,
        faults={"crash": 1, "pause": 4},
        worst_conflict_s=0.5,
        worst_by_window={"crash": 0.2, "kick failed": 0.5},
    )
    lines = table(one, other)

    assert "2 (native 2)" == lines["runs"]
    assert "2.00" == lines["virtual hours"]
    assert "6 opened, 4 settled, worst 1.5 s" == lines["conflicts"]
    assert "crash 1.5 s, kick failed 0.5 s" == lines["on two hosts for"]
    assert "4.0, in 2.0 writes" == lines["messages per login"]
    assert "100" == lines["bytes per login"]
    assert "7: crash 3, pause 4" == lines["faults"]
    assert "2: one-host: crash 2" == lines["excused"]


def test_quantiles_are_of_all_logins() -> None:
    calm = outcome(waits=(0.0,) * 97)
    lines = table(calm, attrs.evolve(calm, waits=(0.5, 0.5, 2.0)))

    assert "p50 0 ms, p99 500 ms, max 2000 ms" == lines["lookup wait"]


def test_a_run_in_which_nobody_logs_in_has_a_table_too() -> None:
    lines = table(outcome(logins=0, waits=(), messages={}))

    assert "no login" == lines["lookup wait"]
    assert lines["messages per login"].startswith("not read")


def test_the_table_is_printed_line_by_line() -> None:
    summary = Summary()
    summary.add(outcome())
    output = io.StringIO()
    summary.print(Console(file=output, width=60))

    assert len(summary.lines()) <= len(output.getvalue().splitlines())
    assert "virtual hours" in output.getvalue()
