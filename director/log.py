"""One event, one log line, one counter.

The node and the sessions say what happened (`Noted`); this file decides how important it is and how
it reads. Lines are `event key=value ...`, not prose: the event's name is what operators search for,
the fields are what they sort by. Three shapes of the same line:

- text, as Dovecot writes it: `Nov 22 04:34:37 director: Info: ring_synced sequence=7`
- JSON, one object a line, for collectors
- Dovecot's log pipe, when its master started us: level byte, pid, text; the time and the name are
  added by Dovecot's log process (dovecot-2.4-plug.md section 6)

No name of a user above debug: fields named in `PRIVATE_FIELDS` are left out (the hash identifies
the user well enough for support, and `director map NAME` turns a name into it).

A kind that happens more often than `limits.LOG_LINES_PER_S_MAX` is counted but not written; the
next line that is written says how many were left out. So a broken client cannot fill the disk, and
the daemon does not spend its time formatting what nobody can read.

Rejected: the standard library's logging (a hierarchy, handlers and locks for what is one write; and
15 us a record); structlog (a dependency for 60 lines).
"""

from __future__ import annotations

import collections
import enum
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from ring import limits

Fields: TypeAlias = Iterable[tuple[str, object]]
FormatLine: TypeAlias = Callable[["Level", str, Fields], bytes]


class Level(enum.IntEnum):
    """The numbers are those of Dovecot's log pipe."""

    DEBUG = 1
    INFO = 2
    WARNING = 3
    ERROR = 4


_SYSLOG_PRIORITY = {Level.DEBUG: 7, Level.INFO: 6, Level.WARNING: 4, Level.ERROR: 3}

PRIVATE_FIELDS = frozenset({"user", "value"})

_LEVEL_BY_KIND = {
    "bug": Level.ERROR,
    "host_tag_changed": Level.ERROR,
    "link_broke_protocol": Level.ERROR,
    "move_timed_out": Level.ERROR,
    "user_conflict_settled": Level.ERROR,
    "all_users_flushed": Level.WARNING,
    "clock_skew_seen": Level.WARNING,
    "host_conflict_settled": Level.WARNING,
    "hosts_resent": Level.WARNING,
    "link_quit": Level.WARNING,
    "ping_was_slow": Level.WARNING,
    "restart_needed": Level.WARNING,
    "right_neighbour_kept": Level.WARNING,
    "ring_desynced": Level.WARNING,
    "ring_left_alone": Level.WARNING,
    "sync_hosts_changed": Level.WARNING,
    "sync_resent": Level.WARNING,
    "sync_sequence_reset": Level.WARNING,
    "weak_user_dropped": Level.WARNING,
    "users_brought_back": Level.DEBUG,
}
"""The levels of the original (users-and-hosts.md section 15) that the last word does not say."""

_LEVEL_BY_ENDING = {
    "aborted": Level.WARNING,
    "broken": Level.ERROR,
    "dropped": Level.WARNING,
    "exceeded": Level.WARNING,
    "failed": Level.ERROR,
    "lost": Level.WARNING,
    "paused": Level.WARNING,
    "refused": Level.WARNING,
    "rejected": Level.WARNING,
}
"""By the last word of the kind; a kind that is nowhere is information."""


def level_of(kind: str) -> Level:
    level = _LEVEL_BY_KIND.get(kind)
    if level is None:
        level = _LEVEL_BY_ENDING.get(kind.rpartition("_")[2], Level.INFO)
    return level


class Log:
    """Writes to `write` what is at least `level_min`, and counts everything in `counters`."""

    def __init__(
        self,
        format_line: FormatLine,
        level_min: Level,
        *,
        write: Callable[[bytes], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters: collections.Counter[str] = collections.Counter()
        self._format_line = format_line
        self._level_min = level_min
        self._write = write
        self._clock = clock
        self._second = 0
        self._written: collections.Counter[str] = collections.Counter()
        self._suppressed: collections.Counter[str] = collections.Counter()

    def configure(self, format_line: FormatLine, level_min: Level) -> None:
        """Write differently from now on."""
        self._format_line = format_line
        self._level_min = level_min

    def note(self, kind: str, fields: Fields) -> None:
        """Count an event, and write it if it matters enough."""
        self.counters[kind] += 1
        level = level_of(kind)
        if level < self._level_min:
            return
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._written.clear()
        if self._written[kind] >= limits.LOG_LINES_PER_S_MAX:
            self._suppressed[kind] += 1
            return
        self._written[kind] += 1
        if self._level_min > Level.DEBUG:
            fields = [field for field in fields if field[0] not in PRIVATE_FIELDS]
        if suppressed := self._suppressed.pop(kind, 0):
            fields = [*fields, ("suppressed", suppressed)]
        self._write(self._format_line(level, kind, fields))


def write_stderr(line: bytes) -> None:
    """Write a line in one piece; lose it if there is nobody to read it any more."""
    try:
        os.write(2, line)
    except (BrokenPipeError, BlockingIOError):
        pass


def format_text(level: Level, kind: str, fields: Fields) -> bytes:
    """Return a line as Dovecot writes it to a file, with the time."""
    return time.strftime("%b %d %H:%M:%S ").encode() + _format_plain(level, kind, fields)


def format_journal(level: Level, kind: str, fields: Fields) -> bytes:
    """Return the same line for systemd's journal: with a priority, which it reads, and no time."""
    return b"<%d>" % _SYSLOG_PRIORITY[level] + _format_plain(level, kind, fields)


def is_journal(descriptor: int, environ: Mapping[str, str]) -> bool:
    """Return whether this descriptor leads to systemd's journal (JOURNAL_STREAM is often stale)."""
    status = os.fstat(descriptor)
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def format_master(level: Level, kind: str, fields: Fields) -> bytes:
    """Return a line for the log pipe of Dovecot's master."""
    text = f"{os.getpid()} {_format_event(kind, fields)}\n"
    return bytes([1, level]) + text.encode("ascii", "backslashreplace")


def format_json(level: Level, kind: str, fields: Fields) -> bytes:
    """Return a line for collectors: time (Unix seconds), level, event, and the fields."""
    record: dict[str, object] = {
        "time": round(time.time(), 3),
        "level": level.name.lower(),
        "event": kind,
    }
    for key, value in fields:
        is_plain = value is None or isinstance(value, bool | int | float | str)
        record[key if key not in record else f"{key}_"] = value if is_plain else _text(value)
    return json.dumps(record).encode() + b"\n"


def _format_plain(level: Level, kind: str, fields: Fields) -> bytes:
    text = f"director: {level.name.capitalize()}: {_format_event(kind, fields)}\n"
    return text.encode("ascii", "backslashreplace")


def _format_event(kind: str, fields: Fields) -> str:
    return " ".join([kind, *(f"{key}={_quoted(_text(value))}" for key, value in fields)])


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, enum.Enum):
        return str(value.value)
    return str(value)


def _quoted(text: str) -> str:
    if text and text.isprintable() and not any(c in text for c in ' "='):
        return text
    escaped = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    return '"' + escaped.replace('"', '\\"') + '"'
