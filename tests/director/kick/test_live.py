"""Who is live, from either Dovecot, and what a restarted node makes of it."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
import trio
import trio.testing

from director.kick.listing import LiveSession
from director.kick.live import (
    hosts_of,
    live_sessions,
    live_users,
    poll_live_users,
    restore_live_users,
)
from director.kick.queue import KickFailed
from director.settings import KickMethod
from ring import limits
from ring.effects import Noted
from ring.node import RingNode
from ring.settings import HostSetting, NodeSettings
from tests.director.kick.fake_anvil import HERE, THERE, Dovecot24, Session
from tests.director.kick.scripted import Lines, serving
from tests.hashing import HASHER

GOLD = "127.0.0.9"
WALL = 1_700_000_000


def node() -> RingNode:
    hosts = [
        HostSetting(ip=ipaddress.ip_address(HERE)),
        HostSetting(ip=ipaddress.ip_address(THERE)),
        HostSetting(ip=ipaddress.ip_address(GOLD), tag=b"gold"),
    ]
    return RingNode(NodeSettings(own=None, directors=(), hosts=tuple(hosts)), 0.0, float(WALL))


def live(user: str, ip: str) -> LiveSession:
    return LiveSession(
        user=user.encode(),
        user_hash=HASHER.hash(user.encode()),
        ip=ipaddress.ip_address(ip),
        service=b"imap",
        is_ours=True,
        alternatives=(),
        pid=0,
        guid=b"",
    )


async def test_list_of_dovecot_24_leaves_out_local_sessions(tmp_path: Path) -> None:
    dovecot = Dovecot24(tmp_path)
    dovecot.sessions = [
        Session("dest", HERE, "u1"),
        Session("u2", THERE),
        Session("local", "", service="imap"),
    ]
    async with trio.open_nursery() as nursery:
        await nursery.start(dovecot.run)
        sessions = await live_sessions(tmp_path, KickMethod.AUTO, HASHER.hash)
        nursery.cancel_scope.cancel()

    assert [(s.user_hash, str(s.ip)) for s in sessions] == [
        (HASHER.hash(b"u1"), HERE),
        (HASHER.hash(b"u2"), THERE),
    ]


async def ipc_with_one_hanging_process(stream: trio.SocketStream) -> None:
    assert await Lines(stream).next() == b"proxy\t*\tLIST-FULL"
    await stream.send_all(
        b":username\tservice\tsrc-ip\tdest-ip\tdest-port\n"
        b":u1\timap\t10.0.0.1\t127.0.0.2\t143\n"
        b":username\tuser_alt\tservice\tsrc-ip\tdest-ip\tdest-port\n"
        b":u2\tx\timap\t10.0.0.1\t127.0.0.3\t143\n"
    )
    await stream.receive_some()


async def test_part_of_a_list_of_dovecot_23_is_used(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with serving(tmp_path / "ipc", ipc_with_one_hanging_process):
        sessions = await live_sessions(tmp_path, KickMethod.IPC, HASHER.hash)

    assert [s.user for s in sessions] == [b"u1", b"u2"]


async def test_nobody_to_ask(tmp_path: Path) -> None:
    with pytest.raises(KickFailed, match="No such file"):
        await live_sessions(tmp_path, KickMethod.IPC, HASHER.hash)

    assert await live_sessions(tmp_path, KickMethod.NONE, HASHER.hash) == []


async def test_more_sessions_than_the_limit_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SESSIONS_MAX", 2)
    dovecot = Dovecot24(tmp_path)
    dovecot.sessions = [Session(f"u{n}", HERE) for n in range(3)]
    async with trio.open_nursery() as nursery:
        await nursery.start(dovecot.run)
        sessions = await live_sessions(tmp_path, KickMethod.ANVIL, HASHER.hash)
        nursery.cancel_scope.cancel()

    assert len(sessions) == 2


def test_users_go_where_most_of_their_sessions_are_in_each_tag() -> None:
    sessions = [
        live("u1", HERE),
        live("u1", THERE),
        live("u1", THERE),
        live("u1", GOLD),
        live("u2", THERE),
        live("u2", HERE),
        live("u3", "10.9.9.9"),
    ]
    plain, gold = live_users(sessions, node().hosts)

    assert (plain.tag, plain.split_count) == (b"", 2)
    assert dict(zip(plain.hashes, map(str, plain.ips), strict=True)) == {
        HASHER.hash(b"u1"): THERE,
        HASHER.hash(b"u2"): HERE,
    }
    assert (gold.tag, gold.hashes, list(map(str, gold.ips))) == (b"gold", [plain.hashes[0]], [GOLD])


async def test_restarted_node_leaves_live_users_where_they_are() -> None:
    ring_node = node()
    users = [f"user{n}" for n in range(50)]
    sessions = [live(user, HERE if n % 2 else THERE) for n, user in enumerate(users)]
    news = await restore_live_users(ring_node, sessions, clock=lambda: 0.0, wall=WALL)

    assert news == (50, 0)
    for session in sessions:
        host = ring_node.lookup("token", session.user_hash, b"", 1.0)
        assert host is not None
        assert host.ip == session.ip


async def test_hosts_of_a_hash_are_those_of_every_tag() -> None:
    ring_node = node()
    number = HASHER.hash(b"u1")
    for tag, ip in ((b"", HERE), (b"gold", GOLD)):
        ring_node.restore_users(tag, [number], [ipaddress.ip_address(ip)], [WALL], 0.0)

    assert {str(ip) for ip in hosts_of(ring_node, number)} == {HERE, GOLD}
    assert hosts_of(ring_node, number + 1) == frozenset()


async def test_polling_refreshes_each_live_user_once_and_survives_errors(
    autojump_clock: trio.testing.MockClock,
) -> None:
    answers: list[list[LiveSession] | str] = [
        [live("u1", HERE), live("u1", HERE), live("u2", HERE)],
        "no ipc",
        [live("u1", HERE)],
    ]
    refreshed: list[tuple[float, list[int]]] = []
    notes: list[Noted] = []

    async def list_live() -> list[LiveSession]:
        if not answers:
            raise KickFailed("end")
        answer = answers.pop(0)
        if isinstance(answer, str):
            raise KickFailed(answer)
        return answer

    started_at = trio.current_time()
    with trio.move_on_after(95):
        await poll_live_users(
            list_live,
            lambda hashes: refreshed.append((trio.current_time() - started_at, sorted(hashes))),
            notes.append,
            30.0,
        )

    assert refreshed == [
        (30.0, sorted([HASHER.hash(b"u1"), HASHER.hash(b"u2")])),
        (90.0, [HASHER.hash(b"u1")]),
    ]
    assert notes == [Noted("live_session_list_failed", (("reason", "no ipc"),))]
