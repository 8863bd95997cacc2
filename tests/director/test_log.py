"""Events become lines and counters; nothing private, nothing endless."""

from __future__ import annotations

import json
import os
import re

import pytest

from director import log
from director.log import Level, Log
from ring import limits
from ring.address import parse_ip


def format_plain(level: Level, kind: str, fields: log.Fields) -> bytes:
    """Return a text line without its time of day."""
    return log.format_text(level, kind, fields)[len("Nov 22 04:34:37 ") :]


def make_log(
    level_min: Level = Level.INFO, now: list[float] | None = None
) -> tuple[Log, list[bytes]]:
    lines: list[bytes] = []
    times = now if now is not None else [0.0]
    return Log(format_plain, level_min, write=lines.append, clock=lambda: times[0]), lines


def test_a_line_is_the_event_and_its_fields() -> None:
    book, lines = make_log()
    book.note("ring_synced", (("host", parse_ip("10.0.0.1")), ("took_s", 0.25), ("tag", b"a b")))

    assert lines == [b'director: Info: ring_synced host=10.0.0.1 took_s=0.250 tag="a b"\n']
    assert book.counters == {"ring_synced": 1}


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        ("host_went_down", Level.INFO),
        ("neighbour_connected", Level.INFO),
        ("ring_left_alone", Level.WARNING),
        ("link_lost", Level.WARNING),
        ("lookup_failed", Level.ERROR),
        ("user_conflict_settled", Level.ERROR),
        ("bug", Level.ERROR),
    ],
)
def test_level_follows_from_the_kind(kind: str, level: Level) -> None:
    assert log.level_of(kind) == level


def test_what_is_below_the_level_is_counted_only() -> None:
    book, lines = make_log(Level.WARNING)
    book.note("ring_synced", ())

    assert lines == []
    assert book.counters == {"ring_synced": 1}


def test_user_names_appear_only_when_debugging() -> None:
    fields = (("user_hash", 7), ("user", b"alice"))
    book, lines = make_log(Level.INFO)
    book.note("lookup_failed", fields)
    book, debug_lines = make_log(Level.DEBUG)
    book.note("lookup_failed", fields)

    assert lines == [b"director: Error: lookup_failed user_hash=7\n"]
    assert debug_lines == [b"director: Error: lookup_failed user_hash=7 user=alice\n"]


def test_a_flood_is_cut_per_second_and_its_size_told_afterwards() -> None:
    now = [10.0]
    book, lines = make_log(now=now)
    for _ in range(limits.LOG_LINES_PER_S_MAX + 5):
        book.note("session_refused", ())
    count_in_flood = len(lines)
    now[0] = 11.0
    book.note("session_refused", ())

    assert count_in_flood == limits.LOG_LINES_PER_S_MAX
    assert lines[-1] == b"director: Warning: session_refused suppressed=5\n"
    assert book.counters["session_refused"] == limits.LOG_LINES_PER_S_MAX + 6


def test_no_field_can_forge_a_second_line() -> None:
    book, lines = make_log()
    book.note("session_refused", (("line", b'x\ndirector: Error: "lie"'),))

    assert lines == [
        b'director: Warning: session_refused line="x\\x0adirector: Error: \\"lie\\""\n'
    ]


def test_text_has_the_time_of_day_in_front() -> None:
    line = log.format_text(Level.INFO, "started", ())

    assert re.fullmatch(rb"[A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d director: Info: started\n", line)


def test_json_is_one_object_a_line() -> None:
    line = log.format_json(Level.ERROR, "flush_failed", (("level", 3), ("reason", b"no code")))
    record = json.loads(line)

    assert record.pop("time") > 0
    assert record == {
        "level": "error",
        "event": "flush_failed",
        "level_": 3,
        "reason": "no code",
    }


def test_dovecots_log_pipe_gets_its_level_byte() -> None:
    line = log.format_master(Level.WARNING, "link_lost", (("reason", None),))

    assert re.fullmatch(rb"\x01\x03\d+ link_lost reason=-\n", line)


def test_the_journal_gets_a_priority_instead_of_a_time() -> None:
    line = log.format_journal(Level.WARNING, "link_lost", ())

    assert line == b"<4>director: Warning: link_lost\n"


def test_a_stale_journal_stream_is_not_believed() -> None:
    status = os.fstat(2)
    current = f"{status.st_dev}:{status.st_ino}"

    assert log.is_journal(2, {"JOURNAL_STREAM": current})
    assert not log.is_journal(2, {"JOURNAL_STREAM": "1:2"})
    assert not log.is_journal(2, {})


@pytest.mark.parametrize("is_full", [False, True])
def test_a_line_that_nobody_reads_is_lost_and_nobody_waits(*, is_full: bool) -> None:
    """Method: stderr is a pipe, full or without a reader, while one line is written."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    if is_full:
        with pytest.raises(BlockingIOError):
            while True:
                os.write(writer, bytes(4096))
    else:
        os.close(reader)
    stderr = os.dup(2)
    os.dup2(writer, 2)
    try:
        log.write_stderr(b"director: Info: daemon_started\n")
    finally:
        os.dup2(stderr, 2)
        for descriptor in (stderr, writer, *([reader] if is_full else [])):
            os.close(descriptor)
