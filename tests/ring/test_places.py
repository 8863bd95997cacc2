"""What peers say about places, in dialogues (ring-protocol.md 7.5, 10.1, 10.2, 10.5)."""

from __future__ import annotations

import pytest

from ring.commands import UserKick
from ring.effects import KickName
from tests.ring.net import Net
from tests.ring.rig import FIVE, NOW, Rig, director, settings, wide_ring

# --- ME and DONE ---


def test_peer_that_answers_with_another_name_is_refused() -> None:
    rig = Rig(settings(others=("127.0.1.3",)))
    right = rig.accept_dial()
    right.say("VERSION\tdirector\t1\t9", "ME\t127.0.1.4\t19001\tNOW")

    assert right.is_closed
    assert ["ME 127.0.1.4:19001, expected 127.0.1.3:19001"] == [
        note["error"] for note in rig.notes("link_broke_protocol")
    ]


def test_connecting_to_ourselves_is_noticed_at_done() -> None:
    rig = Rig(settings("127.0.1.2", ("127.0.1.3",)))
    left = rig.dial_in("127.0.1.3")
    left.say("VERSION\tdirector\t1\t9", "ME\t127.0.1.2\t19001\tNOW", "DONE")

    assert "QUIT\tInvalid input: DONE" == left.heard()[-1]
    assert left.is_closed


def test_clock_that_differs_by_more_than_a_second_is_noted() -> None:
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    left.say("VERSION\tdirector\t1\t9", f"ME\t127.0.1.1\t19001\t{NOW - 5}")

    assert -5 == rig.notes("clock_skew_seen")[0]["skew_s"]


def test_peer_held_off_for_breaking_the_protocol_is_still_listed_with_what_it_did() -> None:
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    left.greet()
    left.say("NONSENSE")
    rig.pass_time(2)
    again = rig.dial_in("127.0.1.1")
    again.greet()

    assert again.is_closed
    assert [2.0] == [note["failed_before_s"] for note in rig.notes("link_held_off")]
    assert "NONSENSE" in rig.status_of("127.0.1.1")


def test_peer_held_off_is_left_alone_by_a_director_that_has_a_right_neighbour() -> None:
    rig = Rig()
    left, _ = rig.ring()
    left.say("NONSENSE")
    dials = len(rig.dialled)
    rig.dial_in("127.0.1.1").greet()

    assert dials == len(rig.dialled)


def test_farther_left_that_finishes_is_redirected_to_the_left() -> None:
    rig, left, _ = wide_ring("127.0.1.3", "127.0.1.7")
    late = rig.dial_in("127.0.1.1")
    late.greet()
    left.say("PONG")
    assert "CONNECT\t127.0.1.3\t19001" == late.heard()[-1]
    late.say("DONE")
    rig.hang_up(late)

    assert "127.0.1.3:19001" == rig.roles()["left"]


def test_left_is_sent_to_a_nearer_one_that_came_while_there_was_no_left() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    near, far = rig.dial_in("127.0.1.3"), rig.dial_in("127.0.1.1")
    near.greet()
    far.greet()
    far.say("DONE")

    assert "CONNECT\t127.0.1.3\t19001" == far.heard()[-1]
    near.say("DONE")
    rig.hang_up(far)

    assert "127.0.1.3:19001" == rig.roles()["left"]


def test_left_that_connects_again_is_told_so_on_its_old_connection() -> None:
    rig = Rig()
    left, _ = rig.ring()
    rig.dial_in("127.0.1.1").greet()

    assert ["QUIT\tReplacing with new incoming connection"] == left.heard()


def test_nearer_left_is_announced_to_the_left_and_takes_its_place_when_it_leaves() -> None:
    rig, old, _ = wide_ring("127.0.1.1", "127.0.1.7")
    new = rig.dial_in("127.0.1.3")
    new.shake()
    assert ["CONNECT\t127.0.1.3\t19001", "DIRECTOR\t127.0.1.3\t19001"] == old.heard()
    old.say("QUIT\tCONNECT requested")

    assert ["QUIT\tInvalid input: QUIT"] == old.heard()
    assert "127.0.1.3:19001" == rig.roles()["left"]


def test_farther_left_that_greeted_before_the_left_was_one_is_redirected_when_it_finishes() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    near, far = rig.dial_in("127.0.1.3"), rig.dial_in("127.0.1.1")
    near.greet()
    far.greet()
    near.say("DONE")
    far.say("DONE")

    assert "CONNECT\t127.0.1.3\t19001" == far.heard()[-1]
    rig.pass_time(10.1)
    assert "QUIT\tTimeout waiting for disconnect after CONNECT" == far.heard()[-1]
    assert far.is_closed


def test_director_that_greets_makes_an_idle_one_look_for_a_right_neighbour() -> None:
    rig = Rig(settings(others=("127.0.1.3",)))
    rig.serve_alone()
    assert [] == rig.dialled
    rig.dial_in("127.0.1.3").greet()

    assert [director("127.0.1.3")] == [peer.address for peer in rig.dialled]


def test_a_director_of_ours_that_came_back_is_told_how_far_it_had_counted() -> None:
    """It counts from the time of its start, and has begun anew within the same second."""
    net = Net(2)
    net.start_all()
    for _ in range(20):
        net.command(2, UserKick(user=b"alice", is_waiting=False))
    net.kill(2)
    net.start(2)
    net.run(1)
    net.command(2, UserKick(user=b"bob", is_waiting=False))

    assert KickName(user=b"bob") == net.kicks(1)[-1]


# --- CONNECT ---


def test_nearer_right_is_dialled_and_the_old_one_left() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    rig.refuse_dial()
    ninth = rig.complete_right()
    ninth.say("CONNECT\t127.0.1.7\t19001")

    assert "QUIT\tCONNECT requested" == ninth.heard()[-1]
    assert ninth.is_closed
    assert director("127.0.1.7") == rig.dialled[-1].address


def test_connect_from_an_unfinished_right_is_obeyed_and_the_link_closed() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    seventh = rig.accept_dial()
    seventh.greet()
    seventh.say("CONNECT\t127.0.1.6\t19001")

    assert "QUIT\tCONNECT requested" == seventh.heard()[-1]
    assert seventh.is_closed
    assert director("127.0.1.6") == rig.dialled[-1].address


def test_connect_to_a_director_that_is_being_dialled_does_not_dial_it_twice() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    left = rig.dial_in("127.0.1.3")
    left.greet()
    left.say("CONNECT\t127.0.1.7\t19001")

    assert 1 == len(rig.dialled)
    assert not left.is_closed


def test_second_redirect_to_a_director_that_could_not_be_reached_is_not_obeyed() -> None:
    """DESIGN.md decision 12: it would send us to and fro as fast as the network allows."""
    rig = Rig(settings("127.0.1.5", FIVE))
    rig.refuse_dial()
    ninth = rig.complete_right()
    ninth.say("CONNECT\t127.0.1.7\t19001")
    rig.pass_time(0.1)
    rig.refuse_dial()
    assert director("127.0.1.9") == rig.dialled[-1].address
    ninth = rig.complete_right()
    ninth.say("CONNECT\t127.0.1.7\t19001")
    assert director("127.0.1.9") == rig.dialled[-1].address
    assert not ninth.is_closed
    rig.pass_time(5.1)

    assert ninth.is_closed
    assert "QUIT\tCONNECT requested to one that failed" == ninth.heard()[-1]


@pytest.mark.parametrize("named", ["127.0.1.9", "127.0.1.5", "127.0.1.1"])
def test_farther_right_is_not_obeyed_and_who_names_it_is_left_after_a_second(named: str) -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    seventh = rig.complete_right()
    seventh.say(f"CONNECT\t{named}\t19001")
    rig.pass_time(0.9)
    assert not seventh.is_closed
    rig.pass_time(0.2)

    assert "QUIT\tWrong CONNECT requested" == seventh.heard()[-1]
    assert director("127.0.1.7") == rig.dialled[-1].address


def test_removed_director_is_not_connected_to() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    rig.refuse_dial()
    ninth = rig.complete_right()
    ninth.say("DIRECTOR-REMOVE\t127.0.1.7\t19001", "CONNECT\t127.0.1.7\t19001")

    assert director("127.0.1.9") == rig.dialled[-1].address
    assert not ninth.is_closed


def test_redirected_left_is_closed_without_disturbing_the_right() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("CONNECT\t127.0.1.9\t19001")
    dials = len(rig.dialled)
    rig.pass_time(1.1)

    assert left.is_closed
    assert not right.is_closed
    assert dials == len(rig.dialled)
