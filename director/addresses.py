"""Addresses in the configuration: which directors there are, and which of them we are.

ring-protocol.md section 6, items 3 and 5, is the rule. Names are resolved once, at start; `resolve`
and `can_bind` are arguments, so that a test decides what the machine has.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import TypeAlias

from director.quantities import parse_number
from ring.address import DirectorAddress, IpAddress, parse_ip
from ring.errors import ValueRefused

Resolve: TypeAlias = Callable[[str], Sequence[IpAddress]]
"""Returns the addresses of a host name, nothing if it has none."""


def parse_directors(text: str, default_port: int, resolve: Resolve) -> tuple[DirectorAddress, ...]:
    """Return the directors that `director_servers` names, sorted, each once.

    Raises:
        ValueRefused: an item that is no address, or a name that has none.
    """
    directors: dict[DirectorAddress, None] = {}
    for item in text.split():
        host, port = split_port(item, default_port)
        try:
            addresses: Sequence[IpAddress] = (parse_ip(host),)
        except ValueRefused:
            addresses = resolve(host)
        if not addresses:
            raise ValueRefused(f"got {item!r}, expected an address or a host name that has one")
        directors.update({DirectorAddress(ip=ip, port=port): None for ip in addresses})
    return tuple(sorted(directors, key=lambda director: director.key))


def split_port(item: str, default_port: int) -> tuple[str, int]:
    """Split `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address.

    Raises:
        ValueRefused: no host, or no port from 1 to 65535.
    """
    head, colon, port = item.rpartition(":")
    if not colon or item.endswith("]") or (":" in head and not head.endswith("]")):
        return item, default_port
    number = parse_port(port)
    if not number or not head:
        raise ValueRefused(f"got {item!r}, expected host:port")
    return head, number


def find_own(
    directors: tuple[DirectorAddress, ...],
    listen_ip: IpAddress,
    listen_port: int,
    can_bind: Callable[[IpAddress], bool],
) -> DirectorAddress | None:
    """Return which director is us, None if none is (ring-protocol.md section 6, item 5)."""
    own_ip: IpAddress | None = listen_ip
    if listen_ip.is_unspecified:
        own_ip = next((d.ip for d in directors if can_bind(d.ip)), None)
    return next((d for d in directors if d.ip == own_ip and d.port == listen_port), None)


def parse_port(text: str) -> int:
    """Return a TCP port, 0 for none.

    Raises:
        ValueRefused: anything but a number from 0 to 65535.
    """
    try:
        port = parse_number(text)
    except ValueRefused:
        port = -1
    if not 0 <= port <= 65535:
        raise ValueRefused(f"got {text!r}, expected a port from 0 to 65535")
    return port


def resolve_name(name: str) -> Sequence[IpAddress]:
    """Return all addresses of a host name, nothing if it has none."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    texts = [str(address[0]) for *_, address in found]
    return tuple(ipaddress.ip_address(text) for text in dict.fromkeys(texts))


def can_bind_to(ip: IpAddress) -> bool:
    """Return whether `ip` is an address of this machine."""
    family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((str(ip), 0))
    except OSError:
        return False
    return True
