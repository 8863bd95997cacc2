"""A daemon that is restarted knows again what it must know, whatever its files and Dovecot say."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from director import continuity, log
from director.continuity import Continuity, ContinuitySettings
from director.kick.queue import KickDone, KickTarget
from director.log import Level, Log
from director.runtime import Performers, Runtime
from director.settings import KickMethod, load_text
from ring.address import parse_ip
from ring.commands import Answer, HostDown, HostUpdate
from ring.effects import Dial, Hangup, LinkId
from ring.settings import HostSetting, NodeSettings
from tests.director.kick.fake_anvil import HASHER, HERE, THERE, Dovecot24, Session

WALL = 1_700_000_000
EXPIRE_S = 900


class NoLinks:
    def dial(self, effect: Dial) -> None: ...

    def hang_up(self, effect: Hangup) -> None: ...

    def wake(self, link_id: LinkId) -> None: ...


class NoKicks:
    def kick(self, what: KickTarget, done: KickDone) -> None: ...

    async def run(self) -> None: ...


class Administrator:
    def command_answered(self, answer: Answer) -> None:
        assert answer is Answer.OK


@attrs.define(eq=False)
class Life:
    """One life of a daemon, as far as its memory is concerned."""

    directory: Path
    method: KickMethod = KickMethod.NONE
    is_alone: bool = True
    has_snapshot: bool = True
    interval_s: float = 0
    poll_s: float | None = None
    wall: int = WALL
    lines: list[bytes] = attrs.field(factory=list)
    runtime: Runtime = attrs.field(init=False)
    continuity: Continuity = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        hosts = tuple(HostSetting(ip=parse_ip(ip)) for ip in (HERE, THERE))
        self.runtime = Runtime(
            NodeSettings(own=None, directors=(), hosts=hosts),
            HASHER,
            Log(log.format_text, Level.DEBUG, write=self.lines.append),
            proxy_refresh_s=None,
            clock=trio.current_time,
            wall=lambda: float(self.wall),
        )
        self.runtime.attach(Performers(links=NoLinks(), kicker=NoKicks(), flushes=None))
        settings = ContinuitySettings(
            base_dir=self.directory,
            kick=self.method,
            snapshot_path=self.directory / "snapshot" if self.has_snapshot else None,
            snapshot_interval_s=self.interval_s,
            user_expire_s=EXPIRE_S,
            hash_name="md5 %Lu",
            is_alone=self.is_alone,
            poll_s=self.poll_s,
        )
        self.continuity = Continuity(
            settings, self.runtime, clock=trio.current_time, wall=lambda: float(self.wall)
        )

    def where(self, user: str) -> str:
        """Where the user is known to be, or nothing."""
        pool = self.runtime.node.pools.get(b"")
        packed = -1 if pool is None else pool.table.find(HASHER.hash(user.encode()))
        if packed < 0:
            return ""
        host = self.runtime.node.hosts.by_number[packed & 0xFFFF]
        assert host is not None
        return str(host.ip)

    def place(self, user: str, ip: str, timestamp: int) -> None:
        self.runtime.node.restore_users(
            b"", [HASHER.hash(user.encode())], [parse_ip(ip)], [timestamp], trio.current_time()
        )

    def noted(self, kind: str) -> list[str]:
        return [line.decode() for line in self.lines if kind in line.decode()]


async def test_users_and_hosts_survive_a_clean_restart(tmp_path: Path) -> None:
    old = Life(tmp_path)
    await old.continuity.begin()
    old.place("u1", HERE, WALL)
    old.place("u2", THERE, WALL)
    for command in (HostDown(parse_ip(HERE)), HostUpdate(ip=parse_ip(THERE), tag=b"", weight=7)):
        old.runtime.command(Administrator(), command)
    old.runtime.settle()
    await old.continuity.end()
    new = Life(tmp_path, wall=WALL + 60)
    await new.continuity.begin()

    assert (new.where("u1"), new.where("u2")) == (HERE, THERE)
    assert [(h.is_down, h.weight) for h in new.runtime.node.hosts] == [(True, 100), (False, 7)]
    assert "users=2 host_changes=2 age_s=60" in new.noted("snapshot_restored")[0]

    await new.continuity.end()


async def test_member_of_a_ring_leaves_hosts_to_its_neighbours(tmp_path: Path) -> None:
    old = Life(tmp_path)
    await old.continuity.begin()
    old.runtime.command(Administrator(), HostDown(parse_ip(HERE)))
    await old.continuity.end()
    new = Life(tmp_path, is_alone=False)
    await new.continuity.begin()

    assert [host.is_down for host in new.runtime.node.hosts] == [False, False]

    await new.continuity.end()


async def test_live_sessions_win_over_the_snapshot(tmp_path: Path) -> None:
    old = Life(tmp_path)
    await old.continuity.begin()
    old.place("u1", HERE, WALL)
    old.place("u2", HERE, WALL)
    await old.continuity.end()
    dovecot = Dovecot24(tmp_path)
    dovecot.sessions = [Session("u1", THERE, "u1"), Session("u3", THERE, "u3")]
    new = Life(tmp_path, KickMethod.AUTO)
    async with trio.open_nursery() as nursery:
        await nursery.start(dovecot.run)
        await new.continuity.begin()
        nursery.cancel_scope.cancel()

    assert [new.where(user) for user in ("u1", "u2", "u3")] == [THERE, HERE, THERE]
    assert "sessions=2 users=2 split_users=0" in new.noted("live_sessions_restored")[0]

    await new.continuity.end()


async def test_crash_without_snapshot_is_made_good_by_live_sessions(tmp_path: Path) -> None:
    dovecot = Dovecot24(tmp_path)
    dovecot.sessions = [Session("u1", THERE, "u1")]
    life = Life(tmp_path, KickMethod.ANVIL, has_snapshot=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(dovecot.run)
        await life.continuity.begin()
        nursery.cancel_scope.cancel()

    assert life.where("u1") == THERE

    await life.continuity.end()

    assert not (tmp_path / "snapshot").exists()


async def test_missing_or_silent_dovecot_is_noted_and_does_not_stop_the_start(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    life = Life(tmp_path, KickMethod.AUTO, has_snapshot=False)
    await life.continuity.begin()

    assert "neither ipc nor anvil" in life.noted("live_session_list_failed")[0]

    await life.continuity.end()
    dovecot = Dovecot24(tmp_path)
    dovecot.is_anvil_silent = True
    async with trio.open_nursery() as nursery:
        await nursery.start(dovecot.run)
        await life.continuity.begin()
        nursery.cancel_scope.cancel()

    assert "did not answer in time" in life.noted("live_session_list_failed")[1]

    await life.continuity.end()


async def test_successor_waits_for_the_last_words_of_its_predecessor(tmp_path: Path) -> None:
    """Dovecot's master starts the new process before it ends the old one."""
    old, new = Life(tmp_path), Life(tmp_path)
    await old.continuity.begin()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(new.continuity.begin)
        await trio.testing.wait_all_tasks_blocked()
        old.place("u1", HERE, WALL)
        await old.continuity.end()

    assert new.where("u1") == HERE
    assert new.noted("snapshot_hold_failed") == []

    await new.continuity.end()


async def test_second_daemon_on_one_file_never_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuity, "HOLD_TIMEOUT_S", 0.01)
    first, second = Life(tmp_path), Life(tmp_path)
    await first.continuity.begin()
    await second.continuity.begin()

    assert "another process keeps it" in second.noted("snapshot_hold_failed")[0]

    await second.continuity.end()

    assert not (tmp_path / "snapshot").exists()

    await first.continuity.end()

    assert (tmp_path / "snapshot").exists()


async def test_stuck_disk_does_not_keep_the_daemon_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuity, "END_TIMEOUT_S", 0.0)
    life = Life(tmp_path)
    await life.continuity.begin()
    await life.continuity.end()

    assert "not done in 0 s" in life.noted("snapshot_write_failed")[0]
    assert not (tmp_path / "snapshot").exists()


async def test_lock_that_cannot_be_made_is_noted(tmp_path: Path) -> None:
    (tmp_path / "snapshot.lock").mkdir()
    life = Life(tmp_path)
    await life.continuity.begin()
    await life.continuity.end()

    assert "Is a directory" in life.noted("snapshot_hold_failed")[0]


async def test_snapshot_is_written_and_users_are_polled_every_so_often(tmp_path: Path) -> None:
    """In real time: a mock clock would run on while the writing thread works."""
    dovecot = Dovecot24(tmp_path)
    dovecot.sessions = [Session("u1", HERE, "u1")]
    life = Life(tmp_path, KickMethod.ANVIL, interval_s=0.005, poll_s=0.005)
    async with trio.open_nursery() as nursery:
        await nursery.start(dovecot.run)
        await life.continuity.begin()
        nursery.start_soon(life.continuity.run)
        with trio.fail_after(5):
            while len(life.noted("snapshot_written")) < 2 or len(dovecot.commands) < 3:
                await trio.testing.wait_all_tasks_blocked(0.001)
        nursery.cancel_scope.cancel()

    assert set(dovecot.commands) == {"CONNECT-DUMP"}
    assert life.where("u1") == HERE

    await life.continuity.end()


@pytest.mark.parametrize(
    "text, is_reported, poll_s",
    [
        ("", True, None),
        ("", False, 60.0),
        ("director_user_expire = 30s\n", False, 10.0),
        ("director_kick = none\n", False, None),
    ],
)
def test_settings_say_whether_sessions_must_be_asked_for(
    text: str, is_reported: bool, poll_s: float | None
) -> None:
    settings = load_text(f"director_mail_servers = {HERE}\n{text}", "t.conf", resolve=lambda _: [])
    continuity = ContinuitySettings.of(settings, is_reported=is_reported)

    assert continuity.poll_s == poll_s
    assert continuity.is_alone
    assert continuity.hash_name == "md5 %Lu"
