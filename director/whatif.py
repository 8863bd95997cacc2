"""What a change of the mail hosts would do: who belongs elsewhere, and how even the load would be.

Computes on the real circle (`ring.hosts`) with the real user hashes, so the answer is the one the
ring would give. It knows where users *belong*, not where they are: a user with a host keeps it
until it expires or somebody moves him, so after an addition or a change of weight the users counted
here move one by one, as they expire, or with `director flush`; those of a host that is removed or
down move with their next login.

A population is counts per user hash, never names: 100 bytes a user, any number of sessions. Without
a log it is a number of hashes at equal distances, which measures the circle itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import attrs

from ring import limits
from ring.address import IpAddress
from ring.errors import ValueRefused
from ring.hosts import MailHost, MailHosts
from ring.settings import DEFAULT_WEIGHT, HostSetting

HASHES_COUNT = 1 << 32


@attrs.frozen(kw_only=True)
class Change:
    """What is done to the hosts, in this order."""

    removed: tuple[IpAddress, ...] = ()
    added: tuple[HostSetting, ...] = ()
    weights: tuple[tuple[IpAddress, int], ...] = ()
    down: tuple[IpAddress, ...] = ()


class Population:
    """How many sessions each user hash of each tag has."""

    def __init__(self) -> None:
        self._sessions_by_tag: dict[bytes, dict[int, int]] = {}

    def add(self, tag: bytes, user_hash: int) -> None:
        """Count one session."""
        sessions = self._sessions_by_tag.setdefault(tag, {})
        sessions[user_hash] = sessions.get(user_hash, 0) + 1

    def __bool__(self) -> bool:
        return bool(self._sessions_by_tag)

    def __iter__(self) -> Iterator[tuple[bytes, int, int]]:
        """Yield tag, hash and sessions of each user."""
        for tag, sessions in self._sessions_by_tag.items():
            for user_hash, count in sessions.items():
                yield tag, user_hash, count


@attrs.define
class Load:
    """Users and their sessions."""

    users: int = 0
    sessions: int = 0

    def add(self, sessions: int) -> None:
        self.users += 1
        self.sessions += sessions


@attrs.define(kw_only=True)
class HostLoad:
    """One mail host as it would be, or as it was if it is removed.

    `fair_sessions` is what its weight would give it if all users were alike and hashes even.
    """

    host: MailHost
    state: str
    before: Load = attrs.Factory(Load)
    after: Load = attrs.Factory(Load)
    fair_sessions: float = 0.0

    @property
    def percent_of_fair(self) -> float | None:
        """100 is exactly its share; None if it should have nothing."""
        if not self.fair_sessions:
            return None
        return 100.0 * self.after.sessions / self.fair_sessions


@attrs.frozen(kw_only=True)
class Outcome:
    """`moves` by old and new host, None for no host; most users first."""

    hosts: tuple[HostLoad, ...]
    moves: tuple[tuple[MailHost | None, MailHost | None, Load], ...]
    total: Load
    moved: Load
    homeless: Load
    """Those whom no host could serve afterwards."""


def mail_hosts(settings: Iterable[HostSetting]) -> MailHosts:
    """Return the hosts of a configuration, each with the usual weight."""
    hosts = MailHosts()
    for setting in settings:
        _add(hosts, setting)
    return hosts


def apply(hosts: MailHosts, change: Change) -> None:
    """Change the hosts.

    Raises:
        ValueRefused: a host that is not there, or is there already; a weight out of range.
    """
    for ip in change.removed:
        hosts.remove(_known(hosts, ip))
    for setting in change.added:
        if hosts.get(setting.ip) is not None:
            raise ValueRefused(f"{setting.ip} is a mail host already")
        _add(hosts, setting)
    for ip, weight in change.weights:
        if not 0 <= weight <= limits.WEIGHT_MAX:
            raise ValueRefused(f"{ip}: got weight {weight}, expected 0 to {limits.WEIGHT_MAX}")
        hosts.set_weight(_known(hosts, ip), weight, set_at=0)
    for ip in change.down:
        hosts.set_down(_known(hosts, ip), True, 0)


def even_population(tags: Iterable[bytes], users_count: int) -> Population:
    """Return so many users of each tag at equal distances on the circle, one session each."""
    population = Population()
    for tag in tags:
        for index in range(users_count):
            population.add(tag, index * HASHES_COUNT // users_count or 1)
    return population


def compare(population: Population, before: MailHosts, after: MailHosts) -> Outcome:
    """Return where everybody belongs before and after, and how even that is."""
    loads = _host_loads(before, after)
    moves: dict[tuple[IpAddress | None, IpAddress | None], Load] = {}
    sessions_by_tag: Counter[bytes] = Counter()
    total, moved, homeless = Load(), Load(), Load()
    for tag, user_hash, sessions in population:
        sessions_by_tag[tag] += sessions
        total.add(sessions)
        source = before.lookup(user_hash, tag)
        target = after.lookup(user_hash, tag)
        if source is not None:
            loads[source.ip].before.add(sessions)
        if target is not None:
            loads[target.ip].after.add(sessions)
        else:
            homeless.add(sessions)
        old = None if source is None else source.ip
        new = None if target is None else target.ip
        if old != new:
            moved.add(sessions)
            moves.setdefault((old, new), Load()).add(sessions)
    _share_fairly(after, loads, sessions_by_tag)
    host_of = {ip: load.host for ip, load in loads.items()}
    return Outcome(
        hosts=tuple(loads.values()),
        moves=tuple(
            (host_of[old] if old else None, host_of[new] if new else None, load)
            for (old, new), load in sorted(moves.items(), key=lambda move: -move[1].users)
        ),
        total=total,
        moved=moved,
        homeless=homeless,
    )


def _host_loads(before: MailHosts, after: MailHosts) -> dict[IpAddress, HostLoad]:
    loads = {}
    for host in before:
        if after.get(host.ip) is None:
            loads[host.ip] = HostLoad(host=host, state="removed")
    for host in after:
        known = before.get(host.ip)
        state = "down" if host.is_down else "up" if known is not None else "added"
        loads[host.ip] = HostLoad(host=host, state=state)
    return loads


def _share_fairly(
    hosts: MailHosts, loads: dict[IpAddress, HostLoad], sessions_by_tag: Counter[bytes]
) -> None:
    weights: Counter[bytes] = Counter()
    usable = [host for host in hosts if host.weight and not host.is_down]
    for host in usable:
        weights[host.tag] += host.weight
    for host in usable:
        share = host.weight / weights[host.tag]
        loads[host.ip].fair_sessions = sessions_by_tag[host.tag] * share


def _add(hosts: MailHosts, setting: HostSetting) -> None:
    hosts.add(setting.ip, tag=setting.tag, hostname=setting.hostname, weight=DEFAULT_WEIGHT)


def _known(hosts: MailHosts, ip: IpAddress) -> MailHost:
    host = hosts.get(ip)
    if host is None:
        known = ", ".join(str(host.ip) for host in hosts)
        raise ValueRefused(f"{ip} is no mail host, expected one of {known}")
    return host
