"""Signs of life and how long they may take: ring-protocol.md section 12."""

from __future__ import annotations

import pytest

from ring.messages import NATIVE_MINOR, Pong
from tests.ring.rig import NOW, Peer, Rig, director, settings


def test_dial_that_nobody_answers_is_given_up_after_ten_seconds() -> None:
    rig = Rig(settings("127.0.1.5", ("127.0.1.1", "127.0.1.3", "127.0.1.7", "127.0.1.9")))
    rig.pass_time(9.9)
    assert 1 == len(rig.dialled)
    rig.pass_time(0.2)

    assert director("127.0.1.9") == rig.dialled[-1].address


def test_peer_that_does_not_say_who_it_is_has_ten_seconds() -> None:
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    rig.pass_time(10.1)

    assert left.is_closed


def test_outgoing_handshake_without_done_is_given_up_after_thirty_seconds() -> None:
    rig = Rig()
    right = rig.accept_dial()
    right.greet()
    rig.pass_time(30.1)

    assert right.is_closed
    assert "QUIT\tHandshake timeout" == right.heard()[-1]


def test_synced_link_is_pinged_after_fifteen_seconds_and_dead_thirty_later() -> None:
    rig = Rig()
    left, right = rig.ring()
    for _ in range(14):
        rig.pass_time(1)
        right.say("PING")
    assert [] == [line for line in left.heard(pings=True) if line.startswith("PING")]
    rig.pass_time(1.1)
    assert ["PING"] == [line.split("\t")[0] for line in left.heard(pings=True)]
    for _ in range(31):
        rig.pass_time(1)
        right.say("PING", "PONG")

    assert left.is_closed
    assert ["QUIT\tPing timeout"] == left.heard()


def test_link_that_talks_but_never_answers_a_ping_dies_after_sixty_seconds() -> None:
    rig = Rig()
    left, right = rig.ring()
    rig.pass_time(15.1)
    for _ in range(61):
        rig.pass_time(1)
        left.say("PING")
        right.say("PING", "PONG")

    assert left.is_closed
    assert "QUIT\tPong timeout" == left.heard()[-1]


def native_pair() -> tuple[Rig, Peer, Peer]:
    """A node of ours with neighbours of ours."""
    rig = Rig(settings(minor=NATIVE_MINOR))
    right, left = rig.accept_dial(), rig.dial_in("127.0.1.1")
    for peer in (right, left):
        peer.shake_natively()
    assert {"left", "right"} == rig.roles().keys()
    for peer in (left, right):
        peer.say_native(Pong(wall=NOW, unsent_bytes=0))  # to the PING that goes with the SYNC
    return rig, left, right


def test_native_neighbour_is_dead_after_three_silent_seconds() -> None:
    rig, left, right = native_pair()
    rig.pass_time(2.9)
    assert not left.is_closed
    assert not right.is_closed
    rig.pass_time(0.3)

    assert left.is_closed
    assert right.is_closed


def test_the_end_that_dialled_asks_first() -> None:
    rig, left, right = native_pair()
    links = [rig.node.link(peer.link_id) for peer in (left, right)]
    rig.pass_time(1.2, step=0.1)
    assert [False, True] == [link is not None and link.ping_sent_at is not None for link in links]
    rig.pass_time(0.4, step=0.1)

    assert [True, True] == [link is not None and link.ping_sent_at is not None for link in links]


def test_slow_answers_are_noted() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say(f"PING\t{NOW - 9}\t0")
    rig.pass_time(15.1)
    for _ in range(6):
        rig.pass_time(1)
        right.say("PING")
    left.say("PONG")

    assert [9, pytest.approx(6.0, abs=0.2)] == [n["seconds"] for n in rig.notes("ping_was_slow")]


def test_unasked_pong_changes_nothing() -> None:
    rig = Rig()
    left, _ = rig.ring()
    left.say("PONG")

    assert not left.is_closed


def test_unsynced_link_is_pinged_after_a_second_and_once_until_it_answers() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("HOST\t127.0.1.1\t19001\t1\t10.1.0.1\t50")
    left.say("PONG")
    right.say("PONG")
    left.heard()
    rig.pass_time(1.1)
    assert ["PING"] == commands(left)
    left.say("HOST\t127.0.1.1\t19001\t2\t10.1.0.2\t50")  # starts a round, which pings
    assert [] == commands(left)


def commands(peer: Peer) -> list[str]:
    return [line.split("\t")[0] for line in peer.heard(pings=True)]


def test_ping_is_answered_in_any_phase_after_the_name() -> None:
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    left.greet()
    left.heard()
    left.say("PING", f"PING\t{NOW}\t0")

    assert ["PONG", "PONG"] == commands(left)


def test_waiting_left_has_forty_seconds_of_silence() -> None:
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    left.greet()
    rig.pass_time(39.9)
    assert not left.is_closed
    rig.pass_time(0.2)

    assert left.is_closed
    assert "QUIT\tHandshake timeout" == left.heard()[-1]


def test_outgoing_handshake_lasts_as_long_as_the_peer_reads_our_users() -> None:
    """A big export over a slow network must not be cut after thirty seconds."""
    rig = Rig(settings(others=("127.0.1.3",)))
    rig.serve_alone()
    for user_hash in range(1, 8001):
        rig.place(user_hash, "10.1.0.1")
    caller = rig.dial_in("127.0.1.3")
    caller.greet()
    outgoing = rig.dialled[-1]
    outgoing.is_stuck = True
    rig.node.link_connected(outgoing.link_id, rig.now)
    outgoing.greet()
    for _ in range(4):
        rig.pass_time(29)
        link = rig.node.link(outgoing.link_id)
        assert link is not None
        assert link.take_output(10_000, int(rig.wall))
        caller.say("PING")
    assert not outgoing.is_closed
    rig.pass_time(61)

    assert outgoing.is_closed


def test_in_a_native_ring_a_peer_that_does_not_greet_is_hung() -> None:
    rig = Rig(settings(minor=NATIVE_MINOR))
    rig.serve_alone()  # a ring of one is native
    caller = rig.dial_in("127.0.1.1")
    rig.pass_time(1.6)

    assert caller.is_closed


def test_redirected_link_is_no_longer_asked_for_a_sign_of_life() -> None:
    rig = Rig()
    _, right = rig.ring()
    right.say("CONNECT\t127.0.1.3\t19001", "PING")
    rig.pass_time(0.9)

    assert [] == commands(right)
    assert not right.is_closed
