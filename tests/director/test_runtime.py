"""The node gets its time and its effects are performed, each exactly once and in order."""

from __future__ import annotations

import attrs
import trio
from trio.testing import MockClock

from ring import limits
from ring.address import parse_ip
from ring.commands import Answer, HostDown, HostUp, UserKick, UserMove
from ring.effects import KickHash, KickName
from tests.director.rig import Director, Login, make_directors


@attrs.define(eq=False)
class Administrator:
    answers: list[Answer] = attrs.field(factory=list)

    def command_answered(self, answer: Answer) -> None:
        self.answers.append(answer)


async def start_alone(nursery: trio.Nursery, **changes: object) -> Director:
    (director,) = make_directors(1, clock=trio.current_time, **changes)
    nursery.start_soon(director.run)
    await trio.testing.wait_all_tasks_blocked()
    return director


def command(director: Director, what: object) -> Administrator:
    administrator = Administrator()
    director.runtime.command(administrator, what)  # type: ignore[arg-type]  # any command
    director.runtime.settle()
    return administrator


async def test_a_user_has_one_host(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        director = await start_alone(nursery)
        first = await director.find(b"alice")
        second = await director.find(b"ALICE")

        assert first == second
        assert first in {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
        nursery.cancel_scope.cancel()


async def test_a_parked_lookup_is_answered_when_its_time_is_over(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        director = await start_alone(nursery)
        for number in (1, 2, 3):
            command(director, HostDown(parse_ip(f"10.0.0.{number}")))
        login = Login()
        user_hash = director.runtime.hash_user(b"alice")
        host = director.runtime.lookup(login, user_hash, b"")
        director.runtime.settle()
        await trio.sleep(limits.LOOKUP_TIMEOUT_S + 1)

        assert host is None
        assert [answer.ip for answer in login.answers] == [None]
        nursery.cancel_scope.cancel()


async def test_a_parked_lookup_is_answered_when_a_host_comes_up(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        director = await start_alone(nursery)
        for number in (1, 2, 3):
            command(director, HostDown(parse_ip(f"10.0.0.{number}")))
        login = Login()
        host = director.runtime.lookup(login, director.runtime.hash_user(b"alice"), b"")
        administrator = command(director, HostUp(parse_ip("10.0.0.2")))

        assert host is None
        assert administrator.answers == [Answer.OK]
        assert [str(answer.ip) for answer in login.answers] == ["10.0.0.2"]
        nursery.cancel_scope.cancel()


async def test_an_abandoned_lookup_is_not_answered(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        director = await start_alone(nursery)
        for number in (1, 2, 3):
            command(director, HostDown(parse_ip(f"10.0.0.{number}")))
        login = Login()
        director.runtime.lookup(login, director.runtime.hash_user(b"alice"), b"")
        director.runtime.abandon(login)
        await trio.sleep(limits.LOOKUP_TIMEOUT_S + 1)

        assert login.answers == []
        nursery.cancel_scope.cancel()


async def test_kicks_are_performed_and_their_end_is_told_back(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        director = await start_alone(nursery)
        administrator = command(director, UserKick(user=b"alice", is_waiting=False))
        [(what, done)] = director.kicker.asked
        done(None)

        assert what == KickName(b"alice")
        assert administrator.answers == [Answer.OK]
        assert director.runtime.node.statistics().kicking == 0
        nursery.cancel_scope.cancel()


async def test_a_move_kicks_then_runs_the_flush_program_then_lets_logins_in(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        director = await start_alone(nursery, has_flush_program=True)
        old = await director.find(b"alice")
        new = next(ip for ip in ("10.0.0.1", "10.0.0.2") if ip != old)
        user_hash = director.runtime.hash_user(b"alice")
        command(director, UserMove(user_hash=user_hash, ip=parse_ip(new)))
        login = Login()
        parked = director.runtime.lookup(login, user_hash, b"")
        [(what, kicked)] = director.kicker.asked
        kicked(None)
        await trio.sleep(0.1)
        [(flush, flushed)] = director.flushes.asked
        flushed(True)
        await trio.sleep(5)

        assert parked is None
        assert isinstance(what, KickHash)
        assert str(flush.new_ip) == new
        assert [str(answer.ip) for answer in login.answers] == [new]
        nursery.cancel_scope.cancel()


async def test_what_the_node_notes_is_logged_and_counted(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        director = await start_alone(nursery)
        before = len(director.lines)
        command(director, HostDown(parse_ip("10.0.0.1")))

        assert len(director.lines) > before
        assert sum(director.runtime.log.counters.values()) == len(director.lines)
        nursery.cancel_scope.cancel()


async def test_sessions_note_through_the_same_log(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        director = await start_alone(nursery)
        director.runtime.note("session_refused", reason="too long")

        assert director.lines[-1].endswith(
            b'director: Warning: session_refused reason="too long"\n'
        )
        nursery.cancel_scope.cancel()
