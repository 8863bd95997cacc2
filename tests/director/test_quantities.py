"""Times, sizes and numbers as doveconf 2.3.19.1 takes and refuses them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director.quantities import (
    SIZE_BYTES_MAX,
    TIME_S_MAX,
    format_size,
    format_time,
    parse_mode,
    parse_number,
    parse_size_bytes,
    parse_time_s,
)
from ring.errors import ValueRefused


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("00", 0),
        ("0s", 0),
        ("60s", 60),
        ("5  s", 5),
        ("15 min", 900),
        ("15m", 900),
        ("2 mins", 120),
        ("2 MI", 120),
        ("1 H", 3600),
        ("3 day", 259200),
        ("1 weeks", 604800),
        ("7 secon", 7),
        ("4294967295 s", TIME_S_MAX),
    ],
)
def test_time_is_a_number_and_a_unit(text: str, expected: int) -> None:
    assert parse_time_s(text) == expected


@pytest.mark.parametrize(
    "text",
    ["60", "", "s", "1.5 s", "-5 s", "+5 s", "1h30m", "5s x", "7 hrs", "7 month", "7 ms", "7 msecs",
     "4294967296 s", "99999 weeks", "infinite", "\u0665 s"],
)  # fmt: skip
def test_bad_time_is_refused(text: str) -> None:
    with pytest.raises(ValueRefused, match=r"got .*, expected"):
        parse_time_s(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", 7),
        ("7B", 7),
        ("7 k", 7168),
        ("7kib", 7168),
        ("7Ki", 7168),
        ("5 MB", 5 * 2**20),
        ("5m", 5 * 2**20),
        ("2GiB", 2**31),
        ("1T", 2**40),
        ("18446744073709551615", SIZE_BYTES_MAX),
    ],
)
def test_size_may_have_a_unit(text: str, expected: int) -> None:
    assert parse_size_bytes(text) == expected


@pytest.mark.parametrize(
    "text", ["", "-5", "+5", "1.5M", "5 5", "7bytes", "7P", "5%", "unlimited", "16777216T"]
)
def test_bad_size_is_refused(text: str) -> None:
    with pytest.raises(ValueRefused, match="expected a size"):
        parse_size_bytes(text)


def test_number_is_digits_only() -> None:
    assert parse_number("007") == 7
    for text in ("", "-1", "+5", "5 x", "0x5", "abc", "4294967296", "\u0665"):
        with pytest.raises(ValueRefused, match="expected a whole number"):
            parse_number(text)


def test_mode_is_octal_behind_a_zero_and_never_above_0777() -> None:
    assert parse_mode("0666") == 0o666
    assert parse_mode("0") == 0
    assert parse_mode("00") == 0
    assert parse_mode("384") == 0o600
    for text in ("666", "0999", "rw", "", "01777", "-1"):
        with pytest.raises(ValueRefused, match="expected permissions like"):
            parse_mode(text)


@given(st.integers(0, TIME_S_MAX))
def test_time_survives_being_written(seconds: int) -> None:
    assert parse_time_s(format_time(seconds)) == seconds


@given(st.one_of(st.integers(0, SIZE_BYTES_MAX), st.integers(0, 2**20).map(lambda n: n * 2**20)))
def test_size_survives_being_written(size_bytes: int) -> None:
    assert parse_size_bytes(format_size(size_bytes)) == size_bytes
