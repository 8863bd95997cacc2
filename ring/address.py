"""Addresses of directors and mail hosts, and the order directors stand in on the ring.

Addresses are sorted by family (IPv4 first), then by bytes, then by port (ring-protocol.md
section 5). The wire and the classic configuration accept more spellings of an IP than Python's
`ipaddress` does (a bare decimal number, brackets around IPv6, octal and hexadecimal parts); they
are read here, and only here, so that every part of the program means the same host.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TypeAlias

import attrs

from ring.errors import ValueRefused

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_INET_ATON_PART = re.compile(r"0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*")


def parse_ip(text: str) -> IpAddress:
    """Return the address that `text` spells, IPv4-mapped IPv6 left as it is.

    Raises:
        ValueRefused: the text is neither IPv4 (dotted quad, one decimal number, any form
            `inet_aton` takes) nor IPv6 (optionally in square brackets).
    """
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
        if ":" not in text:
            raise ValueRefused(f"{text!r} in brackets is not an IPv6 address")
    if "%" in text:
        raise ValueRefused(f"{text!r}: zone identifiers are not supported")
    try:
        if ":" in text:
            return ipaddress.IPv6Address(text)
        return ipaddress.IPv4Address(text)
    except ValueError:
        number = _inet_aton(text)
        if number is None:
            raise ValueRefused(f"{text!r} is not an IP address") from None
        return ipaddress.IPv4Address(number)


def _inet_aton(text: str) -> int | None:
    parts = text.split(".")
    if not text.isascii() or len(parts) > 4:
        return None
    if not all(_INET_ATON_PART.fullmatch(part) for part in parts):
        return None
    numbers = [int(p, 16 if p[:2] in ("0x", "0X") else 8 if p[0] == "0" else 10) for p in parts]
    tail_bits = 8 * (5 - len(parts))
    if any(number > 255 for number in numbers[:-1]) or numbers[-1] >> tail_bits:
        return None
    value = numbers[-1]
    for index, number in enumerate(numbers[:-1]):
        value |= number << (24 - 8 * index)
    return value


def ip_text(ip: IpAddress) -> str:
    """Return the canonical spelling: what `inet_ntop` prints and what points are computed from.

    It differs from `str(ip)` for IPv6 addresses that carry an IPv4 address in their last 32 bits
    (`::ffff:10.0.0.1`, `::10.0.0.1`), which Python spells in one way or the other, depending on its
    version.
    """
    if ip.version == 4 or int(ip) >> 32 not in (0, 0xFFFF):
        return str(ip)
    tail = int(ip) & 0xFFFFFFFF
    if int(ip) >> 32 == 0xFFFF:
        return f"::ffff:{ipaddress.IPv4Address(tail)}"
    if tail >> 16 == 0:  # the zeros before it reach into the last 32 bits
        return str(ip)
    return f"::{ipaddress.IPv4Address(tail)}"


def ip_key(ip: IpAddress) -> tuple[int, bytes]:
    """Return the sort key of an address: family, then bytes in network order."""
    return ip.version, ip.packed


@attrs.frozen(order=False, kw_only=True)
class DirectorAddress:
    """Where a director listens for its neighbours; its identity in the ring."""

    ip: IpAddress
    port: int

    def __str__(self) -> str:
        if self.ip.version == 6:
            return f"[{ip_text(self.ip)}]:{self.port}"
        return f"{self.ip}:{self.port}"

    @property
    def key(self) -> tuple[int, bytes, int]:
        return self.ip.version, self.ip.packed, self.port
