"""From a user name to a 32-bit hash, and from a mail host to its points on the circle.

`director_username_hash` is a template that is expanded with the user name; the expanded bytes are
hashed (users-and-hosts.md section 1). Everything works on bytes: names are neither validated nor
normalised, and lower-casing touches ASCII only.

Two spellings of the template are read: the classic one (`%Lu`, `%2.256Nu`, `%{user}`), whose rules
an installed 2.3 answers for (the 270 recorded expansions are our tests), and the one of Dovecot 2.4
(`%{user | lower}`). A template is compiled once into plain functions from bytes to bytes, because
expanding it costs every login: `%Lu` becomes `bytes.lower`, nothing more.

What cannot be expanded is refused when the template is read, where the original fails every login
later. Refused on purpose although the original has them: variables that differ between machines or
processes (`%{pid}`, `%{hostname}`, `%{env:X}`), since all nodes must come to the same hash;
conditionals and rounds of digests, which nobody was seen to use here; md4, which OpenSSL gave up.

`md5` is the hash of every Dovecot ring. `murmur3` is for rings that never had a Dovecot member.
Measured with CPython 3.11, `%Lu` included: md5 0.35 us, murmur3 0.09 us.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import re
import struct
from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs
import mmh3

from ring.errors import ValueRefused

Expander: TypeAlias = Callable[[bytes], bytes]

_MODIFIERS_MAX = 10
_NUMBER_MAX = 9999  # no user name is longer; zero padding to a million bytes would cost each login
_TRUNCATING_MODIFIERS = "HN"
_DIGESTS = {
    name: name.replace("-", "_")
    for name in ("md5", "sha1", "sha256", "sha384", "sha512", "sha3-256", "sha3-512")
}

try:
    # CPython's own MD5: 0.2 us less a name than OpenSSL's, which is made for long texts.
    from _md5 import md5 as _md5
except ImportError:  # a build without it
    _md5 = functools.partial(hashlib.md5, usedforsecurity=False)

_first_word = struct.Struct(">I12x").unpack


class HashKind(enum.Enum):
    """The values of `director_hash`; all nodes of a ring must use the same one."""

    MD5 = "md5"
    MURMUR3 = "murmur3"


@attrs.frozen
class UsernameTemplate:
    """A parsed `director_username_hash`; `text` is what the operator wrote."""

    text: str
    expand: Expander = attrs.field(eq=False, repr=False)
    """Return the bytes to be hashed for this user name."""

    @classmethod
    def parse(cls, text: str) -> UsernameTemplate:
        """Read a template of either spelling.

        Raises:
            ValueRefused: an unknown variable, modifier, digest or filter.
        """
        pieces = _parse_pieces(text)
        if len(pieces) == 1:
            return cls(text, pieces[0])
        return cls(text, lambda name: b"".join([piece(name) for piece in pieces]))


class UserHasher:
    """Hashes user names the way the whole ring agreed on; the result is never 0."""

    __slots__ = ("hash", "hash_many", "kind", "template")

    hash: Callable[[bytes], int]
    hash_many: Callable[[Sequence[bytes]], list[int]]

    def __init__(self, template: UsernameTemplate, director_hash: HashKind) -> None:
        self.template = template
        self.kind = director_hash
        digest = _DIGEST_FUNCTIONS[director_hash]
        expand = template.expand
        self.hash = lambda name: digest(expand(name)) or 1
        if director_hash is HashKind.MD5:
            self.hash_many = lambda names: [
                _first_word(_md5(expand(name)).digest())[0] or 1 for name in names
            ]
        else:
            self.hash_many = lambda names: [digest(expand(name)) or 1 for name in names]


def vhost_points(ip_text: bytes, count: int) -> list[int]:
    """Return the first `count` points of a host on the circle (users-and-hosts.md section 3).

    `ip_text` is the canonical spelling of the address; point i is the MD5 of `<ip>-<i>`, so the
    points for a smaller weight are a prefix of those for a larger one.
    """
    base = hashlib.md5(ip_text + b"-", usedforsecurity=False)
    points = []
    for index in range(count):
        digest = base.copy()
        digest.update(b"%d" % index)
        points.append(int.from_bytes(digest.digest()[:4], "big"))
    return points


def shift4_hash(data: bytes) -> int:
    """Return the 32-bit shift-4/xor hash of `data` (users-and-hosts.md section 4, item 2)."""
    value = 0
    for byte in data:
        value = (value * 16 + byte) & 0xFFFFFFFF
        top = value & 0xF0000000
        if top:
            value ^= (top >> 24) ^ top
    return value


def _md5_hash(data: bytes) -> int:
    value: int = _first_word(_md5(data).digest())[0]
    return value


_DIGEST_FUNCTIONS: dict[HashKind, Callable[[bytes], int]] = {
    HashKind.MD5: _md5_hash,
    HashKind.MURMUR3: mmh3.mmh3_32_uintdigest,
}


# --- reading a template -----------------------------------------------------------------------

_SPECIFICATION = re.compile(
    r"(?P<sign>-?)(?P<zero>0?)(?P<number>[0-9]*)"
    r"(?:(?P<dot>\.)(?P<dot_zero>0?)(?P<dot_sign>-?)(?P<dot_number>[0-9]*))?"
    rf"(?P<modifiers>[LURMTDEXHN]{{0,{_MODIFIERS_MAX}}})"
)
"""What stands between the percent sign and the variable."""


@attrs.frozen(kw_only=True)
class _Cut:
    """Which part of a modified value is kept; `width` 0 is no limit."""

    offset: int
    width: int
    is_padded: bool


def _parse_pieces(text: str) -> list[Expander]:
    pieces: list[Expander] = []
    position = 0
    while position < len(text):
        percent = text.find("%", position)
        if percent != position:
            end = percent if percent > 0 else len(text)
            pieces.append(_literal(text[position:end]))
            position = end
            continue
        piece, position = _parse_variable(text, percent)
        if piece is not None:
            pieces.append(piece)
    return pieces


def _parse_variable(text: str, percent: int) -> tuple[Expander | None, int]:
    """Return one compiled variable and where the text goes on.

    A template that ends inside a variable loses that tail, as in the original: None.
    """
    specification = _SPECIFICATION.match(text, percent + 1)
    assert specification is not None  # every part of it is optional
    start = specification.end()
    if start == len(text):
        return None, start
    if text[start] != "{":
        variable = _short_variable(text, text[start], start)
        return _compile(text, specification, variable), start + 1
    end = text.find("}", start)
    if end < 0:
        raise _refused(text, start, "no } after this {")
    variable = _long_variable(text, text[start + 1 : end], start)
    return _compile(text, specification, variable), end + 1


def _short_variable(text: str, name: str, position: int) -> Expander:
    if name not in _SHORT_VARIABLES:
        raise _refused(text, position, f"unknown variable or modifier {name!r}")
    return _SHORT_VARIABLES[name]


def _long_variable(text: str, body: str, position: int) -> Expander:
    if "|" in body or body != body.strip():
        return _filtered_variable(text, body, position)
    algorithm, colon, name = body.rpartition(":")
    if name not in _LONG_VARIABLES:
        raise _refused(text, position, f"unknown variable %{{{body}}}")
    variable = _LONG_VARIABLES[name]
    if not colon:
        return variable
    if algorithm not in _DIGESTS:
        raise _refused(text, position, f"unknown digest {algorithm!r} (known: {tuple(_DIGESTS)})")
    name = _DIGESTS[algorithm]
    return lambda value: (
        hashlib.new(name, variable(value), usedforsecurity=False).hexdigest().encode()
    )


def _filtered_variable(text: str, body: str, position: int) -> Expander:
    name, *filters = [part.strip() for part in body.split("|")]
    if name not in _LONG_VARIABLES:
        raise _refused(text, position, f"unknown variable {name!r}")
    steps = [_LONG_VARIABLES[name]]
    for name in filters:
        if name not in _FILTERS:
            raise _refused(text, position, f"unknown filter {name!r} (known: {tuple(_FILTERS)})")
        steps.append(_FILTERS[name])
    return _chain(steps)


def _compile(text: str, specification: re.Match[str], variable: Expander) -> Expander:
    number = int(specification["number"] or "0")
    width = int(specification["dot_number"] or "0")
    if max(number, width) > _NUMBER_MAX:
        raise _refused(text, specification.start(), f"a number above {_NUMBER_MAX}")
    if specification["dot"]:
        cut = _Cut(
            offset=-number if specification["sign"] else number,
            width=-width if specification["dot_sign"] else width,
            is_padded=bool(specification["dot_zero"]),
        )
    else:
        cut = _Cut(offset=0, width=number, is_padded=bool(specification["zero"]))
    steps = [variable]
    for modifier in specification["modifiers"]:
        if modifier in _TRUNCATING_MODIFIERS:
            hash_function = shift4_hash if modifier == "H" else _new_hash
            steps.append(_hex_hash(hash_function, max(cut.width, 0), max(cut.offset, 0)))
            cut = _Cut(offset=0, width=0, is_padded=False)
        else:
            steps.append(_MODIFIERS[modifier])
    if cut != _Cut(offset=0, width=0, is_padded=False):
        steps.append(functools.partial(_cut_value, cut))
    return _chain(steps)


def _refused(text: str, position: int, what: str) -> ValueRefused:
    return ValueRefused(f"{text!r}: {what} at column {position + 1}")


# --- what a compiled template is made of ------------------------------------------------------


def _whole(name: bytes) -> bytes:
    return name


def _local_part(name: bytes) -> bytes:
    return name.partition(b"@")[0]


def _domain(name: bytes) -> bytes:
    return name.partition(b"@")[2]


def _percent(name: bytes) -> bytes:
    return b"%"


_SHORT_VARIABLES: dict[str, Expander] = {
    "u": _whole,
    "n": _local_part,
    "d": _domain,
    "%": _percent,
}
_LONG_VARIABLES: dict[str, Expander] = {
    "user": _whole,
    "username": _local_part,
    "domain": _domain,
}
_FILTERS: dict[str, Expander] = {
    "lower": bytes.lower,
    "upper": bytes.upper,
    "username": _local_part,
    "domain": _domain,
}


def _literal(text: str) -> Expander:
    data = text.encode("utf-8", "surrogateescape")
    return lambda name: data


def _chain(steps: list[Expander]) -> Expander:
    needed = [step for step in steps if step is not _whole]
    match needed:
        case []:
            return _whole
        case [only]:
            return only
        case [first, second]:
            return lambda value: second(first(value))
    return lambda value: functools.reduce(lambda result, step: step(result), needed, value)


def _hex_digest(value: bytes) -> bytes:
    return hashlib.md5(value, usedforsecurity=False).hexdigest().encode()


def _number_to_hex(value: bytes) -> bytes:
    digits = value.lstrip(b"0")
    number = int(digits) if digits.isdigit() and len(digits) <= 20 else 0
    return b"%x" % (0 if number >> 64 else number)


def _escape_quotes(value: bytes) -> bytes:
    return re.sub(rb"([\"'\\])", rb"\\\1", value)


_MODIFIERS: dict[str, Expander] = {
    "L": bytes.lower,
    "U": bytes.upper,
    "R": lambda value: value[::-1],
    "M": _hex_digest,
    "T": bytes.rstrip,
    "D": lambda value: value.replace(b".", b",dc="),
    "E": _escape_quotes,
    "X": _number_to_hex,
}


def _new_hash(value: bytes) -> int:
    return int.from_bytes(hashlib.md5(value, usedforsecurity=False).digest()[:8], "big")


def _hex_hash(hash_function: Callable[[bytes], int], modulus: int, digits: int) -> Expander:
    def expand(value: bytes) -> bytes:
        number = hash_function(value)
        if modulus:
            number %= modulus
        return b"%0*x" % (digits, number & 0xFFFFFFFF)

    return expand


def _cut_value(cut: _Cut, value: bytes) -> bytes:
    if cut.offset >= 0 or len(value) > -cut.offset:
        value = value[cut.offset :]
    if cut.width < 0:
        return value[: cut.width] if len(value) >= -cut.width else value
    if cut.is_padded:
        return value.rjust(cut.width, b"0")
    return value[: cut.width] if cut.width else value
