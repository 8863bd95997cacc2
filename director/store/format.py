"""The bytes of a snapshot: a magic line, then frames of length, checksum and msgpack.

    ringdirector snapshot 1 LF
    frame: length (4 bytes, big-endian), checksum (8 bytes, mmh3 of the payload), payload
    payloads, in this order:
        ["head", written at (Unix seconds), hash name]
        ["hosts", [[address, tag, weight, is down], ...], [configured address, ...]]
        ["users", tag, [address, ...], hashes, host indexes, timestamps]    one per shard and tag
        ["end", users in all]

Users are columns of little-endian 32, 16 and 32 bits, and each frame names its own hosts, because
host numbers change while the file is being written. The `end` frame tells a whole file from a
truncated one. Another version of the format gets another magic line.

A checksum finds what disks and full file systems do; it does not stop somebody who can write the
file. Still every value is checked before it is used, because a bad one must not reach the tables.
"""

from __future__ import annotations

import ipaddress
import struct
import sys
from array import array
from collections.abc import Iterator

import attrs
import mmh3
import msgpack

from ring import limits
from ring.address import IpAddress

MAGIC = b"ringdirector snapshot 1\n"
_FRAME = struct.Struct(">IQ")


class SnapshotDamaged(Exception):
    """Not a snapshot, or not a whole one; the text says what is wrong and at which byte."""


@attrs.frozen(kw_only=True)
class SavedHost:
    ip: IpAddress
    tag: bytes
    weight: int
    is_down: bool


@attrs.frozen(kw_only=True)
class SavedUsers:
    """Columns of some users of one tag."""

    tag: bytes
    hashes: list[int]
    ips: list[IpAddress]
    timestamps: list[int]


@attrs.frozen(kw_only=True)
class Snapshot:
    """`hash_name` says how user names became hashes; `configured` were the configured hosts."""

    written_at: int
    hash_name: str
    hosts: tuple[SavedHost, ...]
    configured: tuple[IpAddress, ...]
    users: tuple[SavedUsers, ...]


def encode_head(written_at: int, hash_name: str) -> bytes:
    return MAGIC + _encode(["head", written_at, hash_name])


def encode_hosts(hosts: list[SavedHost], configured: list[IpAddress]) -> bytes:
    rows = [[host.ip.packed, host.tag, host.weight, host.is_down] for host in hosts]
    return _encode(["hosts", rows, [ip.packed for ip in configured]])


def encode_users(
    tag: bytes,
    ips: list[IpAddress],
    hashes: array[int],
    indexes: array[int],
    timestamps: array[int],
) -> bytes:
    """Return one frame; `indexes` point into `ips`."""
    assert len(hashes) == len(indexes) == len(timestamps)
    columns = [_little_endian(column) for column in (hashes, indexes, timestamps)]
    return _encode(["users", tag, [ip.packed for ip in ips], *columns])


def encode_end(users_count: int) -> bytes:
    return _encode(["end", users_count])


def decode(data: bytes) -> Iterator[Snapshot | None]:
    """Yield None after each frame, so that the caller may pause, and at the end the snapshot.

    Raises:
        SnapshotDamaged: anything is not as it must be.
    """
    reader = _Reader()
    for offset, payload in _frames(data):
        try:
            reader.take(msgpack.unpackb(payload))
        except (ValueError, TypeError, struct.error, msgpack.UnpackException) as error:
            raise SnapshotDamaged(f"frame at byte {offset}: {error}") from error
        yield None
    yield reader.snapshot()


class _Reader:
    """Takes unpacked frames; ValueError and TypeError mean a bad one."""

    def __init__(self) -> None:
        self._head: tuple[int, str] | None = None
        self._hosts: list[SavedHost] = []
        self._configured: list[IpAddress] = []
        self._users: list[SavedUsers] = []
        self._is_ended = False

    def take(self, frame: object) -> None:
        if self._is_ended:
            raise ValueError("a frame after the end")
        match frame:
            case ["head", int(written_at), str(hash_name)] if self._head is None:
                self._head = written_at, hash_name
            case ["hosts", list(rows), list(configured)]:
                self._hosts = [_host(row) for row in rows]
                self._configured = [_ip(packed) for packed in configured]
            case ["users", bytes(tag), list(ips), bytes(hashes), bytes(indexes), bytes(times)]:
                self._users.append(_users(tag, ips, hashes, indexes, times))
            case ["end", int(count)]:
                found = sum(len(users.hashes) for users in self._users)
                if count != found:
                    raise ValueError(f"{found} users, expected {count}")
                self._is_ended = True
            case _:
                raise ValueError("unknown frame")

    def snapshot(self) -> Snapshot:
        if self._head is None or not self._is_ended:
            raise SnapshotDamaged("the file is not complete")
        written_at, hash_name = self._head
        return Snapshot(
            written_at=written_at,
            hash_name=hash_name,
            hosts=tuple(self._hosts),
            configured=tuple(self._configured),
            users=tuple(self._users),
        )


def _encode(frame: list[object]) -> bytes:
    payload: bytes = msgpack.packb(frame)
    assert len(payload) <= limits.SNAPSHOT_FRAME_BYTES_MAX
    return _FRAME.pack(len(payload), _checksum(payload)) + payload


def _frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    if not data.startswith(MAGIC):
        raise SnapshotDamaged(f"it starts with {data[: len(MAGIC)]!r}, expected {MAGIC!r}")
    offset = len(MAGIC)
    while offset < len(data):
        start = offset + _FRAME.size
        if start > len(data):
            raise SnapshotDamaged(f"frame at byte {offset}: cut off")
        length, checksum = _FRAME.unpack_from(data, offset)
        payload = data[start : start + length]
        if len(payload) < length:
            raise SnapshotDamaged(f"frame at byte {offset}: cut off")
        if _checksum(payload) != checksum:
            raise SnapshotDamaged(f"frame at byte {offset}: wrong checksum")
        yield offset, payload
        offset = start + length


def _checksum(payload: bytes) -> int:
    return mmh3.mmh3_x64_128_uintdigest(payload) & 0xFFFF_FFFF_FFFF_FFFF


def _host(row: object) -> SavedHost:
    match row:
        case [bytes(packed), bytes(tag), int(weight), bool(is_down)]:
            if not 0 <= weight <= limits.RING_WEIGHT_MAX:
                raise ValueError(f"weight {weight}")
            return SavedHost(ip=_ip(packed), tag=tag, weight=weight, is_down=is_down)
    raise ValueError("a host that is none")


def _ip(packed: object) -> IpAddress:
    if not isinstance(packed, bytes):
        raise ValueError("an address that is none")
    return ipaddress.ip_address(packed)


def _users(
    tag: bytes, packed_ips: list[object], hashes: bytes, indexes: bytes, timestamps: bytes
) -> SavedUsers:
    ips = [_ip(packed) for packed in packed_ips]
    columns = [_column("I", hashes), _column("H", indexes), _column("I", timestamps)]
    if len({len(column) for column in columns}) != 1:
        raise ValueError("columns of different lengths")
    if 0 in columns[0]:
        raise ValueError("a user hash of 0")
    if columns[1] and max(columns[1]) >= len(ips):
        raise ValueError("a host index beyond the hosts")
    return SavedUsers(
        tag=tag,
        hashes=columns[0].tolist(),
        ips=[ips[index] for index in columns[1]],
        timestamps=columns[2].tolist(),
    )


def _column(typecode: str, data: bytes) -> array[int]:
    column: array[int] = array(typecode)
    column.frombytes(data)
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _little_endian(column: array[int]) -> bytes:
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return column.tobytes()
