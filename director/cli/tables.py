"""The output formats of `doveadm -f`: flow, table, tab, pager, json and formatted.

Decides how rows of text become bytes on stdout, byte-equal to doveadm 2.3 for the same rows
(doveadm-director.md section 2.3). It does not decide what the rows are (the verbs do) nor where
the bytes go: a table is given a `write` function and never touches a stream itself.

A table is used in three steps: `begin(columns)` once, `row(values)` as often as there is something
to show, `finish()` once. Rows come out as they are known, except in `table`, which holds the first
hundred back to choose the widths, so a list of a million users needs no memory. `finish` without
`begin` is what doveadm does for a verb that prints nothing: json still says `[]` and tab still
prints its (empty) line of titles, and scripts have learned to live with it.

Text is `str` with surrogate escapes for bytes that are no UTF-8, as everywhere at the edge to
people; `encode` gives the original bytes back. Rejected: rich and tabulate, which both print
better tables than these, but not these.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import attrs

TABLE_ROWS_HELD = 100
"""Rows `table` looks at before it fixes the widths, as doveadm does; later rows may overflow."""

TABLE_COLUMNS_MIN = 30
"""A narrower terminal is treated as one of this width."""

TABLE_COLUMNS_DEFAULT = 80
"""The width assumed when stdout is no terminal."""

Write: TypeAlias = Callable[[bytes], object]


@attrs.frozen
class Column:
    """One column: `key` names it in json and templates, `title` in everything else.

    `is_expanding` gives it a share of the spare width of a table; `has_title` False hides the
    title where the value alone is clear.
    """

    title: str
    key: str = attrs.field(kw_only=True)
    is_expanding: bool = attrs.field(kw_only=True, default=False)
    has_title: bool = attrs.field(kw_only=True, default=True)

    @key.default
    def _key_is_title(self) -> str:
        return self.title


class Table(Protocol):
    """What every format offers."""

    def begin(self, columns: Sequence[Column], template: str | None = None) -> None: ...

    def row(self, values: Sequence[str]) -> None: ...

    def finish(self) -> None: ...


class TemplateMissing(Exception):
    """`-f formatted` was asked of a verb that has no text of its own."""


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class FlowTable:
    """`title=value title=value ...`, one line a row."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._columns: Sequence[Column] = ()

    def begin(self, columns: Sequence[Column], template: str | None = None) -> None:
        self._columns = columns

    def row(self, values: Sequence[str]) -> None:
        assert len(values) == len(self._columns)
        cells = (
            f"{column.title}={value}" if column.has_title else value
            for column, value in zip(self._columns, values, strict=True)
        )
        self._write(encode(" ".join(cells) + "\n"))

    def finish(self) -> None:
        pass


class TabTable:
    """Titles, then values, separated by one TAB; the titles come even without rows."""

    def __init__(self, write: Write, *, are_titles_shown: bool) -> None:
        self._write = write
        self._columns: Sequence[Column] = ()
        self._are_titles_due = are_titles_shown

    def begin(self, columns: Sequence[Column], template: str | None = None) -> None:
        self._columns = columns

    def row(self, values: Sequence[str]) -> None:
        assert len(values) == len(self._columns)
        self._maybe_write_titles()
        self._write(encode("\t".join(values) + "\n"))

    def finish(self) -> None:
        self._maybe_write_titles()

    def _maybe_write_titles(self) -> None:
        if self._are_titles_due:
            self._are_titles_due = False
            self._write(encode("\t".join(column.title for column in self._columns) + "\n"))


class PagerTable:
    """`title: value`, one line a value; a line with one form feed between rows."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._columns: Sequence[Column] = ()
        self._is_first = True

    def begin(self, columns: Sequence[Column], template: str | None = None) -> None:
        self._columns = columns

    def row(self, values: Sequence[str]) -> None:
        assert len(values) == len(self._columns)
        if not self._is_first:
            self._write(b"\f\n")
        self._is_first = False
        for column, value in zip(self._columns, values, strict=True):
            self._write(encode(f"{column.title}: {value}\n" if column.has_title else f"{value}\n"))

    def finish(self) -> None:
        pass


class JsonTable:
    """One array of objects whose values are all strings; no newline at the end."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._columns: Sequence[Column] = ()
        self._before = "["

    def begin(self, columns: Sequence[Column], template: str | None = None) -> None:
        self._columns = columns

    def row(self, values: Sequence[str]) -> None:
        assert len(values) == len(self._columns)
        members = ",".join(
            f"{_json_string(column.key)}:{_json_string(value)}"
            for column, value in zip(self._columns, values, strict=True)
        )
        self._write(encode(f"{self._before}{{{members}}}"))
        self._before = ","

    def finish(self) -> None:
        self._write(b"[]" if self._before == "[" else b"]")


class FormattedTable:
    """The verb's own text, with `%{key}` for the values."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._columns: Sequence[Column] = ()
        self._template: str | None = None

    def begin(self, columns: Sequence[Column], template: str | None = None) -> None:
        self._columns = columns
        self._template = template

    def row(self, values: Sequence[str]) -> None:
        assert len(values) == len(self._columns)
        if self._template is None:
            raise TemplateMissing("formatted formatter cannot be used without a format.")
        by_key = {c.key: value for c, value in zip(self._columns, values, strict=True)}
        text = re.sub(r"%\{([^}]+)\}", lambda match: by_key[match[1]], self._template)
        self._write(encode(text))

    def finish(self) -> None:
        pass


class WidthTable:
    """Left-aligned cells, padded to widths that the first hundred rows decide."""

    def __init__(self, write: Write, *, are_titles_shown: bool, terminal_columns: int) -> None:
        self._write = write
        self._are_titles_shown = are_titles_shown
        self._terminal_columns = max(terminal_columns, TABLE_COLUMNS_MIN)
        self._columns: Sequence[Column] = ()
        self._held: list[Sequence[str]] | None = []
        self._widths: list[int] = []

    def begin(self, columns: Sequence[Column], template: str | None = None) -> None:
        self._columns = columns

    def row(self, values: Sequence[str]) -> None:
        assert len(values) == len(self._columns)
        if self._held is None:
            self._write_line(values)
            return
        self._held.append(values)
        if len(self._held) == TABLE_ROWS_HELD:
            self._write_held()

    def finish(self) -> None:
        if self._held is not None and self._columns:
            self._write_held()

    def _write_held(self) -> None:
        held = self._held
        assert held is not None
        self._held = None
        self._widths = table_widths(self._columns, held, self._terminal_columns)
        if self._are_titles_shown and any(column.has_title for column in self._columns):
            self._write_line([column.title for column in self._columns])
        for values in held:
            self._write_line(values)

    def _write_line(self, values: Sequence[str]) -> None:
        cells = (value.ljust(width) for value, width in zip(values, self._widths, strict=True))
        self._write(encode(" ".join(cells) + "\n"))


def table_widths(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], terminal_columns: int
) -> list[int]:
    """Return the width of each column, in characters, for a terminal of that many columns.

    The shrinking halves what a column could give without counting it, from the last column to the
    first, and gives up after one pass (doveadm-director.md section 2.3, step 3). It is not
    reasonable, only exact.
    """
    cells = [[column.title, *values] for column, *values in zip(columns, *rows, strict=True)]
    widths = [max(map(len, texts)) for texts in cells]
    total = sum(widths) + len(widths) - 1
    if total > terminal_columns:
        for index in reversed(range(len(widths))):
            spare = widths[index] - min(map(len, cells[index]))
            if total - spare <= terminal_columns:
                widths[index] -= total - terminal_columns
                break
            widths[index] -= 1 if spare == 1 else spare // 2
    elif total < terminal_columns:
        expanding = [index for index, column in enumerate(columns) if column.is_expanding]
        index = expanding[0] if expanding else len(widths) - 1
        widths[index] += (terminal_columns - total) // 2
    return widths


def make_table(
    name: str, write: Write, *, are_titles_shown: bool, terminal_columns: int
) -> Table | None:
    """Return the table for a format's name, None if there is no such format."""
    match name:
        case "flow":
            return FlowTable(write)
        case "tab":
            return TabTable(write, are_titles_shown=are_titles_shown)
        case "pager":
            return PagerTable(write)
        case "json":
            return JsonTable(write)
        case "formatted":
            return FormattedTable(write)
        case "table":
            return WidthTable(
                write, are_titles_shown=are_titles_shown, terminal_columns=terminal_columns
            )
        case _:
            return None


FORMATS = ("flow", "formatted", "json", "pager", "tab", "table")


def _json_string(text: str) -> str:
    text = re.sub("[\udc80-\udcff]", "\ufffd", text)
    quoted = json.dumps(text, ensure_ascii=False)
    return quoted.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
