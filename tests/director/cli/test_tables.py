"""The formats, byte for byte as recorded from doveadm 2.3 (captures 12 and 14)."""

from __future__ import annotations

import pytest

from director.cli.tables import (
    FORMATS,
    TABLE_ROWS_HELD,
    Column,
    Table,
    TemplateMissing,
    make_table,
    table_widths,
)

STATUS = (
    Column("mail server ip"),
    Column("tag"),
    Column("vhosts"),
    Column("state"),
    Column("state changed", key="state-changed"),
    Column("users"),
)
ROWS = (
    ("127.0.0.2", "", "100", "up", "-", "1"),
    ("127.0.0.4", "tagA", "100", "down", "2026-11-22 01:45:00", "1"),
)
HIDDEN = (Column("hash", has_title=False),)


def output(
    name: str,
    columns: tuple[Column, ...],
    rows: tuple[tuple[str, ...], ...],
    *,
    template: str | None = None,
    are_titles_shown: bool = True,
    terminal_columns: int = 80,
) -> str:
    data = bytearray()
    table = make_table(
        name,
        data.extend,
        are_titles_shown=are_titles_shown,
        terminal_columns=terminal_columns,
    )
    assert table is not None
    table.begin(columns, template)
    for row in rows:
        table.row(row)
    table.finish()
    return data.decode("utf-8", "surrogateescape")


def test_table_pads_the_last_column_with_half_of_the_spare_width() -> None:
    text = output("table", STATUS, ROWS)

    assert text == (
        "mail server ip tag  vhosts state state changed       users           \n"
        "127.0.0.2           100    up    -                   1               \n"
        "127.0.0.4      tagA 100    down  2026-11-22 01:45:00 1               \n"
    )


def test_table_gives_the_spare_width_to_an_expanding_column() -> None:
    columns = (Column("user", is_expanding=True), Column("hash"), Column("mail server ip"))

    text = output("table", (*columns, Column("expire time")), ())

    assert text == "user                       hash mail server ip expire time\n"


def test_table_without_titles_or_with_hidden_ones_shows_values_only() -> None:
    assert output("table", HIDDEN, (("3833023709",),)) == "3833023709" + 35 * " " + "\n"

    text = output("table", STATUS, ROWS[:1], are_titles_shown=False)

    assert text.startswith("127.0.0.2 ")


def test_table_too_wide_for_the_terminal_shrinks_in_one_pass() -> None:
    titles = "director ip,port,type,last failed,status,ping ms,input,output,buffered,buffered peak"
    columns = tuple(Column(title) for title in [*titles.split(","), "last read", "last write"])
    row = "127.0.0.1,19100,self,never,ring synced,0,-,-,-,-,-,-"

    text = output("table", columns, (tuple(row.split(",")),))

    assert text == (
        "director ip port type last failed status    ping ms input output buffered buffered peak "
        "last read last write\n"
        "127.0.0.1  19100 self never    ring synced 0    -   -    -     -       -     -     \n"
    )


@pytest.mark.parametrize("terminal_columns", [20, 30, 40])
def test_table_stops_shrinking_although_it_does_not_fit(terminal_columns: int) -> None:
    rows = (("1.2.3.4", "tag-of-10c", "100", "up", "3170843-11-07 09:46:39", "5"),)

    assert output("table", STATUS, rows, terminal_columns=terminal_columns) == (
        output("table", STATUS, rows, terminal_columns=30)
    )


def test_table_shrinks_the_last_column_that_is_enough() -> None:
    columns = (Column("a"), Column("b"))
    rows = (("x" * 40, "y" * 50),)

    assert table_widths(columns, rows, 80) == [40, 39]


def test_table_counts_characters_not_bytes() -> None:
    text = output("table", (Column("tag"), Column("n")), (("t\u00e4g\u20ac", "1"), ("abcd", "2")))

    assert text.splitlines()[1].index("1") == text.splitlines()[2].index("2")


def test_table_fixes_the_widths_after_a_hundred_rows() -> None:
    rows = (("a", "b"),) * TABLE_ROWS_HELD + (("longer than any title", "c"),)

    text = output("table", (Column("one"), Column("two")), rows)

    assert text.splitlines()[-1].startswith("longer than any title c ")


def test_tab_prints_titles_even_without_rows_and_hides_none() -> None:
    assert output("tab", HIDDEN, ()) == "hash\n"
    assert output("tab", HIDDEN, (("5",),), are_titles_shown=False) == "5\n"
    assert output("tab", (), ()) == "\n"


def test_flow_names_every_value_whose_title_is_shown() -> None:
    text = output("flow", STATUS, ROWS[:1])

    assert text == ("mail server ip=127.0.0.2 tag= vhosts=100 state=up state changed=- users=1\n")
    assert output("flow", HIDDEN, (("5",),)) == "5\n"


def test_pager_separates_records_by_form_feeds() -> None:
    text = output("pager", (Column("a"), Column("b", has_title=False)), (("1", "2"), ("3", "4")))

    assert text == "a: 1\n2\n\f\na: 3\n4\n"


def test_json_uses_keys_and_has_no_newline_at_the_end() -> None:
    text = output("json", STATUS, ROWS[:1])

    assert text == (
        '[{"mail server ip":"127.0.0.2","tag":"","vhosts":"100","state":"up",'
        '"state-changed":"-","users":"1"}]'
    )
    assert output("json", STATUS, ()) == "[]"


def test_json_escapes_as_doveadm_does() -> None:
    text = output("json", (Column("tag"),), (('q"uo\\te\x01\n/\x7f\u20ac\u2028bad\udcff',),))

    assert text == '[{"tag":"q\\"uo\\\\te\\u0001\\n/\x7f\u20ac\\u2028bad\ufffd"}]'


def test_formatted_needs_a_template_once_there_is_a_row() -> None:
    columns = (Column("host"), Column("vhost_count"))

    assert output("formatted", columns, (), template=None) == ""
    assert output("formatted", columns, (("h", "5"),), template="%{vhost_count} %{host}\n") == (
        "5 h\n"
    )
    with pytest.raises(TemplateMissing, match="cannot be used without a format"):
        output("formatted", columns, (("h", "5"),), template=None)


def test_bytes_that_are_no_text_come_out_as_they_are() -> None:
    data = bytearray()
    table = make_table("tab", data.extend, are_titles_shown=False, terminal_columns=80)
    assert table is not None
    table.begin((Column("tag"),))

    table.row((b"\xff\xfe".decode("utf-8", "surrogateescape"),))

    assert bytes(data) == b"\xff\xfe\n"


def test_a_verb_that_prints_nothing_leaves_doveadm_s_traces() -> None:
    traces = {}
    for name in FORMATS:
        data = bytearray()
        table: Table | None = make_table(
            name, data.extend, are_titles_shown=True, terminal_columns=80
        )
        assert table is not None
        table.finish()
        traces[name] = bytes(data)

    assert traces == {
        "flow": b"",
        "formatted": b"",
        "json": b"[]",
        "pager": b"",
        "tab": b"\n",
        "table": b"",
    }


def test_an_unknown_format_is_none() -> None:
    assert make_table("nosuch", bytearray().extend, are_titles_shown=True, terminal_columns=80) is (
        None
    )
