"""Times, sizes, numbers and other small values as Dovecot's configuration spells them.

The rules are those of the installed `doveconf` 2.3.19.1: a time is a whole number and a unit, which
may be shortened (`15 min`, `15m`), and only 0 does without one; a size may have a unit (`10M`,
`10 MiB`) and is in bytes without; a number is decimal digits. Case does not matter in units.
"""

from __future__ import annotations

import re

from ring.errors import ValueRefused

TIME_S_MAX = 2**32 - 1
NUMBER_MAX = 2**32 - 1
SIZE_BYTES_MAX = 2**64 - 1

_QUANTITY = re.compile(r"([0-9]+)[ \t]*([A-Za-z]*)")
_TIME_UNITS_S = {
    "secs": 1,
    "seconds": 1,
    "mins": 60,
    "minutes": 60,
    "hours": 3600,
    "days": 86400,
    "weeks": 604800,
}
_MILLISECONDS = ("milliseconds", "msecs", "ms")
_SIZE_UNITS_BYTES = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_time_s(text: str) -> int:
    """Return whole seconds.

    Raises:
        ValueRefused: no unit, an unknown one, milliseconds, or out of range.
    """
    expected = "expected a whole number and a unit, like 30 s, 15 min or 2 hours"
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueRefused(f"got {text!r}, {expected}")
    number, unit = int(match[1]), match[2].lower()
    if not unit:
        if number:
            raise ValueRefused(f"got {text!r} without a unit, {expected}")
        return 0
    factor = next((s for name, s in _TIME_UNITS_S.items() if name.startswith(unit)), None)
    if factor is None:
        is_milliseconds = len(unit) > 1 and any(m.startswith(unit) for m in _MILLISECONDS)
        got = f"{text!r} in milliseconds" if is_milliseconds else repr(text)
        raise ValueRefused(f"got {got}, {expected}")
    if number * factor > TIME_S_MAX:
        raise ValueRefused(f"got {text!r}, expected at most {TIME_S_MAX} seconds")
    return number * factor


def parse_size_bytes(text: str) -> int:
    """Return bytes.

    Raises:
        ValueRefused: an unknown unit, or out of range.
    """
    match = _QUANTITY.fullmatch(text)
    unit = match[2].lower() if match else ""
    factor = _SIZE_UNITS_BYTES.get(re.sub(r"(?<=[kmgt])i?b?$", "", unit))
    if match is None or factor is None or int(match[1]) * factor > SIZE_BYTES_MAX:
        raise ValueRefused(f"got {text!r}, expected a size like 65536, 512k or 10M")
    return int(match[1]) * factor


def parse_number(text: str) -> int:
    """Return a whole number that is not negative.

    Raises:
        ValueRefused: anything but digits, or out of range.
    """
    if not (text.isascii() and text.isdecimal()) or int(text) > NUMBER_MAX:
        raise ValueRefused(f"got {text!r}, expected a whole number from 0 to {NUMBER_MAX}")
    return int(text)


def parse_mode(text: str) -> int:
    """Return the permissions of a socket; like in C, only a leading 0 makes a number octal.

    Raises:
        ValueRefused: no number, or one above 0777 (so is 666, which somebody meant to be 0666).
    """
    try:
        mode = int(text, 8) if text.startswith("0") else int(text)
    except ValueError:
        raise ValueRefused(f"got {text!r}, expected permissions like 0666 or 0600") from None
    if not 0 <= mode <= 0o777:
        hint = f" (a leading 0 is missing: 0{text}?)" if not text.startswith("0") else ""
        raise ValueRefused(f"got {text!r}, expected permissions like 0666 or 0600{hint}")
    return mode


def format_time(seconds: int) -> str:
    """Spell whole seconds with the largest unit that has no remainder."""
    for unit in ("weeks", "days", "hours", "mins"):
        if seconds and seconds % _TIME_UNITS_S[unit] == 0:
            return f"{seconds // _TIME_UNITS_S[unit]} {unit}"
    return f"{seconds} secs"


def format_size(size_bytes: int) -> str:
    """Spell bytes with the largest unit that has no remainder."""
    for unit in "tgmk":
        if size_bytes and size_bytes % _SIZE_UNITS_BYTES[unit] == 0:
            return (
                f"{size_bytes // _SIZE_UNITS_BYTES[unit]} {unit if unit == 'k' else unit.upper()}"
            )
    return f"{size_bytes} B"
