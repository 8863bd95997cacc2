"""Lines in fixed columns, and a digest that differs when any of them does."""

from __future__ import annotations

from sim.trace import LAST_LINES_MAX, Trace


def test_an_event_is_one_line_in_columns() -> None:
    trace = Trace(is_kept=True)
    trace.add(12.5, "d01", "login", "user=1 token=2")

    assert ["   12.500000 d01   login              user=1 token=2"] == list(trace.lines)


def test_the_digest_tells_the_order_of_events() -> None:
    digests = set()
    for lanes in (("d01", "d02"), ("d02", "d01"), ("d01",)):
        trace = Trace(is_kept=True)
        for lane in lanes:
            trace.add(1.0, lane, "started")
        digests.add(trace.digest)

    assert 3 == len(digests)


def test_only_the_last_lines_are_kept_but_the_digest_knows_all() -> None:
    short, long = Trace(is_kept=False), Trace(is_kept=True)
    for number in range(LAST_LINES_MAX + 1):
        for trace in (short, long):
            trace.add(float(number), "d01", "started")

    assert LAST_LINES_MAX == len(short.lines)
    assert LAST_LINES_MAX + 1 == len(long.lines) == short.events_count
    assert short.digest == long.digest
