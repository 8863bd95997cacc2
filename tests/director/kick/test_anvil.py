"""Kicks on Dovecot 2.4: the traps of dovecot-2.4-plug.md section 4.2, one by one."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from director.kick.anvil import WATCH_S, AnvilKicker
from ring import limits
from ring.address import IpAddress, parse_ip
from ring.effects import KickField, KickHash, KickName
from tests.director.kick.fake_anvil import HERE, THERE, Dovecot24, Session
from tests.director.kick.scripted import KickBench, bound, kicking
from tests.hashing import HASHER


def nowhere(user_hash: int) -> frozenset[IpAddress]:
    return frozenset()


@asynccontextmanager
async def kicker_and_dovecot(
    path: Path, *pids: int, table: dict[int, str] | None = None
) -> AsyncIterator[tuple[KickBench, Dovecot24]]:
    """`table` is where the node has its users: nobody unless given."""
    dovecot = Dovecot24(path)

    def where(user_hash: int) -> frozenset[IpAddress]:
        return frozenset(map(parse_ip, [table[user_hash]] if table and user_hash in table else []))

    async with trio.open_nursery() as nursery:
        await nursery.start(dovecot.run, *pids)
        async with kicking(AnvilKicker(path, HASHER.hash, where)) as bench:
            yield bench, dovecot
        nursery.cancel_scope.cancel()


def every(user: str) -> KickHash:
    return KickHash(user_hash=HASHER.hash(user.encode()), except_ip=None)


def elsewhere(user: str, ip: str) -> KickHash:
    number = HASHER.hash(user.encode())
    return KickHash(user_hash=number, except_ip=ipaddress.ip_address(ip))


def users(dovecot: Dovecot24) -> list[str]:
    return [session.user for session in dovecot.alive()]


async def test_kick_without_sessions_is_one_list(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with kicker_and_dovecot(tmp_path) as (bench, dovecot):
        assert await bench.end_of(every("u1")) is None
        assert dovecot.commands == ["CONNECT-DUMP"]
        assert bench.idle == [True]


async def test_move_ends_the_hash_with_one_command_and_confirms(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with kicker_and_dovecot(tmp_path) as (bench, dovecot):
        dovecot.lag = 2
        dovecot.sessions = [
            Session("u1", HERE, "u1"),
            Session("dest", THERE, "u1"),
            Session("u1", HERE, "shared"),
            Session("u2", HERE, "u2"),
        ]

        assert await bench.end_of(every("u1")) is None
        assert bench.idle == [False]
        assert users(dovecot) == ["u1", "u2"]
        assert dovecot.commands[:3] == [
            "CONNECT-DUMP",
            "KICK-ALT-USER user_dirhash 3833023709",
            "CONNECT-DUMP",
        ]


async def test_deaf_processes_are_told_one_by_one(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """One client per login process, 2.4.0 to 2.4.4: anvil says it kicked, nothing happens."""
    async with kicker_and_dovecot(tmp_path, 1, 2, 3) as (bench, dovecot):
        dovecot.is_deaf = True
        dovecot.sessions = [
            Session("u1", HERE, "u1", pid=1),
            Session("u1", THERE, "u1", pid=2),
            Session("u2", HERE, "u2", pid=3),
        ]

        assert await bench.end_of(every("u1")) is None
        assert users(dovecot) == ["u2"]
        assert sorted(c for c in dovecot.commands if ":" in c) == [
            f"{s.pid}: {s.user} {s.guid}" for s in dovecot.sessions[:2]
        ]


async def test_session_that_nobody_can_end_fails_the_kick_in_time(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with kicker_and_dovecot(tmp_path, 1) as (bench, dovecot):
        dovecot.is_deaf = dovecot.is_hanging = True
        dovecot.sessions = [Session("u1", HERE, "u1", pid=1), Session("u1", HERE, "u1", pid=2)]
        started_at = trio.current_time()
        error = await bench.end_of(every("u1"))

        assert "2 sessions did not end: " in str(error)
        assert trio.current_time() - started_at < limits.KICK_TIMEOUT_S + 5

        dovecot.sessions = []

        assert await bench.end_of(every("u1")) is None


async def test_session_without_our_fields_is_found_by_its_name(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with kicker_and_dovecot(tmp_path, 1) as (bench, dovecot):
        dovecot.sessions = [Session("U1", HERE, None, pid=1), Session("u2", HERE, None, pid=1)]

        assert await bench.end_of(every("u1")) is None
        assert users(dovecot) == ["u2"]


async def test_conflict_names_each_other_host(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with kicker_and_dovecot(tmp_path) as (bench, dovecot):
        dovecot.sessions = [
            Session("u1", HERE, "u1"),
            Session("u1", THERE, "u1"),
            Session("dest", "127.0.0.4", "u1"),
            Session("u2", THERE, "u2"),
        ]

        assert await bench.end_of(elsewhere("u1", HERE)) is None
        assert [(s.user, s.ip) for s in dovecot.alive()] == [("u1", HERE), ("u2", THERE)]
        assert [c for c in dovecot.commands if "KICK" in c] == [
            "KICK-ALT-USER user_dirdest 3833023709@127.0.0.3",
            "KICK-ALT-USER user_dirdest 3833023709@127.0.0.4",
        ]


@pytest.mark.parametrize("is_conflict", [False, True])
async def test_login_on_its_way_to_the_wrong_host_is_ended_when_it_shows(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, is_conflict: bool
) -> None:
    table = {HASHER.hash(b"u1"): HERE}
    async with kicker_and_dovecot(tmp_path, table=table) as (bench, dovecot):
        assert await bench.end_of(elsewhere("u1", HERE) if is_conflict else every("u1")) is None

        await trio.sleep(10)
        dovecot.sessions = [
            Session("u1", HERE, "u1"),
            Session("u1", THERE, "u1"),
            Session("u1", THERE),  # the passdb named its host: not our business
        ]
        await trio.sleep(WATCH_S)

        assert [(s.ip, s.destination_user) for s in dovecot.alive()] == [
            (HERE, "u1"),
            (THERE, None),
        ]

        dovecot.sessions = [Session("u1", THERE, "u1")]
        await trio.sleep(WATCH_S)

        assert [s.ip for s in dovecot.alive()] == [THERE]  # not watched for ever


async def test_hash_kick_does_not_fight_clients_that_come_back_to_the_right_host(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    table = {HASHER.hash(b"u1"): HERE}
    async with kicker_and_dovecot(tmp_path, 100, table=table) as (bench, dovecot):
        dovecot.lag = 1
        dovecot.sessions = [Session("u1", HERE, "u1"), Session("u1", THERE, "u1")]
        bench.kick(every("u1"))
        while len(dovecot.alive()) == 2:
            await trio.testing.wait_all_tasks_blocked(0.001)
        dovecot.sessions += [Session("u1", HERE, "u1"), Session("u1", THERE, "u1")]

        assert await bench.ended(1) == [None]

        await trio.sleep(WATCH_S)

        assert [s.ip for s in dovecot.alive()] == [HERE]


async def test_watch_follows_the_user_to_the_next_host(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    table = {HASHER.hash(b"u1"): HERE}
    async with kicker_and_dovecot(tmp_path, table=table) as (bench, dovecot):
        assert await bench.end_of(elsewhere("u1", HERE)) is None

        table[HASHER.hash(b"u1")] = THERE
        dovecot.sessions = [Session("u1", THERE, "u1")]
        await trio.sleep(WATCH_S / 2)

        assert users(dovecot) == ["u1"]

        table.clear()  # expired: nobody knows any more where it belongs
        await trio.sleep(WATCH_S)

        assert users(dovecot) == ["u1"]


async def test_looks_of_many_kicks_share_lists(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with kicker_and_dovecot(tmp_path) as (bench, dovecot):
        for n in range(20):
            assert await bench.end_of(every(f"u{n}")) is None
        count = dovecot.commands.count("CONNECT-DUMP")
        await trio.sleep(WATCH_S + 2)

        assert dovecot.commands.count("CONNECT-DUMP") - count <= 10


async def test_name_kick_spares_sessions_that_are_not_proxied(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with kicker_and_dovecot(tmp_path, 1) as (bench, dovecot):
        dovecot.sessions = [
            Session("u1", HERE, "u1", pid=1),
            Session("u1", "", service="imap", pid=7),
        ]

        assert await bench.end_of(KickName(b"u1")) is None
        assert [s.pid for s in dovecot.alive()] == [7]
        assert not any(c.startswith("KICK-USER") for c in dovecot.commands)


async def test_name_kick_uses_anvil_if_all_sessions_are_proxied(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with kicker_and_dovecot(tmp_path) as (bench, dovecot):
        dovecot.sessions = [Session("u1", HERE, "u1"), Session("u2", HERE, "u2")]

        assert await bench.end_of(KickName(b"u1")) is None
        assert users(dovecot) == ["u2"]
        assert "KICK-USER u1" in dovecot.commands


async def test_field_kick_matches_name_and_value(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with kicker_and_dovecot(tmp_path) as (bench, dovecot):
        dovecot.sessions = [
            Session("u1", HERE, alternatives=(("user_alt", "a"),)),
            Session("u2", HERE, alternatives=(("user_alt", "b"), ("user_other", "a"))),
        ]

        assert await bench.end_of(KickField(field=b"user_alt", value=b"a")) is None
        assert users(dovecot) == ["u2"]
        assert await bench.end_of(KickField(field=b"user_x", value=b"a")) is None
        assert users(dovecot) == ["u2"]


async def test_client_that_logged_in_again_is_not_kicked_again(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with kicker_and_dovecot(tmp_path) as (bench, dovecot):
        dovecot.lag = 1
        dovecot.sessions = [Session("u1", HERE, "u1")]
        bench.kick(KickName(b"u1"))
        await trio.testing.wait_all_tasks_blocked(0.05)
        dovecot.sessions.append(Session("u1", HERE, "u1"))

        assert await bench.ended(1) == [None]
        assert len(dovecot.alive()) == 1


async def test_kicks_share_a_list(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with kicker_and_dovecot(tmp_path) as (bench, dovecot):
        dovecot.sessions = [Session(f"u{n}", HERE, f"u{n}") for n in range(50)]
        for n in range(50):
            bench.kick(every(f"u{n}"))

        assert await bench.ended(50) == [None] * 50
        assert users(dovecot) == []
        assert dovecot.commands.count("CONNECT-DUMP") <= 4


async def test_missing_silent_or_strange_anvil_fails_the_kick(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with kicking(AnvilKicker(tmp_path, HASHER.hash, nowhere)) as bench:
        assert "No such file or directory" in str(await bench.end_of(every("u1")))

    async with kicker_and_dovecot(tmp_path) as (bench, dovecot):
        dovecot.greeting = b"VERSION\tanvil\t1\t0\n"

        assert "is not the anvil of Dovecot 2.4" in str(await bench.end_of(every("u1")))

        dovecot.greeting = b"VERSION\tanvil-server\t2\t1\n"
        dovecot.is_anvil_silent = True

        assert "did not answer in time" in str(await bench.end_of(every("u1")))


async def test_forbidden_anvil_says_what_to_change(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    listener = bound(tmp_path / "anvil")
    (tmp_path / "anvil").unlink()
    (tmp_path / "anvil").symlink_to("anvil")  # even root is refused
    async with listener, kicking(AnvilKicker(tmp_path, HASHER.hash, nowhere)) as bench:
        assert "symbolic links" in str(await bench.end_of(every("u1")))


async def test_refused_command_leaves_the_rest_to_the_processes(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ANVIL_COMMAND_BYTES_MAX", 14)
    async with kicker_and_dovecot(tmp_path, 100) as (bench, dovecot):
        dovecot.sessions = [Session("u1", HERE, "u1"), Session("u2", HERE, "u2")]
        bench.kick(every("u1"))
        bench.kick(every("u2"))

        assert await bench.ended(2) == [None, None]
        assert users(dovecot) == []


async def test_end_of_the_daemon_answers_every_kick(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    dovecot = Dovecot24(tmp_path)
    dovecot.is_deaf = True
    dovecot.sessions = [Session("u1", HERE, "u1")]
    kicker = AnvilKicker(tmp_path, HASHER.hash, nowhere)
    bench = KickBench(kicker)
    async with trio.open_nursery() as nursery:
        await nursery.start(dovecot.run)
        nursery.start_soon(kicker.run)
        bench.kick(every("u1"))
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    bench.kick(every("u1"))

    assert bench.ends == ["the daemon stops"]
