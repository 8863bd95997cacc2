"""Every kick is answered exactly once, never inside the call, and in bounded time."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from director.kick.queue import KickQueue
from ring import limits
from ring.effects import KickName


class Ends:
    def __init__(self) -> None:
        self.texts: list[str | None] = []

    def __call__(self, error: str | None, /, *, was_idle: bool = False) -> None:
        self.texts.append(error)


async def test_batches_keep_the_order_and_their_bound() -> None:
    queue, ends = KickQueue(), Ends()
    for n in range(5):
        queue.put(KickName(b"u%d" % n), ends)
    async with queue.take(3) as batch:
        assert [p.what for p in batch] == [KickName(b"u0"), KickName(b"u1"), KickName(b"u2")]

        for pending in batch:
            pending.finish(None)

    assert [p.what for p in queue.receive_nowait(9)] == [KickName(b"u3"), KickName(b"u4")]
    assert queue.receive_nowait(9) == []
    assert ends.texts == [None] * 3


async def test_what_a_block_leaves_open_is_given_up_unless_others_have_it() -> None:
    queue, ends = KickQueue(), Ends()
    for n in range(3):
        queue.put(KickName(b"u%d" % n), ends)
    with pytest.raises(ZeroDivisionError):
        async with queue.take(3) as batch:
            batch[0].finish(None)
            batch[1].is_passed_on = True
            raise ZeroDivisionError

    assert ends.texts == [None, "given up"]


async def test_full_queue_answers_in_a_later_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KICKS_WAITING_MAX", 1)
    queue, ends = KickQueue(), Ends()
    queue.put(KickName(b"u1"), ends)
    queue.put(KickName(b"u2"), ends)

    assert ends.texts == []

    await trio.testing.wait_all_tasks_blocked()

    assert ends.texts == ["more than 1 kicks are waiting"]


async def test_kick_past_its_deadline_is_not_given_out(
    autojump_clock: trio.testing.MockClock,
) -> None:
    queue, ends = KickQueue(), Ends()
    queue.put(KickName(b"u1"), ends)
    await trio.sleep(limits.KICK_TIMEOUT_S)

    assert queue.receive_nowait(9) == []
    assert ends.texts == ["waited too long for Dovecot"]


async def test_end_answers_what_waits() -> None:
    queue, ends = KickQueue(), Ends()
    queue.put(KickName(b"u1"), ends)
    queue.fail_all("the daemon stops")
    queue.fail_all("the daemon stops")

    assert ends.texts == ["the daemon stops"]
