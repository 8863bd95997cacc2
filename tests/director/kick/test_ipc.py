"""Kicks over Dovecot 2.3's ipc: an `ipc` of ours with login processes that kick by the rules."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from director.kick.ipc import IpcKicker
from ring import limits
from ring.effects import KickField, KickHash, KickName
from tests.director.kick.scripted import KickBench, Lines, kicking, serving
from tests.hashing import HASHER

HERE, THERE = "127.0.0.2", "127.0.0.3"
HEADER = b":username\tuser_dirhash\tuser_dirdest\tservice\tsrc-ip\tdest-ip\tdest-port\n"


@attrs.define(eq=False)
class Session:
    """One proxied session; `destination_user` None: a real director set it up."""

    user: str
    ip: str
    destination_user: str | None = None
    alternatives: tuple[tuple[str, str], ...] = ()

    def fields(self) -> dict[str, str]:
        fields = dict(self.alternatives)
        if self.destination_user is not None:
            number = HASHER.hash(self.destination_user.encode())
            fields |= {"user_dirhash": f"{number}", "user_dirdest": f"{number}@{self.ip}"}
        return fields

    def row(self) -> str:
        fields = self.fields()
        values = [fields.get("user_dirhash", ""), fields.get("user_dirdest", "")]
        return "\t".join([self.user, *values, "imap", "10.0.0.1", self.ip, "143"])


class Ipc:
    """`ipc` and all login processes in one: obeys as ipc-kick.md section 2 says."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.commands: list[str] = []
        self.errors: list[bytes] = []  # answers to give before obeying again
        self.is_hanging = False
        self.connections_count = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections_count += 1
        lines = Lines(stream)
        while (line := await lines.next()) is not None:
            group, target, command, *words = line.decode().split("\t")
            assert (group, target) == ("proxy", "*")
            self.commands.append(" ".join([command, *words]))
            reply = self.errors.pop(0) if self.errors else self.obey(command, words)
            if not self.is_hanging:
                await stream.send_all(reply)
            if not reply:
                return

    def obey(self, command: str, words: list[str]) -> bytes:
        match command, words:
            case "LIST-FULL", []:
                rows = "".join(f":{session.row()}\n" for session in self.sessions)
                return HEADER + rows.encode() + b"+\n" if rows else b"+(null)\n"
            case "KICK", users:
                self.end(lambda s: s.user in users)
            case "KICK-ALT", [field, *values]:
                self.end(lambda s: s.fields().get(field) in values)
            case "KICK-DIRECTOR-HASH", [number, *except_ips]:
                self.end(
                    lambda s: HASHER.hash(s.user.encode()) == int(number) and s.ip not in except_ips
                )
            case _:
                return b"-Unknown command\n"
        return b"+0\n"

    def end(self, is_kicked: object) -> None:
        assert callable(is_kicked)
        self.sessions = [session for session in self.sessions if not is_kicked(session)]


@asynccontextmanager
async def kicker_and_ipc(
    path: Path, *, is_classic_hash: bool = True
) -> AsyncIterator[tuple[KickBench, Ipc]]:
    ipc = Ipc()
    kicker = IpcKicker(path / "ipc", HASHER.hash, is_classic_hash=is_classic_hash)
    async with serving(path / "ipc", ipc.serve), kicking(kicker) as bench:
        yield bench, ipc


def every(user: str) -> KickHash:
    return KickHash(user_hash=HASHER.hash(user.encode()), except_ip=None)


def elsewhere(user: str, ip: str) -> KickHash:
    number = HASHER.hash(user.encode())
    return KickHash(user_hash=number, except_ip=ipaddress.ip_address(ip))


async def test_kick_by_name_and_by_field_are_one_command_each(tmp_path: Path) -> None:
    async with kicker_and_ipc(tmp_path) as (bench, ipc):
        ipc.sessions = [Session("u1", HERE), Session("u2", HERE)]

        assert await bench.end_of(KickName(b"u1")) is None
        assert await bench.end_of(KickField(field=b"user_alt", value=b"a b")) is None
        assert ipc.commands == ["KICK u1", "KICK-ALT user_alt a b"]
        assert [s.user for s in ipc.sessions] == ["u2"]
        assert ipc.connections_count <= limits.IPC_CONNECTIONS_MAX


async def test_move_ends_sessions_of_a_destination_user(tmp_path: Path) -> None:
    """What the original cannot do (capture 09): login name and proxied name differ."""
    async with kicker_and_ipc(tmp_path) as (bench, ipc):
        ipc.sessions = [
            Session("dest", HERE, "other@example.com"),
            Session("Other@example.com", HERE, "other@example.com"),
            Session("u1", HERE, "u1"),
        ]

        assert await bench.end_of(every("other@example.com")) is None
        assert [s.user for s in ipc.sessions] == ["u1"]


async def test_move_ends_sessions_that_a_real_director_left(tmp_path: Path) -> None:
    async with kicker_and_ipc(tmp_path) as (bench, ipc):
        ipc.sessions = [Session("u1", HERE), Session("u2", HERE)]

        assert await bench.end_of(every("u1")) is None
        assert [s.user for s in ipc.sessions] == ["u2"]
        assert "KICK-DIRECTOR-HASH 3833023709" in ipc.commands


async def test_session_with_that_login_name_but_another_destination_stays(tmp_path: Path) -> None:
    async with kicker_and_ipc(tmp_path) as (bench, ipc):
        ipc.sessions = [Session("u1", HERE, "shared"), Session("boss", HERE, "u1")]

        assert await bench.end_of(every("u1")) is None
        assert [s.user for s in ipc.sessions] == ["u1"]
        assert "KICK-DIRECTOR-HASH 3833023709" not in ipc.commands


async def test_list_tells_whose_kick_had_nothing_to_close(tmp_path: Path) -> None:
    async with kicker_and_ipc(tmp_path) as (bench, ipc):
        ipc.sessions = [Session("u1", HERE, "u1")]
        for user in ("u1", "u2"):
            await bench.end_of(every(user))
        await bench.end_of(KickName(b"u3"))

        assert [False, True, False] == bench.idle


async def test_list_is_not_asked_again_within_a_second(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with kicker_and_ipc(tmp_path) as (bench, ipc):
        ipc.sessions = [Session("u1", HERE, "shared")]
        for user in ("u2", "u3", "u4"):
            await bench.end_of(every(user))

        assert ipc.commands.count("LIST-FULL") == 1

        await bench.end_of(every("u1"))

        assert ipc.commands.count("LIST-FULL") == 2  # for the risky hash a new one decides

        await trio.sleep(1.1)
        await bench.end_of(every("u2"))

        assert ipc.commands.count("LIST-FULL") == 3


async def test_conflict_ends_sessions_on_every_host_but_one(tmp_path: Path) -> None:
    async with kicker_and_ipc(tmp_path) as (bench, ipc):
        ipc.sessions = [
            Session("u1", HERE, "u1"),
            Session("u1", THERE, "u1"),
            Session("u1", HERE),
            Session("u1", THERE),
            Session("dest", HERE, "u1"),
            Session("dest", THERE, "u1"),
            Session("u2", THERE, "u2"),
        ]

        assert await bench.end_of(elsewhere("u1", HERE)) is None
        assert [(s.user, s.ip) for s in ipc.sessions] == [
            ("u1", HERE),
            ("u1", HERE),
            ("dest", HERE),
            ("u2", THERE),
        ]


async def test_conflict_spares_another_users_login_name(tmp_path: Path) -> None:
    async with kicker_and_ipc(tmp_path) as (bench, ipc):
        ipc.sessions = [Session("u1", THERE, "shared"), Session("u1", HERE)]

        assert await bench.end_of(elsewhere("u1", HERE)) is None
        assert len(ipc.sessions) == 2


async def test_foreign_ring_hash_is_never_compared_by_dovecot(tmp_path: Path) -> None:
    async with kicker_and_ipc(tmp_path, is_classic_hash=False) as (bench, ipc):
        ipc.sessions = [Session("u1", HERE), Session("u1", HERE, "u1")]

        assert await bench.end_of(every("u1")) is None
        assert await bench.end_of(elsewhere("u2", HERE)) is None
        assert not any(c.startswith("KICK-DIRECTOR-HASH") for c in ipc.commands)
        assert len(ipc.sessions) == 1


async def test_many_hosts_make_several_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "IPC_VALUES_MAX", 2)
    async with kicker_and_ipc(tmp_path) as (bench, ipc):
        ipc.sessions = [Session("u1", f"127.0.0.{n}", "u1") for n in range(1, 7)]

        assert await bench.end_of(elsewhere("u1", HERE)) is None
        assert [s.ip for s in ipc.sessions] == [HERE]
        assert [c.count("@") for c in ipc.commands if "user_dirdest" in c] == [2, 2, 1]


async def test_nobody_connected_is_success(tmp_path: Path) -> None:
    async with kicker_and_ipc(tmp_path) as (bench, ipc):
        assert await bench.end_of(every("u1")) is None

        ipc.errors = [b"+(null)\n"]

        assert await bench.end_of(KickName(b"u1")) is None


async def test_process_that_went_away_meanwhile_is_asked_around(tmp_path: Path) -> None:
    async with kicker_and_ipc(tmp_path) as (bench, ipc):
        gone = b"-IPC: 'proxy' PID 31581 server connection: Connection closed\n"
        ipc.errors = [gone]

        assert await bench.end_of(KickName(b"u1")) is None

        ipc.errors = [gone, gone]

        assert "PID 31581 server connection" in str(await bench.end_of(KickName(b"u1")))


async def test_closed_connection_is_opened_again(tmp_path: Path) -> None:
    async with kicker_and_ipc(tmp_path) as (bench, ipc):
        ipc.errors = [b""]

        assert await bench.end_of(KickName(b"u1")) is None
        assert ipc.commands == ["KICK u1", "KICK u1"]
        assert ipc.connections_count == 2


async def test_missing_service_fails_the_kick_and_is_tried_at_the_next(tmp_path: Path) -> None:
    async with kicking(IpcKicker(tmp_path / "ipc", HASHER.hash, is_classic_hash=True)) as bench:
        assert "No such file or directory" in str(await bench.end_of(every("u1")))

        ipc = Ipc()
        async with serving(tmp_path / "ipc", ipc.serve):
            assert await bench.end_of(KickName(b"u1")) is None


async def test_garbage_costs_the_connection(tmp_path: Path) -> None:
    async with kicker_and_ipc(tmp_path) as (bench, ipc):
        ipc.errors = [b"?\n", b"x" * (limits.SESSION_LINE_BYTES_MAX + 10)]

        assert "longer than" in str(await bench.end_of(KickName(b"u1")))


async def test_hanging_process_costs_the_kick_little_time_and_the_others_obey(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with kicker_and_ipc(tmp_path) as (bench, ipc):
        ipc.sessions = [Session(f"u{n}", HERE, f"u{n}") for n in range(40)]
        ipc.is_hanging = True
        started_at = trio.current_time()
        for n in range(40):
            bench.kick(KickName(b"u%d" % n))
        errors = await bench.ended(40)

        assert all("a login process hangs" in str(error) for error in errors)
        assert ipc.sessions == []
        assert trio.current_time() - started_at < limits.KICK_TIMEOUT_S

        ipc.is_hanging = False

        assert await bench.end_of(KickName(b"u1")) is None
        assert await bench.end_of(KickName(b"u1")) is None


async def test_end_of_the_daemon_answers_every_kick(tmp_path: Path) -> None:
    ipc = Ipc()
    ipc.is_hanging = True
    kicker = IpcKicker(tmp_path / "ipc", HASHER.hash, is_classic_hash=True)
    bench = KickBench(kicker)
    count = limits.IPC_CONNECTIONS_MAX * limits.IPC_BATCH_KICKS_MAX + 3
    async with serving(tmp_path / "ipc", ipc.serve), trio.open_nursery() as nursery:
        nursery.start_soon(kicker.run)
        for _ in range(count):
            bench.kick(KickName(b"u1"))
        with trio.fail_after(5):
            while not ipc.commands:
                await trio.testing.wait_all_tasks_blocked(0.001)
        nursery.cancel_scope.cancel()

    assert len(bench.ends) == count
    assert set(bench.ends) == {"given up", "the daemon stops"}
