"""A new life of the daemon starts with what the last one knew."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from director.kick.queue import KickFailed
from director.memory import Memory
from director.sessions.events import BEGAN, OpenSessions, parse_event
from director.settings import Settings, load_text
from ring import limits
from ring.address import parse_ip
from ring.commands import HostDown, UserMove
from ring.settings import HostSetting
from tests.director.kick.fake_anvil import Dovecot24, Session
from tests.director.rig import Director, make_directors, wait_until
from tests.director.sessions.test_events import line as event_line
from tests.director.test_runtime import command

HOSTS = ("10.0.0.1", "10.0.0.2", "10.0.0.3")


def settings_in(directory: Path, text: str = "") -> Settings:
    lines = [
        f"base_dir = {directory}",
        f"director_mail_servers = {' '.join(HOSTS)}",
        f"director_snapshot_path = {directory}/snapshot",
    ]
    return load_text("\n".join([*lines, text]) + "\n", "test")


def place(director: Director, name: bytes, ip: str) -> None:
    runtime = director.runtime
    columns = [runtime.hash_user(name)], [parse_ip(ip)], [int(runtime.wall())]
    runtime.node.restore_users(b"", *columns, runtime.now())


@asynccontextmanager
async def life(
    settings: Settings, told: OpenSessions | None = None
) -> AsyncIterator[tuple[Director, Memory]]:
    """A director that recalls at the beginning and saves at the end."""
    (director,) = make_directors(1, hosts=tuple(HostSetting(ip=parse_ip(ip)) for ip in HOSTS))
    memory = Memory(director.runtime, settings, told or OpenSessions())
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
    assert b"live_session_list_failed" in log
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

    assert b"snapshot_rejected" in log


async def test_live_sessions_win_over_the_file(tmp_path: Path) -> None:
    """Though the file may have been written by a clock that was ahead."""
    settings = settings_in(tmp_path)
    dovecot = Dovecot24(tmp_path)
    async with life(settings) as (director, _):
        place(director, b"alice", HOSTS[0])
        place(director, b"bob", HOSTS[0])
    dovecot.sessions = [Session("alice", HOSTS[1], "alice"), Session("carol", HOSTS[2], "carol")]
    async with trio.open_nursery() as nursery:
        await nursery.start(dovecot.run)
        async with life(settings) as (director, _):
            found = [await director.find(name) for name in (b"alice", b"bob", b"carol")]
            log = b"".join(director.lines)
        nursery.cancel_scope.cancel()

    assert found == [HOSTS[1], HOSTS[0], HOSTS[2]]
    assert b"snapshot_recalled users=1" in log
    assert b"live_users_recalled sessions=2 users=2 split=0" in log


async def test_without_a_file_live_sessions_are_known(tmp_path: Path) -> None:
    settings = attrs.evolve(settings_in(tmp_path), snapshot_path=None)
    dovecot = Dovecot24(tmp_path)
    dovecot.sessions = [Session("alice", ip, name) for name, ip in zip("abc", HOSTS, strict=True)]
    async with trio.open_nursery() as nursery:
        await nursery.start(dovecot.run)
        async with life(settings) as (director, _):
            found = [await director.find(name) for name in (b"a", b"b", b"c")]
        nursery.cancel_scope.cancel()

    assert found == list(HOSTS)
    assert not (tmp_path / "snapshot").exists()


async def test_login_processes_that_take_too_long_do_not_stop_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RECALL_S", 0.02)
    settings = settings_in(tmp_path)
    async with life(settings) as (director, _):
        place(director, b"alice", HOSTS[1])
    dovecot = Dovecot24(tmp_path)
    dovecot.is_anvil_silent = True
    async with trio.open_nursery() as nursery:
        await nursery.start(dovecot.run)
        async with life(settings) as (director, _):
            assert await director.find(b"alice") == HOSTS[1]
            assert b"recall_aborted" in b"".join(director.lines)
        nursery.cancel_scope.cancel()


async def test_successor_waits_for_the_last_words_of_its_predecessor(tmp_path: Path) -> None:
    """Dovecot's master starts the new process before it ends the old one."""
    settings = settings_in(tmp_path, "director_kick = none\n")
    old, new = make_directors(1), make_directors(1)
    predecessor = Memory(old[0].runtime, settings, OpenSessions())
    successor = Memory(new[0].runtime, settings, OpenSessions())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(old[0].run)
        nursery.start_soon(new[0].run)
        await trio.testing.wait_all_tasks_blocked()
        await predecessor.recall()
        async with trio.open_nursery() as beginning:
            beginning.start_soon(successor.recall)
            await trio.testing.wait_all_tasks_blocked()
            place(old[0], b"alice", HOSTS[1])
            await predecessor.save()

        assert await new[0].find(b"alice") == HOSTS[1]

        await successor.save()
        nursery.cancel_scope.cancel()


async def test_second_daemon_on_one_file_never_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SNAPSHOT_HOLD_S", 0.01)
    settings = settings_in(tmp_path, "director_kick = none\n")
    async with life(settings):
        async with life(settings) as (second, _):
            assert b"another process keeps it" in b"".join(second.lines)

        assert not (tmp_path / "snapshot").exists()

    assert (tmp_path / "snapshot").exists()


async def test_lock_that_cannot_be_made_is_noted(tmp_path: Path) -> None:
    (tmp_path / "snapshot.lock").mkdir()
    async with life(settings_in(tmp_path)) as (director, _):
        assert b"snapshot_hold_failed" in b"".join(director.lines)

    assert not (tmp_path / "snapshot").exists()


async def test_stuck_disk_does_not_keep_the_daemon_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SAVE_S", 0.0)
    async with life(settings_in(tmp_path)) as (director, _):
        pass

    assert b"snapshot_write_failed reason=" in b"".join(director.lines)


@pytest.mark.slow
async def test_the_file_is_written_regularly(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, "director_snapshot_interval = 1 s\n")
    async with life(settings) as (director, memory), trio.open_nursery() as nursery:
        nursery.start_soon(memory.run)
        await director.find(b"alice")
        await wait_until((tmp_path / "snapshot").exists, "a snapshot")
        nursery.cancel_scope.cancel()

    assert b"snapshot_written" in b"".join(director.lines)


async def test_events_take_the_place_of_a_list_that_nobody_gives(tmp_path: Path) -> None:
    told = OpenSessions()
    settings = settings_in(tmp_path, "director_kick = none")
    async with life(settings, told) as (director, memory):
        with pytest.raises(KickFailed, match="director_kick = none"):
            await memory.list_live()

        event = parse_event(event_line(BEGAN), b"")
        assert event is not None
        told.apply(event, director.runtime.hash_user)
        told.tellers_count = 1
        [session] = await memory.list_live()

    assert (session.user, str(session.ip)) == (b"u1", "127.0.0.3")
