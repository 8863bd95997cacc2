"""The snapshot file: users and host states over a restart of the daemon.

Written beside its place and renamed, so that there is always one whole file or none. The event loop
is never blocked: a shard is copied at a time (some 1.5 ms with a million users), and all file
operations run in one thread. So the file is no picture of one moment: a user who changed meanwhile
is in it with the old or the new host. That is as good as any snapshot a moment later.

Loading decides in this order: no file: nothing to do. Damaged, of another hash, from the future, or
older than users live: it is renamed (`.damaged`, `.old`) and noted, and the daemon starts without
it. Reading checks the whole file before anything is used. Users go through the node's
`restore_users`, which leaves alone whom it knows on another host already: who knows better, as the
lists of live sessions do, comes first.

Host states are for a director that is alone: in a ring the neighbours know better, and what a stale
file says would be announced as news. `host_commands` says what an administrator would have to do
again; whether to do it is the caller's decision.

No error here stops the daemon; each is one note.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import trio

from director.store.format import (
    SavedHost,
    Snapshot,
    SnapshotDamaged,
    decode,
    encode_end,
    encode_head,
    encode_hosts,
    encode_users,
)
from ring import limits
from ring.address import IpAddress
from ring.commands import Command, HostDown, HostRemove, HostSet, HostUp, HostUpdate
from ring.effects import Noted
from ring.hosts import MailHosts
from ring.messages import SHARDS_COUNT
from ring.node import RingNode
from ring.users import UserTable

_FUTURE_S = 60
"""A clock may have been set back by this much; more is not believed."""


class SnapshotFile:
    """One file; writes exclude each other."""

    def __init__(self, path: Path, hash_name: str, note: Callable[[Noted], None]) -> None:
        """`hash_name` tells user hashes of different settings apart."""
        self._path = path
        self._hash_name = hash_name
        self._note = note
        self._lock = trio.Lock()
        self._thread = trio.CapacityLimiter(1)

    async def load(self, wall: int, age_s_max: int) -> Snapshot | None:
        """Return a usable snapshot, or None after noting what is wrong with it."""
        try:
            data = await trio.to_thread.run_sync(_read, self._path, limiter=self._thread)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._note(Noted("snapshot_read_failed", self._fields(reason=str(error))))
            return None
        snapshot: Snapshot | None = None
        try:
            for step in decode(data):
                snapshot = step
                await trio.lowlevel.checkpoint()
        except SnapshotDamaged as error:
            await self._set_aside("damaged", str(error))
            return None
        assert snapshot is not None
        if snapshot.hash_name != self._hash_name:
            reason = f"user hashes are {snapshot.hash_name}, expected {self._hash_name}"
        elif snapshot.written_at > wall + _FUTURE_S:
            reason = f"it was written {snapshot.written_at - wall} s in the future"
        elif snapshot.written_at < wall - age_s_max:
            reason = f"it is {wall - snapshot.written_at} s old, users live {age_s_max} s"
        else:
            return snapshot
        await self._set_aside("old", reason)
        return None

    async def write(self, node: RingNode, wall: int) -> bool:
        """Write what the node knows; return whether that worked."""
        new = self._path.with_name(f"{self._path.name}.new")
        async with self._lock:
            try:
                count = await self._write_new(new, node, wall)
                await trio.to_thread.run_sync(_replace, new, self._path, limiter=self._thread)
            except OSError as error:
                self._note(Noted("snapshot_write_failed", self._fields(reason=str(error))))
                return False
            finally:
                new.unlink(missing_ok=True)
        self._note(Noted("snapshot_written", self._fields(users=count)))
        return True

    async def _write_new(self, new: Path, node: RingNode, wall: int) -> int:
        file = await trio.to_thread.run_sync(_open_new, new, limiter=self._thread)
        try:
            buffer = bytearray(encode_head(wall, self._hash_name))
            buffer += encode_hosts(_saved_hosts(node.hosts), [h.ip for h in node.configured_hosts])
            count = 0
            for tag, pool in list(node.pools.items()):
                for index in range(SHARDS_COUNT):
                    users_count, frame = _encode_shard(tag, pool.table, node.hosts, index)
                    count += users_count
                    buffer += frame
                    if len(buffer) >= limits.SNAPSHOT_WRITE_BYTES:
                        await trio.to_thread.run_sync(file.write, buffer, limiter=self._thread)
                        buffer = bytearray()
                    await trio.lowlevel.checkpoint()
            buffer += encode_end(count)
            await trio.to_thread.run_sync(_finish, file, buffer, limiter=self._thread)
        finally:
            file.close()
        return count

    async def _set_aside(self, suffix: str, reason: str) -> None:
        aside = self._path.with_name(f"{self._path.name}.{suffix}")
        try:
            await trio.to_thread.run_sync(_replace, self._path, aside, limiter=self._thread)
        except OSError as error:
            reason = f"{reason}; {error}"
        self._note(Noted("snapshot_rejected", self._fields(now=aside, reason=reason)))

    def _fields(self, **fields: object) -> tuple[tuple[str, object], ...]:
        return (("path", self._path), *fields.items())


async def restore_users(node: RingNode, snapshot: Snapshot, clock: Callable[[], float]) -> int:
    """Give the node the users of a snapshot, shard by shard; return how many were news."""
    news_count = 0
    for users in snapshot.users:
        news_count += node.restore_users(
            users.tag, users.hashes, users.ips, users.timestamps, clock()
        )
        await trio.lowlevel.checkpoint()
    return news_count


def host_commands(snapshot: Snapshot, hosts: MailHosts) -> list[Command]:
    """Return what an administrator would have to do so that `hosts` is as it was.

    `hosts` is what the configuration says now. Where the configuration itself has changed since, it
    wins: a host that it no longer names is not added again.
    """
    commands: list[Command] = []
    for saved in snapshot.hosts:
        host = hosts.get(saved.ip)
        if host is None:
            if saved.ip in snapshot.configured:
                continue
            commands.append(HostSet(ip=saved.ip, tag=saved.tag, weight=saved.weight))
        elif host.weight != saved.weight:
            commands.append(HostUpdate(ip=saved.ip, tag=b"", weight=saved.weight))
        is_down = host is not None and host.is_down
        if is_down != saved.is_down:
            commands.append(HostDown(saved.ip) if saved.is_down else HostUp(saved.ip))
    saved_ips = {saved.ip for saved in snapshot.hosts}
    for ip in snapshot.configured:
        if ip not in saved_ips and hosts.get(ip) is not None:
            commands.append(HostRemove(ip))
    return commands


def _saved_hosts(hosts: MailHosts) -> list[SavedHost]:
    return [
        SavedHost(ip=host.ip, tag=host.tag, weight=host.weight, is_down=host.is_down)
        for host in hosts
    ]


def _encode_shard(tag: bytes, table: UserTable, hosts: MailHosts, index: int) -> tuple[int, bytes]:
    """Return how many users a shard has, and its frame, empty without users."""
    hashes, numbers, timestamps = table.shard(index)
    if not hashes:
        return 0, b""
    ips: list[IpAddress] = []
    index_of: dict[int, int] = {}
    for number in set(numbers):
        host = hosts.by_number[number]
        assert host is not None
        index_of[number] = len(ips)
        ips.append(host.ip)
    indexes = array("H", [index_of[number] for number in numbers])
    return len(hashes), encode_users(tag, ips, hashes, indexes, timestamps)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limits.SNAPSHOT_BYTES_MAX:
            raise OSError(f"{size} bytes are more than {limits.SNAPSHOT_BYTES_MAX}")
        return file.read()


def _open_new(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    return os.fdopen(descriptor, "wb")


def _finish(file: BinaryIO, data: bytes | bytearray) -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())
    file.close()


def _replace(source: Path, target: Path) -> None:
    """Rename, so that it is still so after a power failure."""
    source.replace(target)
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
