"""A new life of the daemon starts with what the last one knew."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from director.memory import Memory
from director.settings import Settings, load_text
from ring.address import parse_ip
from ring.commands import HostDown, UserMove
from ring.settings import HostSetting
from tests.director.rig import Director, make_directors, wait_until
from tests.director.test_runtime import command

HOSTS = ("10.0.0.1", "10.0.0.2", "10.0.0.3")


def settings_in(directory: Path, text: str = "") -> Settings:
    lines = [
        f"base_dir = {directory}",
        f"director_mail_servers = {' '.join(HOSTS)}",
        f"director_snapshot_path = {directory}/snapshot",
    ]
    return load_text("\n".join([*lines, text]) + "\n", "test")


@asynccontextmanager
async def life(settings: Settings) -> AsyncIterator[tuple[Director, Memory]]:
    """A director that recalls at the beginning and saves at the end."""
    (director,) = make_directors(1, hosts=tuple(HostSetting(ip=parse_ip(ip)) for ip in HOSTS))
    memory = Memory(director.runtime, settings)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(director.run)
        await trio.testing.wait_all_tasks_blocked()
        await memory.recall()
        yield director, memory
        await memory.save()
        nursery.cancel_scope.cancel()


async def test_users_and_hosts_are_as_they_were(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with life(settings) as (director, _):
        first = await director.find(b"alice")
        other = next(ip for ip in HOSTS if ip != first)
        moved = UserMove(user_hash=director.runtime.hash_user(b"bob"), ip=parse_ip(other))
        command(director, moved)
        command(director, HostDown(parse_ip(first)))
        [(_, kicked)] = director.kicker.asked or [(None, lambda error: None)]
        kicked(None)
    async with life(settings) as (director, _):
        alice = await director.find(b"alice")
        is_down = [host.is_down for host in director.runtime.node.hosts if str(host.ip) == first]

    assert alice == first
    assert is_down == [True]


async def test_without_a_file_and_without_dovecot_a_director_starts_empty(tmp_path: Path) -> None:
    async with life(settings_in(tmp_path)) as (director, _):
        users_count = director.runtime.node.statistics().users
        log = b"".join(director.lines)

    assert users_count == 0
    assert b"live_sessions_unknown" in log
    assert (tmp_path / "snapshot").exists()


async def test_in_a_ring_the_neighbours_know_better_about_hosts(tmp_path: Path) -> None:
    async with life(settings_in(tmp_path)) as (director, _):
        command(director, HostDown(parse_ip(HOSTS[0])))
    in_ring = "director_servers = 127.0.0.1\nservice director {\n inet_listener ring {\n"
    in_ring += " address = 127.0.0.1\n port = 9090\n }\n"
    in_ring += " unix_listener login/director {\n mode = 0666\n }\n}\n"
    async with life(settings_in(tmp_path, in_ring)) as (director, _):
        are_down = [host.is_down for host in director.runtime.node.hosts]

    assert are_down == [False, False, False]


async def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "snapshot").write_bytes(b"rubbish")
    async with life(settings_in(tmp_path)) as (director, _):
        log = b"".join(director.lines)

    assert b"snapshot_set_aside" in log


@pytest.mark.slow
async def test_the_file_is_written_regularly(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, "director_snapshot_interval = 1 s\n")
    async with life(settings) as (director, memory), trio.open_nursery() as nursery:
        nursery.start_soon(memory.run)
        await director.find(b"alice")
        await wait_until((tmp_path / "snapshot").exists, "a snapshot")
        nursery.cancel_scope.cancel()

    assert b"snapshot_written" in b"".join(director.lines)
