"""Tab escaping against recorded lines, and its laws."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ring.codec import tabs

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/codec_lines.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["tab_escape"], ids=lambda v: v["raw_hex"] or "empty")
def test_escapes_as_the_original_does(vector: dict[str, str]) -> None:
    raw, escaped = bytes.fromhex(vector["raw_hex"]), bytes.fromhex(vector["escaped_hex"])

    assert tabs.escape(raw) == escaped
    assert tabs.unescape(escaped) == raw


@pytest.mark.parametrize("vector", VECTORS["tab_unescape_only"], ids=lambda v: v["wire_hex"])
def test_splits_as_the_original_does(vector: dict[str, str]) -> None:
    expected = [bytes.fromhex(field) for field in vector["fields_hex"]]

    assert tabs.split(bytes.fromhex(vector["wire_hex"])) == expected


def test_an_empty_line_has_no_fields() -> None:
    assert tabs.split(b"") == []


def test_an_escaped_nul_is_a_nul() -> None:
    assert tabs.unescape(b"a\x010b") == b"a\0b"
    assert tabs.escape(b"a\0b") == b"a\x010b"


def test_an_unknown_escape_is_its_second_byte_even_if_that_ends_lines() -> None:
    assert tabs.unescape(b"\x01\n\x01\x01") == b"\n\x01"


@given(st.lists(st.binary(), min_size=1))
def test_any_fields_survive_a_line(fields: list[bytes]) -> None:
    line = b"\t".join(map(tabs.escape, fields))

    assert not set(line) & set(b"\0\r\n")
    assert tabs.split(line) == (fields if line else [])


@given(st.binary())
def test_any_bytes_can_be_split(line: bytes) -> None:
    assert len(tabs.split(line)) == (line.count(b"\t") + 1 if line else 0)
