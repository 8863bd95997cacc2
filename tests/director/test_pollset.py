"""The poll set: turns, interest, errors, timers and safe closing, on real sockets."""

from __future__ import annotations

import functools
import socket
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from director.pollset import READ, WRITE, PollSet
from ring import limits
from ring.errors import RemoteProtocolError


class Recorder:
    """A handler that reads what comes, and remembers what happened to it."""

    def __init__(self, poll_set: PollSet, sock: socket.socket) -> None:
        self.poll_set = poll_set
        self.sock = sock
        self.events: list[object] = []
        self.error: Exception | None = None
        self.on_readable = lambda: None

    def readable(self) -> None:
        if self.error is not None:
            raise self.error
        self.events.append(self.sock.recv(10))
        self.on_readable()

    def writable(self) -> None:
        self.events.append("writable")
        self.poll_set.set_events(self.sock.fileno(), READ)

    def failed(self, error: Exception) -> None:
        self.events.append(error)
        self.poll_set.discard(self.sock)


class Bench:
    """A poll set with a clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.turns = 0
        self.poll_set = PollSet(self.count_turn, lambda: self.now)
        self.sockets: list[socket.socket] = []

    def count_turn(self) -> bool:
        self.turns += 1
        return False

    def pair(self) -> tuple[socket.socket, Recorder]:
        far, near = socket.socketpair()
        self.sockets += [far, near]
        near.setblocking(False)
        recorder = Recorder(self.poll_set, near)
        self.poll_set.add(near.fileno(), recorder)
        return far, recorder


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.poll_set.close()
    for sock in bench.sockets:
        sock.close()


def test_a_turn_serves_what_is_ready_and_then_calls_after_turn(bench: Bench) -> None:
    far, recorder = bench.pair()
    _, idle = bench.pair()
    far.send(b"hello")

    assert bench.poll_set.turn() is False
    assert recorder.events == [b"hello"]
    assert idle.events == []
    assert bench.turns == 1


def test_unread_bytes_are_offered_again_in_the_next_turn(bench: Bench) -> None:
    far, recorder = bench.pair()
    far.send(b"0123456789abc")
    bench.poll_set.turn()
    bench.poll_set.turn()

    assert recorder.events == [b"0123456789", b"abc"]


def test_write_interest_is_served_once_it_is_set(bench: Bench) -> None:
    _, recorder = bench.pair()
    bench.poll_set.turn()
    bench.poll_set.set_events(recorder.sock.fileno(), READ | WRITE)
    bench.poll_set.turn()
    bench.poll_set.turn()

    assert recorder.events == ["writable"]


@pytest.mark.parametrize("error", [OSError(5, "broken"), RemoteProtocolError("rubbish")])
def test_a_remote_error_ends_in_failed_of_that_handler_only(bench: Bench, error: Exception) -> None:
    far, recorder = bench.pair()
    other_far, other = bench.pair()
    recorder.error = error
    far.send(b"x")
    other_far.send(b"y")
    bench.poll_set.turn()

    assert recorder.events == [error]
    assert other.events == [b"y"]
    assert recorder.sock.fileno() == -1


def test_a_bug_in_a_handler_is_not_swallowed(bench: Bench) -> None:
    far, recorder = bench.pair()
    recorder.error = ZeroDivisionError()
    far.send(b"x")

    with pytest.raises(ZeroDivisionError):
        bench.poll_set.turn()


def test_the_other_end_going_away_is_told_even_when_nobody_reads(bench: Bench) -> None:
    far, recorder = bench.pair()
    bench.poll_set.set_events(recorder.sock.fileno(), 0)
    far.close()
    bench.poll_set.turn()

    assert [type(event) for event in recorder.events] == [ConnectionResetError]
    assert len(bench.poll_set) == 0


def test_a_handler_removed_by_another_in_the_same_turn_is_not_called(bench: Bench) -> None:
    first_far, first = bench.pair()
    second_far, second = bench.pair()
    first.on_readable = lambda: bench.poll_set.remove(second.sock.fileno())
    second.on_readable = lambda: bench.poll_set.remove(first.sock.fileno())
    first_far.send(b"x")
    second_far.send(b"x")
    bench.poll_set.turn()

    assert sorted(len(recorder.events) for recorder in (first, second)) == [0, 1]


def test_a_descriptor_number_does_not_return_before_the_batch_is_done(bench: Bench) -> None:
    """The first handler discards the second and opens a socket: its number must be a fresh one."""
    fars, recorders = zip(*(bench.pair() for _ in range(2)), strict=True)
    numbers = {recorder.sock.fileno() for recorder in recorders}
    reused: list[bool] = []

    def discard_the_other(other: Recorder) -> None:
        bench.poll_set.discard(other.sock)
        with socket.socket() as fresh:
            reused.append(fresh.fileno() in numbers)

    recorders[0].on_readable = lambda: discard_the_other(recorders[1])
    recorders[1].on_readable = lambda: discard_the_other(recorders[0])
    for far in fars:
        far.send(b"x")
    bench.poll_set.turn()

    assert reused == [False]
    assert sorted(recorder.sock.fileno() == -1 for recorder in recorders) == [False, True]


def test_discard_between_turns_closes_at_once(bench: Bench) -> None:
    far, recorder = bench.pair()
    bench.poll_set.discard(recorder.sock)

    assert far.recv(1) == b""


def test_a_long_turn_is_cut_and_nobody_starves(bench: Bench) -> None:
    """Each read takes longer than a turn may; every socket is read once before any is twice."""
    pairs = [bench.pair() for _ in range(5)]
    order: list[int] = []

    def take_long(index: int) -> None:
        order.append(index)
        bench.now += 2 * limits.POLL_TURN_S

    for index, (far, recorder) in enumerate(pairs):
        recorder.on_readable = lambda index=index: take_long(index)
        far.send(b"0123456789" * 2)
    is_more_left = [bench.poll_set.turn() for _ in range(5)]

    assert is_more_left == [True, True, True, True, False]
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert bench.turns == 5


def test_at_most_the_limit_of_descriptors_is_served_in_a_batch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "POLL_DESCRIPTORS_MAX", 3)
    pairs = [bench.pair() for _ in range(5)]
    for far, _ in pairs:
        far.send(b"x")
    bench.poll_set.turn()

    assert sum(len(recorder.events) for _, recorder in pairs) == 3

    bench.poll_set.turn()

    assert [recorder.events for _, recorder in pairs] == [[b"x"]] * 5


def test_timers_run_when_due_and_a_repeated_one_is_replaced(bench: Bench) -> None:
    rung: list[float] = []

    def ring() -> None:
        rung.append(bench.now)

    bench.poll_set.call_later(1.0, ring)
    bench.poll_set.call_later(2.0, ring)
    for bench.now in (0.5, 1.5, 2.5, 3.5):
        bench.poll_set.turn()

    assert rung == [2.5]


def test_a_timer_that_sets_itself_again_waits_for_the_next_turn(bench: Bench) -> None:
    rung: list[int] = []

    def ring() -> None:
        rung.append(bench.turns)
        bench.poll_set.call_later(0.0, ring)

    bench.poll_set.call_later(0.0, ring)
    for _ in range(3):
        bench.poll_set.turn()

    assert rung == [0, 1, 2]


def test_a_spurious_wake_up_is_no_error(bench: Bench) -> None:
    far, recorder = bench.pair()
    recorder.error = BlockingIOError()
    far.send(b"x")
    bench.poll_set.turn()
    recorder.error = None
    bench.poll_set.turn()

    assert recorder.events == [b"x"]


async def test_run_wakes_for_descriptors_and_for_timers_set_by_other_tasks() -> None:
    served = trio.Event()
    rung = trio.Event()
    poll_set = PollSet(lambda: False)
    far, near = socket.socketpair()
    near.setblocking(False)
    recorder = Recorder(poll_set, near)
    recorder.on_readable = served.set
    poll_set.add(near.fileno(), recorder)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll_set.run)
        await trio.testing.wait_all_tasks_blocked()
        poll_set.call_later(0.0, rung.set)
        await rung.wait()
        far.send(b"x")
        await served.wait()
        nursery.cancel_scope.cancel()

    assert recorder.events == [b"x"]

    poll_set.discard(near)
    poll_set.close()
    far.close()


async def test_turns_are_rare_as_long_as_requests_come_in_crowds() -> None:
    """Goal: one turn a POLL_GATHER_S until POLL_CROWD_S after the last crowd. Method: a clock that
    only sleeping moves, and a handler that meets a crowd and then goes on reading, byte by byte."""
    now = 0.0
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        slept.append(seconds)

    poll_set = PollSet(lambda: True, lambda: now, sleep)
    far, near = socket.socketpair()
    near.setblocking(False)
    recorder = Recorder(poll_set, near)
    slept_by_turn: list[int] = []
    ended = trio.Event()

    def met() -> None:
        if not slept_by_turn:
            poll_set.gather()
        slept_by_turn.append(len(slept))
        if len(slept_by_turn) == 9:
            ended.set()
        else:
            far.send(b"x")

    recorder.on_readable = met
    poll_set.add(near.fileno(), recorder)
    far.send(b"x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll_set.run)
        await ended.wait()
        nursery.cancel_scope.cancel()
    poll_set.discard(near)
    poll_set.close()
    far.close()

    assert [0, 1, 2, 3, 4, 5, 5, 5, 5] == slept_by_turn


@pytest.mark.parametrize("others_have_work", [False, True])
async def test_events_that_follow_at_once_are_served_first_unless_others_have_work(
    others_have_work: bool,
) -> None:
    """Goal: no trip through trio between question and answer. Method: count another's turns while
    two handlers play ball; every trip lets it run at least once between three throws."""
    poll_set = PollSet(lambda: others_have_work, clock=lambda: 0.0)
    pairs = [socket.socketpair() for _ in range(2)]
    players = [Recorder(poll_set, near) for near, _ in pairs]
    others_turns: list[int] = []
    count = 0
    served = trio.Event()

    def throw_to(far: socket.socket) -> None:
        others_turns.append(count)
        if len(others_turns) == 6:
            served.set()
        else:
            far.send(b"x")

    for player, (_, far) in zip(players, reversed(pairs), strict=True):
        player.on_readable = functools.partial(throw_to, far)
        player.sock.setblocking(False)
        poll_set.add(player.sock.fileno(), player)
    pairs[0][1].send(b"x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll_set.run)
        while not served.is_set():
            count += 1
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    poll_set.close()
    for sock in (end for pair in pairs for end in pair):
        sock.close()

    assert others_have_work == (others_turns[0] != others_turns[-1])
