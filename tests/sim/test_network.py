"""What TCP promises holds in the simulated network, and what it does not promise can happen."""

from __future__ import annotations

import pytest

from ring.codec import native
from ring.messages import NATIVE_MINOR, Ping, Pong
from sim.network import KNOCK_AGAIN_S, RETRANSMIT_S, Connection, Pipe, Tap
from sim.world import World
from tests.sim.rig import events, quiet_world

DELAY_S = 0.5


def spare_pipe(**settings: object) -> tuple[World, Pipe]:
    """A direction of a connection that no node knows of: what arrives is read and forgotten."""
    world = quiet_world(directors=2, latency_s=DELAY_S, jitter_s=0.0, **settings)
    connection = Connection(*world.machines)
    for end in connection.ends:
        end.link_id = -1
    return world, connection.ends[0].outgoing


def arrival_s(world: World, pipe: Pipe) -> float:
    """Return after how many tenths of a second, as seconds, everything sent has been read."""
    for tenths in range(100):
        if not pipe.bytes_queued:
            return tenths / 10
        world.run_until(world.now + 0.1)
    raise AssertionError("nothing arrives")


def test_bytes_arrive_after_the_delay_of_their_path() -> None:
    world, pipe = spare_pipe()
    pipe.send(b"PING\n")

    assert DELAY_S == pytest.approx(arrival_s(world, pipe), abs=0.11)


def test_a_clogged_path_takes_longer_and_nothing_overtakes() -> None:
    world, pipe = spare_pipe()
    unclog = world.network.clog(1, 2, 2.0)
    pipe.send(b"PING\n")
    unclog()
    pipe.send(b"PONG\n")

    assert 2.0 + DELAY_S == pytest.approx(arrival_s(world, pipe), abs=0.11)


def test_a_slow_receiver_takes_its_time_for_each_byte() -> None:
    world, pipe = spare_pipe()
    world.machines[1].bytes_per_s = 5
    pipe.send(b"PING\n")

    assert 1.0 + DELAY_S == pytest.approx(arrival_s(world, pipe), abs=0.11)


def test_a_cut_path_holds_what_is_sent_until_it_is_mended() -> None:
    world, pipe = spare_pipe()
    mend = world.network.cut([(1, 2)])
    pipe.send(b"PING\n")
    world.run_until(world.now + 5.0)
    assert 5 == pipe.bytes_queued
    mend()

    assert RETRANSMIT_S == pytest.approx(arrival_s(world, pipe), abs=0.11)


def test_a_path_is_cut_until_everything_that_cut_it_is_over() -> None:
    world = quiet_world(directors=2)
    mends = [world.network.cut([(1, 2)]) for _ in range(2)]
    mends[0]()
    assert world.network.is_cut(1, 2)
    assert not world.network.is_cut(2, 1)
    mends[1]()

    assert not world.network.is_cut(1, 2)


def test_a_reset_is_told_to_both_ends() -> None:
    world = quiet_world(directors=2)
    for connection in world.network.between(1, 2):
        world.network.reset(connection)
    world.run_until(world.now + 0.1)

    lost = [line for line in events(world, "link lost") if "connection reset" in line]
    assert 2 * len(world.machines) == len(lost)


def test_silence_is_told_to_nobody_and_noticed_within_three_seconds() -> None:
    world = quiet_world(directors=2)
    silent = world.network.between(1, 2)
    for connection in silent:
        world.network.silence(connection)
    world.run_until(world.now + 0.5)
    assert silent == world.network.between(1, 2)
    world.run_until(world.now + 4.5)

    assert not set(silent) & set(world.network.between(1, 2))


def test_dials_are_refused_until_the_fault_is_over() -> None:
    world = quiet_world(directors=2)
    world.machines[1].stop(has_power=True)
    accept = world.network.refuse(2)
    world.trace.lines.clear()
    world.machines[1].start()
    world.run_until(world.now + 2.0)
    assert not [line for line in events(world, "accepted") if line.endswith("from=d01")]
    accept()
    world.run_until(world.now + 10.0)

    assert [line for line in events(world, "accepted") if line.endswith("from=d01")]


def test_a_request_for_a_connection_is_sent_again_when_the_path_is_mended() -> None:
    world = quiet_world(directors=2)
    mend = world.network.cut([(1, 2), (2, 1)])
    world.machines[1].stop(has_power=True)
    world.machines[1].start()
    world.trace.lines.clear()
    mend()
    world.run_until(world.now + KNOCK_AGAIN_S[0] + 0.1)

    assert [line for line in events(world, "accepted") if line.endswith("from=d02")]


def test_nobody_asks_again_for_a_connection_that_was_given_up() -> None:
    world = quiet_world(directors=2)
    world.machines[1].stop(has_power=False)
    world.machines[0].stop(has_power=True)
    world.machines[0].start()
    world.machines[0].stop(has_power=True)
    world.machines[1].start()
    world.trace.lines.clear()
    world.run_until(world.now + sum(KNOCK_AGAIN_S) + 1.0)

    assert [] == events(world, "accepted")


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_the_tap_reads_the_same_from_pieces_as_from_whole_frames(size: int) -> None:
    greeting = f"VERSION\tdirector\t1\t{NATIVE_MINOR}\n".encode()
    ping, pong = Ping(wall=7, unsent_bytes=0), Pong(wall=8, unsent_bytes=1)
    whole = Tap()
    assert 1 == len(whole.decode(greeting))
    expected = [*whole.decode(native.encode(ping)), *whole.decode(native.encode(pong))]
    assert [ping, pong] == expected
    pieces = Tap()
    data = greeting + native.encode(ping) + native.encode(pong)
    found = [m for at in range(0, len(data), size) for m in pieces.decode(data[at : at + size])]

    assert expected == found[1:]


def test_the_tap_leaves_garbage_to_the_real_receiver() -> None:
    tap = Tap()
    assert [] == list(tap.decode(b"\x00\xff\xff\xff\xffGET / HTTP/1.0\r\n\r\n"))

    assert [] == list(tap.decode(b"VERSION\tdirector\t1\t9\n"))
