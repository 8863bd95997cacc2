"""(h) What the core's own steps cost, without sockets: hash, circle, table, codecs.

Only ours, as nobody can take the original apart so. Every figure is the best of five: what others
do on the machine can only add to it.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterator
from functools import partial

from ring import limits
from ring.codec import classic, native
from ring.hashing import HashKind, UserHasher, UsernameTemplate
from ring.hosts import MailHosts
from ring.messages import CLASSIC_MINOR, SHARDS_COUNT, Users
from ring.users import UserTable
from sim.bench.results import Kind, Metric
from sim.bench.rings import Site

COUNT = 50_000
TRIES = 5
WALL = 1_790_000_000
EXPIRE_S = 900
NAMES = (
    "hash, md5",
    "hash, murmur3",
    "circle, 10 hosts",
    "table, find",
    "table, merge of new users",
    "table, merge of known users",
    "table, digest",
    "native frames, encode",
    "native frames, decode",
    "classic lines, encode",
    "classic lines, decode",
)


class Micro:
    name = "core"
    metrics = tuple(Metric(name=name, unit="us/user") for name in NAMES)

    def measure(self, site: Site, kind: Kind) -> dict[str, float]:
        return dict(_measured()) if kind is Kind.OURS else {}

    def close(self) -> None:
        pass


def _measured() -> Iterator[tuple[str, float]]:
    names = [b"user%d@example.com" % number for number in range(COUNT)]
    for hash_kind in HashKind:
        hasher = UserHasher(UsernameTemplate.parse("%Lu"), hash_kind)
        yield f"hash, {hash_kind.value}", _best(partial(hasher.hash_many, names))
    hashes = sorted(set(hasher.hash_many(names)))
    hosts = MailHosts()
    for number in range(10):
        ip = ipaddress.ip_address(f"10.0.0.{number + 1}")
        hosts.add(ip, tag=b"", hostname=b"", weight=100)
    yield "circle, 10 hosts", _best(lambda: [hosts.lookup(h, b"") for h in hashes])
    frames = [
        Users(
            hashes=batch,
            timestamps=[WALL] * len(batch),
            hosts=tuple(host.ip for host in hosts),
            host_indexes=[h % 10 for h in batch],
        )
        for batch in _batches(hashes)
    ]
    table = UserTable(hosts)
    yield "table, merge of new users", _best(lambda: _merge(UserTable(hosts), hosts, frames))
    _merge(table, hosts, frames)
    yield "table, merge of known users", _best(lambda: _merge(table, hosts, frames))
    yield "table, find", _best(lambda: table.find_many(hashes))
    yield "table, digest", _best(lambda: [table.digest(i, 0) for i in range(SHARDS_COUNT)])
    packed = [native.encode(users) for users in frames]
    yield "native frames, encode", _best(lambda: [native.encode(users) for users in frames])
    yield "native frames, decode", _best(lambda: list(native.Decoder().decode(b"".join(packed))))
    lines = [classic.encode(users, CLASSIC_MINOR, CLASSIC_MINOR) for users in frames]
    yield (
        "classic lines, encode",
        _best(lambda: [classic.encode(users, CLASSIC_MINOR, CLASSIC_MINOR) for users in frames]),
    )
    yield "classic lines, decode", _best(lambda: list(classic.Decoder().decode(b"".join(lines))))


def _batches(hashes: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(hashes), limits.STEP_USERS_MAX):
        yield hashes[start : start + limits.STEP_USERS_MAX]


def _merge(table: UserTable, hosts: MailHosts, frames: list[Users]) -> None:
    numbers = [host.number for host in hosts]
    for users in frames:
        table.merge(
            users.hashes,
            [numbers[index] for index in users.host_indexes],
            users.timestamps,
            wall=WALL,
            expire_s=EXPIRE_S,
            special=frozenset(),
        )


def _best(work: Callable[[], object]) -> float:
    """Return the microseconds of CPU that `work` takes for each of COUNT users."""
    spent = []
    for _ in range(TRIES):
        started_at = time.process_time()
        work()
        spent.append(time.process_time() - started_at)
    return min(spent) * 1e6 / COUNT
