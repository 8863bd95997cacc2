"""The snapshot's bytes: whatever is damaged is found, whatever was written comes back."""

from __future__ import annotations

import ipaddress
from array import array

import hypothesis
import hypothesis.strategies as st
import msgpack
import pytest

from director.store import format as snapshot_format
from director.store.format import (
    MAGIC,
    SavedHost,
    Snapshot,
    SnapshotDamaged,
    decode,
    encode_end,
    encode_head,
    encode_hosts,
    encode_users,
)

HERE, THERE = ipaddress.ip_address("10.0.0.2"), ipaddress.ip_address("2001:db8::3")
HOSTS = [
    SavedHost(ip=HERE, tag=b"", weight=100, is_down=False),
    SavedHost(ip=THERE, tag=b"gold", weight=0, is_down=True),
]


def users_frame() -> bytes:
    return encode_users(
        b"gold", [HERE, THERE], array("I", [1, 0xFFFF_FFFF]), array("H", [1, 0]), array("I", [5, 6])
    )


def whole() -> bytes:
    hosts = encode_hosts(HOSTS, [HERE])
    return encode_head(1000, "md5 %Lu") + hosts + users_frame() + encode_end(2)


def read(data: bytes) -> Snapshot:
    *_, snapshot = decode(data)
    assert snapshot is not None
    return snapshot


def test_what_was_written_comes_back() -> None:
    snapshot = read(whole())

    assert (snapshot.written_at, snapshot.hash_name) == (1000, "md5 %Lu")
    assert snapshot.hosts == tuple(HOSTS)
    assert snapshot.configured == (HERE,)
    (users,) = snapshot.users
    assert users.tag == b"gold"
    assert users.hashes == [1, 0xFFFF_FFFF]
    assert users.ips == [THERE, HERE]
    assert users.timestamps == [5, 6]


@hypothesis.given(st.integers(0, len(whole()) - 1), st.integers(1, 255))
def test_every_changed_byte_is_found(offset: int, change: int) -> None:
    data = bytearray(whole())
    data[offset] ^= change
    with pytest.raises(SnapshotDamaged):
        read(bytes(data))


@hypothesis.given(st.integers(0, len(whole()) - 1))
def test_every_truncation_is_found(length: int) -> None:
    with pytest.raises(SnapshotDamaged):
        read(whole()[:length])


@hypothesis.given(st.binary(max_size=200))
def test_garbage_is_found(garbage: bytes) -> None:
    with pytest.raises(SnapshotDamaged):
        read(MAGIC + garbage)


def frame(*fields: object) -> bytes:
    """A frame with a right checksum and wrong contents."""
    return snapshot_format._encode(list(fields))


COLUMN = b"\1\0\0\0"


@pytest.mark.parametrize(
    "bad, reason",
    [
        (frame("users", b"", [HERE.packed], COLUMN, b"\1\0", COLUMN), "a host index beyond"),
        (frame("users", b"", [HERE.packed], COLUMN, b"\0\0\0\0", COLUMN), "different lengths"),
        (frame("users", b"", [HERE.packed], b"\0" * 4, b"\0\0", COLUMN), "a user hash of 0"),
        (frame("users", b"", [HERE.packed], b"\0" * 3, b"\0\0", COLUMN), "not a multiple"),
        (frame("users", b"", [7], COLUMN, b"\0\0", COLUMN), "an address that is none"),
        (frame("users", b"", [b"12345"], COLUMN, b"\0\0", COLUMN), "does not appear to be"),
        (frame("hosts", [[HERE.packed, b"", -1, False]], []), "weight -1"),
        (frame("hosts", [[HERE.packed, b"", 1]], []), "a host that is none"),
        (frame("head", 1, "md5"), "unknown frame"),
        (frame("new"), "unknown frame"),
        (frame("end", 7), "2 users, expected 7"),
        (frame("end", 2) + frame("end", 2), "a frame after the end"),
    ],
)
def test_wrong_contents_are_found_before_anything_is_used(bad: bytes, reason: str) -> None:
    data = encode_head(1000, "md5 %Lu") + users_frame() + bad + encode_end(2)
    with pytest.raises(SnapshotDamaged, match=f"frame at byte [0-9]+: .*{reason}"):
        read(data)


def test_payload_that_is_no_msgpack_is_found() -> None:
    payload = msgpack.packb(["end", 0]) + b"\xc1"
    header = snapshot_format._FRAME.pack(len(payload), snapshot_format._checksum(payload))
    with pytest.raises(SnapshotDamaged, match="frame at byte"):
        read(MAGIC + header + payload)


def test_other_version_is_named() -> None:
    with pytest.raises(SnapshotDamaged, match="it starts with b'ringdirector snapshot 2"):
        read(b"ringdirector snapshot 2\n" + whole()[len(MAGIC) :])
