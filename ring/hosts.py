"""The mail hosts: who they are, which of them a new user belongs to, and their common digest.

Decides the host of a hash on the circle of a tag (users-and-hosts.md section 3), the hosts hash
that SYNC carries (section 4), and which number a host has in the user tables (DESIGN.md decision
4). Does not decide whether a change is allowed (`administration`, `sync`) and holds no users.

The circle of a tag is one sorted list of points and a parallel list of their owners, built when the
first lookup after a change needs it. The points of a host are kept, so that a change of weight or
state only sorts again. Measured with CPython 3.11: a lookup 0.3 us; the circle of 10 hosts of
weight 100 1.0 ms the first time and 0.25 ms after a change, of 50 hosts 5.4 and 1.5 ms, of 50 hosts
of weight 1000 66 and 22 ms.

Rejected: changing the sorted lists in place (saves a few milliseconds a few times a day); 65,536
precomputed slots (0.1 us less a lookup, many times the work at each change).
"""

from __future__ import annotations

import itertools
import re
import zlib
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import attrs

from ring import limits
from ring.address import IpAddress, ip_key, ip_text, parse_ip
from ring.errors import LimitExceeded, ValueRefused, excerpt
from ring.hashing import shift4_hash, vhost_points
from ring.settings import HostSetting

HOST_NUMBERS_MAX = 65536
"""User tables keep host numbers in 16 bits."""

NO_NUMBER = -1
"""The number of a host that was removed."""


@attrs.define(eq=False, kw_only=True)
class MailHost:
    """One backend. Only `MailHosts` may change its fields, all but `is_desynced`.

    `weight` is its number of points; `changed_at` the Unix second when it last went up or down, 0
    if it never did; `hostname` empty if it was configured by address; `is_desynced` means changed
    since the last completed ring sync; `number` stands for it in the user tables; `weight_set_at`
    is the Unix millisecond at which an administrator last set the weight, 0 if nobody did.
    """

    ip: IpAddress
    ip_text: bytes
    tag: bytes
    hostname: bytes
    weight: int
    is_down: bool = False
    changed_at: int = 0
    weight_set_at: int = 0
    is_desynced: bool = False
    number: int = NO_NUMBER
    _points: list[int] = attrs.field(init=False, factory=list, repr=False)

    def points(self) -> list[int]:
        """Return its points on the circle, none while it is down."""
        if self.is_down:
            return []
        if len(self._points) < self.weight:
            self._points = vhost_points(self.ip_text, self.weight)
        return self._points[: self.weight]


Placing: TypeAlias = Callable[[int], MailHost | None]
"""Returns the host that a user hash belongs to by the circle of a tag."""


class MailHosts:
    """The mail hosts of a ring, iterated in the order of their addresses.

    `by_number` is never replaced by another list, so that user tables may hold on to it; None is a
    dead number: users that have it are as good as absent. Number 0 is dead from the beginning, an
    empty slot of a user table has it.
    """

    __slots__ = (
        "_circles",
        "_dead_numbers",
        "_free_numbers",
        "_hosts",
        "_hosts_hash",
        "_sorted",
        "by_number",
        "removed_at",
        "tags",
    )

    def __init__(self) -> None:
        self.by_number: list[MailHost | None] = [None]
        self.tags: list[bytes] = []
        """In order of first appearance; a tag never disappears (users-and-hosts.md section 5)."""
        self.removed_at: dict[IpAddress, int] = {}
        """When administrators removed hosts that are not there, in Unix milliseconds, oldest first;
        so that a director that was away at the time does not bring them back."""
        self._hosts: dict[IpAddress, MailHost] = {}
        self._sorted: list[MailHost] = []
        self._circles: dict[bytes, Placing | None] = {}
        self._hosts_hash: int | None = None
        self._dead_numbers: list[int] = []
        self._free_numbers: list[int] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def __iter__(self) -> Iterator[MailHost]:
        return iter(self._sorted.copy())  # so that a loop over all hosts may remove them

    def get(self, ip: IpAddress) -> MailHost | None:
        return self._hosts.get(ip)

    # hot: every login of a new user; bench sim.bench.lookup
    def lookup(self, user_hash: int, tag: bytes) -> MailHost | None:
        """Return the host a new user belongs to, or None if the tag has no usable host."""
        return self.placing(tag)(user_hash)

    def placing(self, tag: bytes) -> Placing:
        """Return what `lookup` does for a tag, as long as no host changes."""
        placing = self._circles.get(tag)
        if placing is None:
            placing = _build_circle([host for host in self._sorted if host.tag == tag])
            if tag in self._circles:
                self._circles[tag] = placing
        return placing

    def hosts_hash(self) -> int:
        """Return the digest of all hosts that SYNC carries; never 0 (users-and-hosts.md sec. 4)."""
        if self._hosts_hash is None:
            self._hosts_hash = _hosts_hash(self._sorted)
        return self._hosts_hash

    def add(self, ip: IpAddress, *, tag: bytes, hostname: bytes, weight: int) -> MailHost:
        """Add a host that is up.

        Raises:
            LimitExceeded: too many hosts (`limits.HOSTS_MAX`) or no number is left.
        """
        assert ip not in self._hosts
        assert weight >= 0
        if len(self._sorted) >= limits.HOSTS_MAX:
            raise LimitExceeded(f"mail host {ip} would be one more than {limits.HOSTS_MAX}")
        host = MailHost(
            ip=ip, ip_text=ip_text(ip).encode(), tag=tag, hostname=hostname, weight=weight
        )
        self._take_number(host)
        self._hosts[ip] = host
        self.removed_at.pop(ip, None)
        insort(self._sorted, host, key=lambda host: ip_key(host.ip))
        self._add_tag(tag)
        self._changed(tag)
        return host

    def remove(self, host: MailHost) -> None:
        """Drop a host and forget its users."""
        assert self._hosts.get(host.ip) is host
        del self._hosts[host.ip]
        self._sorted.remove(host)
        self._drop_number(host.number)
        host.number = NO_NUMBER
        self._changed(host.tag)

    def remember_removal(self, ip: IpAddress, removed_at: int) -> None:
        """Of `limits.HOSTS_MAX` removals at most."""
        assert ip not in self._hosts
        self.removed_at.pop(ip, None)
        self.removed_at[ip] = removed_at
        if len(self.removed_at) > limits.HOSTS_MAX:
            del self.removed_at[next(iter(self.removed_at))]

    def forget_users(self, host: MailHost) -> None:
        """Give the host a new number, so that all entries of user tables with the old one are dead.

        Raises:
            LimitExceeded: no number is left; nothing changed.
        """
        assert self._hosts.get(host.ip) is host
        old_number = host.number
        self._take_number(host)
        self._drop_number(old_number)

    def set_weight(self, host: MailHost, weight: int, set_at: int) -> None:
        assert weight >= 0
        host.weight_set_at = set_at
        if host.weight != weight:
            host.weight = weight
            self._changed(host.tag)

    def set_down(self, host: MailHost, is_down: bool, changed_at: int) -> None:
        """Bring the host up or down; `changed_at` counts only if that is a change."""
        if host.is_down == is_down:
            return
        host.is_down = is_down
        host.changed_at = changed_at
        self._changed(host.tag)

    def set_tag(self, host: MailHost, tag: bytes) -> None:
        """Move the host to another tag and forget its users: they belong to the old tag's table.

        Raises:
            LimitExceeded: no number is left; nothing changed.
        """
        if host.tag == tag:
            return
        self.forget_users(host)
        self._changed(host.tag)
        host.tag = tag
        self._add_tag(tag)
        self._changed(tag)

    def clear_desynced(self) -> None:
        """All hosts are what the whole ring knows."""
        for host in self._sorted:
            host.is_desynced = False

    @property
    def numbers_left(self) -> int:
        """How many numbers can still be given away before some must be reclaimed."""
        return HOST_NUMBERS_MAX - len(self.by_number) + len(self._free_numbers)

    @property
    def has_dead_numbers(self) -> bool:
        """Tell whether some user table may have entries with a dead number other than 0."""
        return bool(self._dead_numbers)

    def reclaim_numbers(self, is_used: Callable[[int], bool]) -> None:
        """Let dead numbers be given away again, except those that `is_used` by some user table.

        A number that comes back while an entry still has it would revive that entry at a wrong
        host, so only the tables can tell; after a table was swept once it has no dead ones.
        """
        still_used = [number for number in self._dead_numbers if is_used(number)]
        self._free_numbers += sorted(set(self._dead_numbers).difference(still_used))
        self._dead_numbers = still_used

    def _take_number(self, host: MailHost) -> None:
        if self._free_numbers:
            host.number = self._free_numbers.pop()
            assert self.by_number[host.number] is None
            self.by_number[host.number] = host
            return
        if len(self.by_number) >= HOST_NUMBERS_MAX:
            raise LimitExceeded(f"mail host {host.ip}: all {HOST_NUMBERS_MAX} numbers are taken")
        host.number = len(self.by_number)
        self.by_number.append(host)

    def _drop_number(self, number: int) -> None:
        assert self.by_number[number] is not None
        self.by_number[number] = None
        self._dead_numbers.append(number)

    def _add_tag(self, tag: bytes) -> None:
        if tag not in self._circles:
            self.tags.append(tag)
            self._circles[tag] = None

    def _changed(self, tag: bytes) -> None:
        self._circles[tag] = None
        self._hosts_hash = None


def parse_mail_servers(
    text: str,
    resolve: Callable[[str], Sequence[IpAddress]],
    on_duplicate: Callable[[HostSetting], None] = lambda setting: None,
) -> tuple[HostSetting, ...]:
    """Return the hosts that a `director_mail_servers` value names (users-and-hosts.md section 2.2).

    Names are looked up with `resolve`. An address that appears again is merged into its first
    mention and given to `on_duplicate`. The original keeps two entries, so that the host silently
    gets twice the share, counts differ between its views, and the ring, which knows hosts by their
    address, can only ever change the first of them; nobody means that.

    Raises:
        ValueRefused: names the item that cannot be understood; or no item at all, too many hosts,
            or one address in two tags.
    """
    settings: dict[IpAddress, HostSetting] = {}
    items = [item for item in re.split(r"[ \t\r\n]+", text) if item]
    if not items:
        raise ValueRefused("no mail server is given, expected at least one address or name")
    for item in items:
        for setting in _parse_item(item, resolve):
            known = settings.setdefault(setting.ip, setting)
            if len(settings) > limits.HOSTS_MAX:
                raise ValueRefused(f"{item!r}: more than {limits.HOSTS_MAX} mail servers")
            if known is setting:
                continue
            if known.tag != setting.tag:
                raise ValueRefused(
                    f"{item!r}: {setting.ip} was given before with the tag "
                    f"{excerpt(known.tag)!r}, a mail server has one tag"
                )
            on_duplicate(setting)
    return tuple(settings.values())


# --- circle and hash --------------------------------------------------------------------------


def _build_circle(hosts: list[MailHost]) -> Placing:
    """Return what finds the owner of a hash among sorted points.

    Hashes above the last point belong to the first; those that equal a point of several hosts are
    looked up apart.
    """
    keyed: list[int] = []
    for order, host in enumerate(hosts):
        keyed += [point << 16 | order for point in host.points()]
    keyed.sort()  # by point, equal points in the order of addresses
    points = [key >> 16 for key in keyed]
    owners: list[MailHost | None] = [hosts[key & 0xFFFF] for key in keyed]
    shared: dict[int, MailHost | None] = {}
    if len(set(points)) < len(points):
        twice = {point for point, following in itertools.pairwise(points) if point == following}
        shared = {point: owners[_bisection(points, point)] for point in twice}
    owners.append(owners[0] if owners else None)

    def place(user_hash: int) -> MailHost | None:
        if user_hash in shared:
            return shared[user_hash]
        return owners[bisect_left(points, user_hash)]

    return place


def _bisection(points: list[int], wanted: int) -> int:
    """Return the index at which the original's binary search meets a value that is there.

    `bisect_left` would meet the first of several equal ones.
    """
    low, high = 0, len(points)
    while True:
        middle = (low + high) // 2
        if points[middle] < wanted:
            low = middle + 1
        elif points[middle] > wanted:
            high = middle
        else:
            return middle


def _hosts_hash(hosts: Iterable[MailHost]) -> int:
    data = bytearray()
    for host in hosts:
        data += ((host.weight ^ host.is_down) & 0xFFFFFFFF).to_bytes(4, "little")
        if host.ip.version == 4:
            data += host.ip.packed
        else:
            data += shift4_hash(host.ip.packed).to_bytes(4, "little")
        data += host.tag
    return zlib.crc32(data) or 1


# --- director_mail_servers --------------------------------------------------------------------


def _parse_item(item: str, resolve: Callable[[str], Sequence[IpAddress]]) -> Iterator[HostSetting]:
    address, _, tag_text = item.partition("@")
    tag = tag_text.encode("utf-8", "surrogateescape")
    hostname = b""
    if not address:
        raise ValueRefused(f"{item!r}: no address before the tag")
    ips = _parse_range(item, address) or _parse_address(address)
    if ips is None:
        hostname = address.encode("utf-8", "surrogateescape")
        ips = resolve(address)
        if not ips:
            raise ValueRefused(
                f"{item!r}: {address!r} is neither an address nor a name that has one"
            )
    if max(len(tag), len(hostname)) > limits.FRAME_TEXT_BYTES_MAX:
        raise ValueRefused(
            f"{item[:40]!r}...: longer than {limits.FRAME_TEXT_BYTES_MAX} bytes, "
            "which no ring message can carry"
        )
    for ip in ips:
        yield HostSetting(ip=ip, tag=tag, hostname=hostname)


def _parse_address(text: str) -> Sequence[IpAddress] | None:
    try:
        return [parse_ip(text)]
    except ValueRefused:
        return None


def _parse_range(item: str, text: str) -> Sequence[IpAddress] | None:
    """Return the addresses of `first-last`, or None if it is none (names may contain a dash)."""
    first_text, dash, last_text = text.partition("-")
    if not dash:
        return None
    try:
        first, last = parse_ip(first_text), parse_ip(last_text)
    except ValueRefused:
        return None
    if first.version != last.version:
        raise ValueRefused(f"{item!r}: a range from IPv{first.version} to IPv{last.version}")
    if ip_key(first) > ip_key(last):
        raise ValueRefused(f"{item!r}: the range ends before it starts")
    count_max = limits.IPV4_RANGE_HOSTS_MAX if first.version == 4 else limits.IPV6_RANGE_HOSTS_MAX
    if int(first) // count_max != int(last) // count_max:
        raise ValueRefused(
            f"{item!r}: the addresses of a range may differ only in the last "
            f"{count_max.bit_length() - 1} bits"
        )
    address_type = type(first)
    return [address_type(number) for number in range(int(first), int(last) + 1)]
