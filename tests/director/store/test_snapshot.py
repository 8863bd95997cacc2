"""The snapshot file: a node's users and hosts come back, and no bad file stops a daemon."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import attrs
import pytest

from director.store.format import MAGIC
from director.store.snapshot import SnapshotFile, host_commands, restore_users
from ring import limits
from ring.address import IpAddress
from ring.commands import HostDown, HostRemove, HostSet, HostUpdate
from ring.effects import Noted
from ring.node import RingNode
from ring.settings import HostSetting, NodeSettings

WALL = 1_700_000_000
EXPIRE_S = 900
IPS = [ipaddress.ip_address(f"127.0.0.{n}") for n in range(2, 6)]
HASHES = [n * 2_654_435_761 % (1 << 32) | 1 for n in range(1, 2001)]


def make_node(*tags: bytes) -> RingNode:
    """A lone node; host n has the n-th of `tags`."""
    hosts = tuple(HostSetting(ip=ip, tag=tag) for ip, tag in zip(IPS, tags, strict=False))
    return RingNode(NodeSettings(own=None, directors=(), hosts=hosts), 0.0, float(WALL))


@attrs.define
class Bench:
    """A file, and what was noted about it."""

    path: Path
    notes: list[Noted] = attrs.field(factory=list)

    def file(self, hash_name: str = "md5 %Lu") -> SnapshotFile:
        return SnapshotFile(self.path, hash_name, self.notes.append)

    def kinds(self) -> list[str]:
        return [note.kind for note in self.notes]

    def reason(self) -> str:
        return str(dict(self.notes[-1].fields)["reason"])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "snapshot")


def everybody(node: RingNode) -> dict[tuple[bytes, int], tuple[IpAddress, int]]:
    found: dict[tuple[bytes, int], tuple[IpAddress, int]] = {}
    for tag, pool in node.pools.items():
        for user_hash in HASHES:
            packed = pool.table.find(user_hash)
            if packed >= 0:
                host = node.hosts.by_number[packed & 0xFFFF]
                assert host is not None
                found[tag, user_hash] = (host.ip, packed >> 16)
    return found


async def test_users_of_every_tag_come_back(bench: Bench) -> None:
    old = make_node(b"", b"", b"gold")
    for user_hash in HASHES:
        old.lookup(user_hash, user_hash, b"gold" if user_hash % 3 == 0 else b"", 1.0)
    assert await bench.file().write(old, WALL + 10)
    snapshot = await bench.file().load(WALL + 20, EXPIRE_S)
    assert snapshot is not None
    new = make_node(b"", b"", b"gold")

    assert await restore_users(new, snapshot, lambda: 20.0) == len(HASHES)
    assert everybody(new) == everybody(old)
    assert len(everybody(new)) == len(HASHES)
    assert bench.kinds() == ["snapshot_written"]
    assert [file.name for file in bench.path.parent.iterdir()] == ["snapshot"]


async def test_large_table_is_written_in_pieces(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SNAPSHOT_WRITE_BYTES", 1000)
    node = make_node(b"")
    for user_hash in HASHES:
        node.lookup(user_hash, user_hash, b"", 1.0)
    assert await bench.file().write(node, WALL)
    snapshot = await bench.file().load(WALL, EXPIRE_S)

    assert snapshot is not None
    assert sum(len(users.hashes) for users in snapshot.users) == len(HASHES)


async def test_users_on_hosts_that_are_gone_or_have_another_tag_stay_out(bench: Bench) -> None:
    old = make_node(b"", b"")
    for user_hash in HASHES:
        old.lookup(user_hash, user_hash, b"", 1.0)
    await bench.file().write(old, WALL)
    snapshot = await bench.file().load(WALL, EXPIRE_S)
    assert snapshot is not None
    new = make_node(b"", b"gold")
    count = await restore_users(new, snapshot, lambda: 0.0)

    assert 0 < count < len(HASHES)
    assert {ip for ip, _ in everybody(new).values()} == {IPS[0]}


async def test_newer_knowledge_wins_over_the_snapshot(bench: Bench) -> None:
    old, new = make_node(b"", b""), make_node(b"", b"")
    old.restore_users(b"", [7], [IPS[0]], [WALL], 0.0)
    await bench.file().write(old, WALL)
    new.restore_users(b"", [7], [IPS[1]], [WALL + 5], 10.0)
    snapshot = await bench.file().load(WALL + 10, EXPIRE_S)
    assert snapshot is not None

    assert await restore_users(new, snapshot, lambda: 10.0) == 0
    assert new.lookup("token", 7, b"", 11.0) is new.hosts.get(IPS[1])


async def test_host_changes_are_what_an_administrator_did(bench: Bench) -> None:
    old = make_node(b"", b"", b"gold")
    added = old.hosts.add(IPS[3], tag=b"new", hostname=b"", weight=7)
    old.hosts.set_down(added, is_down=True, changed_at=1)
    for ip, change in zip(IPS[:3], ("weight", "remove", "down"), strict=True):
        host = old.hosts.get(ip)
        assert host is not None
        if change == "weight":
            old.hosts.set_weight(host, 50, set_at=0)
        elif change == "remove":
            old.hosts.remove(host)
        else:
            old.hosts.set_down(host, is_down=True, changed_at=1)
    await bench.file().write(old, WALL)
    snapshot = await bench.file().load(WALL, EXPIRE_S)
    assert snapshot is not None
    fresh = make_node(b"", b"", b"gold")

    assert sorted(map(repr, host_commands(snapshot, fresh.hosts))) == sorted(
        map(
            repr,
            [
                HostUpdate(ip=IPS[0], tag=b"", weight=50),
                HostRemove(IPS[1]),
                HostDown(IPS[2]),
                HostSet(ip=IPS[3], tag=b"new", weight=7),
                HostDown(IPS[3]),
            ],
        )
    )

    for command in host_commands(snapshot, fresh.hosts):
        fresh.command("token", command, 0.0)

    assert host_commands(snapshot, fresh.hosts) == []


async def test_host_that_left_the_configuration_is_not_added_again(bench: Bench) -> None:
    await bench.file().write(make_node(b"", b""), WALL)
    snapshot = await bench.file().load(WALL, EXPIRE_S)
    assert snapshot is not None

    assert host_commands(snapshot, make_node(b"").hosts) == []


async def test_missing_file_is_nothing_to_note(bench: Bench) -> None:
    assert await bench.file().load(WALL, EXPIRE_S) is None
    assert bench.kinds() == []


async def test_damaged_file_is_set_aside_once(bench: Bench) -> None:
    bench.path.write_bytes(MAGIC + b"garbage and more of it")

    assert await bench.file().load(WALL, EXPIRE_S) is None
    assert bench.kinds() == ["snapshot_rejected"]
    assert "frame at byte" in bench.reason()
    assert [file.name for file in bench.path.parent.iterdir()] == ["snapshot.damaged"]
    assert await bench.file().load(WALL, EXPIRE_S) is None
    assert bench.kinds() == ["snapshot_rejected"]


@pytest.mark.parametrize(
    "hash_name, wall, reason",
    [
        ("md5 %Lu", WALL + EXPIRE_S + 1, "it is 901 s old, users live 900 s"),
        ("md5 %Lu", WALL - 61, "it was written 61 s in the future"),
        ("murmur3 %Lu", WALL, "user hashes are md5 %Lu, expected murmur3 %Lu"),
    ],
)
async def test_unusable_file_is_set_aside(
    bench: Bench, hash_name: str, wall: int, reason: str
) -> None:
    await bench.file().write(make_node(b""), WALL)

    assert await bench.file(hash_name).load(wall, EXPIRE_S) is None
    assert bench.kinds() == ["snapshot_written", "snapshot_rejected"]
    assert bench.reason() == reason
    assert [file.name for file in bench.path.parent.iterdir()] == ["snapshot.old"]


async def test_too_large_or_unreadable_file_is_noted_and_left(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SNAPSHOT_BYTES_MAX", 10)
    bench.path.write_bytes(b"x" * 11)

    assert await bench.file().load(WALL, EXPIRE_S) is None
    assert bench.kinds() == ["snapshot_read_failed"]
    assert bench.reason() == "11 bytes are more than 10"

    bench.path.unlink()
    bench.path.mkdir()

    assert await bench.file().load(WALL, EXPIRE_S) is None
    assert "Is a directory" in bench.reason()


async def test_failed_write_leaves_the_old_file(bench: Bench) -> None:
    assert await bench.file().write(make_node(b""), WALL)
    before = bench.path.read_bytes()
    (bench.path.parent / "snapshot.new").symlink_to("elsewhere")

    assert not await bench.file().write(make_node(b"", b""), WALL)
    assert bench.kinds() == ["snapshot_written", "snapshot_write_failed"]
    assert bench.path.read_bytes() == before

    missing = SnapshotFile(bench.path.parent / "no" / "snapshot", "md5", bench.notes.append)

    assert not await missing.write(make_node(b""), WALL)
    assert "No such file or directory" in bench.reason()
