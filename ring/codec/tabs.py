"""Tab escaping: how every line protocol of the family puts any bytes into one field.

The byte 0x01 introduces an escape, so that NUL, TAB, CR, LF and 0x01 itself can stand inside a
field (login-sockets.md section 0, ring-protocol.md section 3). A line is split on TABs first, then
every field is unescaped.

What this module does not decide: which fields a sender escapes (free text only; the others never
need it), and what a NUL in a field means (the original's C strings end there).

Five `replace` calls instead of one regular expression: each returns its argument at once if there
is nothing to replace, which is nearly always.
"""

from __future__ import annotations

import re

_ESCAPE = re.compile(rb"\x01(.?)", re.DOTALL)
_MEANING = {b"0": b"\0", b"1": b"\x01", b"t": b"\t", b"r": b"\r", b"n": b"\n"}


def escape(field: bytes) -> bytes:
    """Return `field` as it stands between two TABs of a line."""
    return (
        field.replace(b"\x01", b"\x011")  # first, or it would escape the escapes
        .replace(b"\0", b"\x010")
        .replace(b"\t", b"\x01t")
        .replace(b"\r", b"\x01r")
        .replace(b"\n", b"\x01n")
    )


def unescape(field: bytes) -> bytes:
    """Return what `field` means; an unknown escape is its second byte, a lone 0x01 is nothing."""
    if b"\x01" not in field:
        return field
    return _ESCAPE.sub(lambda match: _MEANING.get(match[1], match[1]), field)


def split(line: bytes) -> list[bytes]:
    """Return the unescaped fields of a line without its LF; an empty line has none."""
    if not line:
        return []
    fields = line.split(b"\t")
    if b"\x01" in line:
        return [unescape(field) for field in fields]
    return fields
