"""Which Dovecot runs is found out by asking, whatever sockets lie around."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from director.kick.choice import AutoKicker, NoKicker, detect, make_kicker
from director.kick.queue import KickDone, KickFailed, KickTarget
from director.settings import KickMethod
from ring.address import IpAddress
from ring.effects import KickName
from tests.director.kick.fake_anvil import HERE, Dovecot24, Session
from tests.director.kick.scripted import KickBench, bound, kicking, serving
from tests.hashing import HASHER


async def silent(stream: trio.SocketStream) -> None:
    await stream.receive_some()


async def anvil_of_23(stream: trio.SocketStream) -> None:
    await stream.send_all(b"VERSION\tanvil\t1\t1\n")
    await stream.receive_some()


async def anvil_of_24(stream: trio.SocketStream) -> None:
    await stream.send_all(b"VERSION\tanvil-server\t2\t0\n")
    await stream.receive_some()


async def test_ipc_decides_for_dovecot_23_whatever_anvil_says(tmp_path: Path) -> None:
    async with serving(tmp_path / "ipc", silent), serving(tmp_path / "anvil", anvil_of_23):
        assert await detect(tmp_path) is KickMethod.IPC


async def test_dead_ipc_socket_of_the_old_version_is_no_ipc(tmp_path: Path) -> None:
    await bound(tmp_path / "ipc").aclose()
    async with serving(tmp_path / "anvil", anvil_of_24):
        assert await detect(tmp_path) is KickMethod.ANVIL


async def test_neither_says_what_was_tried(tmp_path: Path) -> None:
    async with serving(tmp_path / "anvil", anvil_of_23):
        with pytest.raises(KickFailed, match=r"neither ipc nor anvil .*ipc.*not the anvil of"):
            await detect(tmp_path)


def nowhere(user_hash: int) -> frozenset[IpAddress]:
    return frozenset()


class RecordingKicker:
    """Answers each kick with what `error` is then."""

    def __init__(self) -> None:
        self.kicks: list[KickTarget] = []
        self.error: str | None = None
        self.is_answering = True

    def kick(self, what: KickTarget, done: KickDone) -> None:
        self.kicks.append(what)
        if self.is_answering:
            done(self.error)

    async def run(self) -> None:
        await trio.sleep_forever()


async def test_dovecot_that_starts_later_or_is_upgraded_is_found(tmp_path: Path) -> None:
    ipc, anvil = RecordingKicker(), RecordingKicker()
    kicker = AutoKicker(tmp_path, {KickMethod.IPC: ipc, KickMethod.ANVIL: anvil})
    async with kicking(kicker) as bench:
        assert "neither ipc nor anvil" in str(await bench.end_of(KickName(b"u1")))

        async with serving(tmp_path / "ipc", silent):
            assert await bench.end_of(KickName(b"u2")) is None
        ipc.error = "connection refused"
        async with serving(tmp_path / "anvil", anvil_of_24):
            assert await bench.end_of(KickName(b"u3")) == "connection refused"
            assert await bench.end_of(KickName(b"u4")) is None

    assert ipc.kicks == [KickName(b"u2"), KickName(b"u3")]
    assert anvil.kicks == [KickName(b"u4")]


async def test_kick_in_other_hands_is_not_finished_twice(tmp_path: Path) -> None:
    ipc = RecordingKicker()
    ipc.is_answering = False
    kicker = AutoKicker(tmp_path, {KickMethod.IPC: ipc})
    async with serving(tmp_path / "ipc", silent), kicking(kicker) as bench:
        bench.kick(KickName(b"u1"))
        while not ipc.kicks:
            await trio.testing.wait_all_tasks_blocked(0.001)

    assert bench.ends == []


async def test_real_kickers_behind_auto(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    dovecot = Dovecot24(tmp_path)
    dovecot.sessions = [Session("u1", HERE, "u1")]
    kicker = make_kicker(
        KickMethod.AUTO, tmp_path, HASHER.hash, where=nowhere, is_classic_hash=True
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(dovecot.run)
        async with kicking(kicker) as bench:
            assert await bench.end_of(KickName(b"u1")) is None
        nursery.cancel_scope.cancel()

    assert dovecot.alive() == []


async def test_forced_method_is_not_probed(tmp_path: Path) -> None:
    for method in (KickMethod.IPC, KickMethod.ANVIL):
        kicker = make_kicker(method, tmp_path, HASHER.hash, where=nowhere, is_classic_hash=True)
        async with kicking(kicker) as bench:
            assert f"{tmp_path}/{method.value}" in str(await bench.end_of(KickName(b"u1")))


async def test_none_is_success_in_a_later_turn(tmp_path: Path) -> None:
    kicker = make_kicker(
        KickMethod.NONE, tmp_path, HASHER.hash, where=nowhere, is_classic_hash=True
    )
    assert isinstance(kicker, NoKicker)
    async with kicking(kicker) as bench:
        bench.kick(KickName(b"u1"))

        assert bench.ends == []
        assert await bench.ended(1) == [None]


async def test_kicks_before_the_kicker_runs_wait(tmp_path: Path) -> None:
    ipc = RecordingKicker()
    kicker = AutoKicker(tmp_path, {KickMethod.IPC: ipc})
    bench = KickBench(kicker)
    bench.kick(KickName(b"u1"))
    async with serving(tmp_path / "ipc", silent), trio.open_nursery() as nursery:
        nursery.start_soon(kicker.run)

        assert await bench.ended(1) == [None]

        nursery.cancel_scope.cancel()
