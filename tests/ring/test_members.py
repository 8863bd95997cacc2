"""Neighbours: dialling, greeting, placing, verifying, losing (ring-protocol.md 7, 10, 12 to 14)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ring import limits
from ring.commands import DirectorAdd, DirectorRemove
from ring.effects import Dial, Hangup
from ring.messages import NATIVE_MINOR
from tests.ring.rig import NOW, Rig, alone, director, settings

FIVE = ("127.0.1.1", "127.0.1.3", "127.0.1.7", "127.0.1.9")


# --- dialling ---


def test_nearest_director_clockwise_is_dialled_and_the_next_if_it_refuses() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    for expected in ("127.0.1.7", "127.0.1.9", "127.0.1.1", "127.0.1.3"):
        assert director(expected) == rig.dialled[-1].address
        rig.refuse_dial()
    rig.pass_time(1.1)

    assert director("127.0.1.7") == rig.dialled[-1].address


def test_unknown_source_is_refused() -> None:
    rig = Rig()

    assert rig.node.link_accepted(ip_address("127.0.1.200"), rig.now) is None
    rig.run()
    assert [{"source": ip_address("127.0.1.200")}] == rig.notes("link_refused")


def test_one_link_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINKS_MAX", 2)
    rig = Rig()
    rig.dial_in("127.0.1.1")

    assert rig.node.link_accepted(ip_address("127.0.1.1"), rig.now) is None


@pytest.mark.parametrize(
    "line", ["DIRECTOR\t127.0.1.200\t1", "CONNECT\t127.0.1.200\t1", "ME\t127.0.1.200\t1"]
)
def test_one_director_too_many_costs_the_link(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    monkeypatch.setattr(limits, "DIRECTORS_MAX", 3)
    left = rig.dial_in("127.0.1.1")
    if line.startswith("ME"):
        left.say("VERSION\tdirector\t1\t9", line)
    else:
        left.greet()
        left.say(line)

    assert left.is_closed
    assert "one director more than 3" in str(rig.notes("link_broke_protocol")[0]["error"])


def test_known_director_is_welcome_though_no_other_could_be_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "DIRECTORS_MAX", 3)
    rig = Rig()
    rig.dial_in("127.0.1.1").greet()

    assert [] == rig.notes("link_broke_protocol")


def test_peer_that_answers_with_another_name_is_tried_again_only_after_a_second() -> None:
    rig = Rig(settings(others=("127.0.1.3",)))
    right = rig.accept_dial()
    right.say("VERSION\tdirector\t1\t9", "ME\t127.0.1.4\t19001\tNOW")
    assert right.is_closed
    assert 1 == len(rig.dialled)
    rig.pass_time(1.1)

    assert 2 == len(rig.dialled)


def test_peer_that_quits_is_tried_again_only_after_a_second() -> None:
    rig = Rig(settings(others=("127.0.1.3",)))
    right = rig.accept_dial()
    right.greet()
    right.say("QUIT\tsome reason")
    assert 1 == len(rig.dialled)
    rig.pass_time(1.1)

    assert 2 == len(rig.dialled)


def test_peer_that_shuts_down_is_not_dialled_while_its_listener_may_be_open() -> None:
    rig = Rig()
    _, right = rig.ring()
    right.say("QUIT\tShutting down")

    assert director("127.0.1.1") == rig.dialled[-1].address


def test_connecting_to_ourselves_is_noticed_at_done() -> None:
    rig = Rig(settings("127.0.1.2", ("127.0.1.3",)))
    left = rig.dial_in("127.0.1.3")
    left.say("VERSION\tdirector\t1\t9", "ME\t127.0.1.2\t19001\tNOW", "DONE")

    assert "QUIT\tInvalid input: DONE" == left.heard()[-1]
    assert left.is_closed


def test_lone_director_stays_synced_when_a_dial_fails() -> None:
    rig = Rig()
    rig.serve_alone()
    rig.pass_time(30.1)
    assert director("127.0.1.3") == rig.dialled[-1].address
    rig.refuse_dial()

    assert rig.node.is_synced
    assert [] == rig.notes("ring_desynced")


# --- versions ---


def test_director_that_was_refused_for_its_hash_never_serves_alone() -> None:
    rig = Rig(settings(others=("127.0.1.3",), minor=NATIVE_MINOR, director_hash="murmur3"))
    rig.node.lookup("login", 5, b"", rig.now)
    for _ in range(60):
        fresh = [p for p in rig.dialled if rig.node.link(p.link_id) is not None]
        for peer in fresh:
            rig.node.link_connected(peer.link_id, rig.now)
            peer.say("VERSION\tdirector\t1\t9")
        rig.pass_time(1)

    assert not rig.node.is_synced
    assert "murmur3" in rig.status_of("127.0.1.3")


def test_director_in_service_goes_on_when_one_with_another_hash_knocks() -> None:
    rig = Rig(settings(others=("127.0.1.3",), minor=NATIVE_MINOR, director_hash="murmur3"))
    rig.serve_alone()
    rig.dial_in("127.0.1.3").say("VERSION\tdirector\t1\t9")
    rig.pass_time(1)

    assert rig.node.is_synced


def test_clock_that_differs_by_more_than_a_second_is_noted() -> None:
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    left.say("VERSION\tdirector\t1\t9", f"ME\t127.0.1.1\t19001\t{NOW - 5}")

    assert -5 == rig.notes("clock_skew_seen")[0]["skew_s"]


# --- places ---


def test_farther_right_that_finishes_late_is_dropped() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    seventh = rig.accept_dial()
    rig.dial_in("127.0.1.3").greet()
    left = rig.dial_in("127.0.1.1")
    left.greet()
    left.say("CONNECT\t127.0.1.6\t19001")  # no right yet, so it is dialled beside .7
    sixth = rig.dialled[-1]
    assert director("127.0.1.6") == sixth.address
    rig.node.link_connected(sixth.link_id, rig.now)
    sixth.greet()
    sixth.say("DONE")
    assert "127.0.1.6:19001" == rig.roles()["right"]
    seventh.greet()
    seventh.say("DONE")

    assert seventh.is_closed
    assert "QUIT\tInvalid input: DONE" == seventh.heard()[-1]
    assert 1 == len(rig.notes("right_neighbour_kept"))


def test_preferred_right_is_tried_again_every_thirty_seconds_and_replaces_the_farther() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    rig.refuse_dial()
    ninth = rig.complete_right()
    left = rig.dial_in("127.0.1.3")
    left.shake()
    rig.sync(left, ninth)
    rig.keep_alive(29, left, ninth)
    assert director("127.0.1.9") == rig.dialled[-1].address
    rig.keep_alive(2, left, ninth)
    assert director("127.0.1.7") == rig.dialled[-1].address
    rig.refuse_dial()
    rig.keep_alive(31, left, ninth)
    seventh = rig.complete_right()

    assert ninth.is_closed
    assert "QUIT\tReplacing with 127.0.1.7:19001" == ninth.heard()[-1]
    assert "127.0.1.7:19001" == rig.roles()["right"]
    assert not seventh.is_closed


def test_waiting_left_is_promoted_when_the_left_is_lost() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    right = rig.complete_right()
    old = rig.dial_in("127.0.1.1")
    old.shake()
    rig.sync(old, right)
    new = rig.dial_in("127.0.1.3")
    new.shake()
    assert "127.0.1.1:19001" == rig.roles()["left"]
    rig.hang_up(old)

    assert "127.0.1.3:19001" == rig.roles()["left"]


def test_waiting_left_is_promoted_when_the_left_fails_to_replace_its_connection() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    right = rig.complete_right()
    old = rig.dial_in("127.0.1.1")
    old.shake()
    rig.sync(old, right)
    waiting = rig.dial_in("127.0.1.3")
    waiting.shake()
    again = rig.dial_in("127.0.1.1")
    again.greet()
    assert "left" not in rig.roles()
    rig.hang_up(again)

    assert "127.0.1.3:19001" == rig.roles()["left"]


def test_connect_from_an_unfinished_right_is_obeyed_and_the_link_closed() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    seventh = rig.accept_dial()
    seventh.greet()
    seventh.say("CONNECT\t127.0.1.6\t19001")

    assert "QUIT\tCONNECT requested" == seventh.heard()[-1]
    assert seventh.is_closed
    assert director("127.0.1.6") == rig.dialled[-1].address


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


def test_farther_left_that_finishes_is_redirected_to_the_left() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    right = rig.complete_right()
    left = rig.dial_in("127.0.1.3")
    left.shake()
    rig.sync(left, right)
    late = rig.dial_in("127.0.1.1")
    late.greet()
    left.say("PONG")
    assert "CONNECT\t127.0.1.3\t19001" == late.heard()[-1]
    late.say("DONE")
    rig.hang_up(late)

    assert "127.0.1.3:19001" == rig.roles()["left"]


def test_silent_neighbour_is_not_dialled_again_for_a_minute() -> None:
    rig = Rig()
    left, right = rig.ring()
    for _ in range(47):
        rig.pass_time(1)
        left.say("PING", "PONG")

    assert right.is_closed
    assert director("127.0.1.1") == rig.dialled[-1].address


def test_left_that_connects_twice_has_its_older_connection_replaced() -> None:
    rig = Rig()
    first, second = rig.dial_in("127.0.1.1"), rig.dial_in("127.0.1.1")
    first.greet()
    second.greet()
    first.say("DONE")
    second.say("DONE")

    assert first.is_closed
    assert "QUIT\tReplacing with 127.0.1.1:19001" == first.heard()[-1]
    assert "127.0.1.1:19001" == rig.roles()["left"]


def test_left_that_connects_again_is_told_so_on_its_old_connection() -> None:
    rig = Rig()
    left, _ = rig.ring()
    rig.dial_in("127.0.1.1").greet()

    assert ["QUIT\tReplacing with new incoming connection"] == left.heard()


def test_nearer_left_is_announced_to_the_left_and_takes_its_place_when_it_leaves() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    right = rig.complete_right()
    old = rig.dial_in("127.0.1.1")
    old.shake()
    rig.sync(old, right)
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


def test_peer_held_off_is_left_alone_by_a_director_that_has_a_right_neighbour() -> None:
    rig = Rig()
    left, _ = rig.ring()
    left.say("NONSENSE")
    dials = len(rig.dialled)
    rig.dial_in("127.0.1.1").greet()

    assert dials == len(rig.dialled)


def test_director_alone_hangs_up_on_its_left() -> None:
    """It could not be reached, so what connects from there cannot be a ring."""
    rig = Rig()
    rig.serve_alone()
    left = rig.dial_in("127.0.1.3")
    left.shake()
    rig.refuse_dial()
    while not left.is_closed:
        rig.pass_time(1)
        left.say("PING", "PONG")

    assert "QUIT\tThis connection is dead?" == left.heard()[-1]
    assert rig.node.is_synced


def test_director_without_others_is_complete_at_once() -> None:
    rig = alone()

    assert rig.node.is_synced
    assert [] == rig.notes("ring_left_alone")


# --- connect (section 10.5) ---


def test_nearer_right_is_dialled_and_the_old_one_left() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    rig.refuse_dial()
    ninth = rig.complete_right()
    ninth.say("CONNECT\t127.0.1.7\t19001")

    assert "QUIT\tCONNECT requested" == ninth.heard()[-1]
    assert ninth.is_closed
    assert director("127.0.1.7") == rig.dialled[-1].address


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


# --- adding and removing ---


def test_director_is_learned_of_and_passed_on_unless_it_should_be_our_right() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("DIRECTOR\t127.0.1.9\t19001", "DIRECTOR\t127.0.1.2\t19002")

    assert ["DIRECTOR\t127.0.1.9\t19001"] == right.heard()
    assert [director("127.0.1.9"), director("127.0.1.2 19002")] == [
        note["director"] for note in rig.notes("director_added")
    ]


def test_news_of_ourselves_are_ignored() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("DIRECTOR\t127.0.1.2\t19001", "DIRECTOR-REMOVE\t127.0.1.2\t19001")

    assert [] == right.heard()


def test_director_heard_of_in_a_finished_ring_is_no_longer_held_off() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    rig.refuse_dial()
    ninth = rig.complete_right()
    left = rig.dial_in("127.0.1.3")
    left.shake()
    left.say("DIRECTOR\t127.0.1.7\t19001")
    rig.hang_up(ninth)

    assert director("127.0.1.7") == rig.dialled[-1].address


def test_administrator_adds_a_director_once() -> None:
    rig = Rig()
    left, right = rig.ring()
    rig.command(DirectorAdd(director("127.0.1.9")), "first")
    rig.command(DirectorAdd(director("127.0.1.9")), "second")

    assert ["DIRECTOR\t127.0.1.9\t19001"] == right.heard()
    assert ["DIRECTOR\t127.0.1.9\t19001"] == left.heard()


def test_removed_director_can_be_added_again() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("DIRECTOR\t127.0.1.9\t19001", "DIRECTOR-REMOVE\t127.0.1.9\t19001")
    left.say(next(line for line in right.heard() if line.startswith("SYNC")))
    rig.command(DirectorAdd(director("127.0.1.9")))

    assert rig.node.statistics().directors == 4
    assert "DIRECTOR\t127.0.1.9\t19001" in right.heard()


def test_lone_director_dials_whom_it_is_given() -> None:
    rig = alone()
    rig.command(DirectorAdd(director("127.0.1.9")))

    assert [director("127.0.1.9")] == [peer.address for peer in rig.dialled]


def test_removed_right_is_left_and_the_next_dialled() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    seventh = rig.complete_right()
    left = rig.dial_in("127.0.1.3")
    left.shake()
    left.say("DIRECTOR-REMOVE\t127.0.1.7\t19001")

    assert "QUIT\tRemoving from ring" == seventh.heard()[-1]
    assert director("127.0.1.9") == rig.dialled[-1].address
    assert [director("127.0.1.7")] == [n["director"] for n in rig.notes("director_removed")]


def test_administrator_can_make_the_others_leave_us() -> None:
    rig = Rig()
    left, right = rig.ring()
    rig.command(DirectorRemove(ip=ip_address("127.0.1.2"), port=None))

    assert "DIRECTOR-REMOVE\t127.0.1.2\t19001" == right.heard()[0]
    assert ["DIRECTOR-REMOVE\t127.0.1.2\t19001"] == left.heard()
    assert rig.node.statistics().directors == 3


# --- the end ---


def test_right_that_is_missing_is_looked_for_again_when_nobody_else_does() -> None:
    """A reconnect timer is cancelled by a synced ring, or its dial was to an ended link."""
    rig = Rig()
    left, right = rig.ring()
    rig.node._state.timers.cancel("preferred")
    right.say("CONNECT\t127.0.1.9\t19001")  # wrong: it leaves in a second
    rig.hang_up(left)
    rig.pass_time(1.1)
    while rig.node.statistics().links:
        rig.refuse_dial()
    rig.node._state.timers.cancel("reconnect")
    rig.pass_time(5)

    assert rig.node.statistics().links == 1


def test_preferred_right_that_is_being_dialled_already_is_not_dialled_twice() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    rig.refuse_dial()
    ninth = rig.complete_right()
    left = rig.dial_in("127.0.1.3")
    left.shake()
    rig.sync(left, ninth)
    rig.keep_alive(31, left, ninth)
    assert director("127.0.1.7") == rig.dialled[-1].address
    rig.accept_dial().greet()
    dials = len(rig.dialled)
    rig.keep_alive(28, left, ninth)
    rig.dialled[-1].say("PING")
    rig.keep_alive(8, left, ninth)

    assert dials == len(rig.dialled)


def test_caller_that_vanishes_before_its_name_leaves_no_trace() -> None:
    rig = Rig()
    rig.hang_up(rig.dial_in("127.0.1.1"))

    assert ["EOF"] == [note["reason"] for note in rig.notes("link_lost")]
    assert [0] * 3 == [entry.last_failed for entry in rig.node.directors_status(rig.now)]


def test_left_that_breaks_the_protocol_costs_nothing_but_its_link() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("NONSENSE")

    assert left.is_closed
    assert not right.is_closed
    assert 1 == len(rig.dialled)


def test_lost_neighbour_that_was_up_for_long_is_dialled_again_at_once() -> None:
    rig = Rig()
    left, right = rig.ring()
    rig.keep_alive(41, left, right)
    rig.hang_up(right)

    assert director("127.0.1.3") == rig.dialled[-1].address
    assert 2 == len(rig.dialled)


def test_lost_young_neighbour_is_held_off_for_a_minute() -> None:
    rig = Rig()
    _, right = rig.ring()
    rig.hang_up(right)

    assert director("127.0.1.1") == rig.dialled[-1].address


def test_peer_that_reads_too_slowly_is_dropped() -> None:
    rig = Rig(settings(output_buffer_bytes=2000))
    left, right = rig.ring()
    left.is_stuck = True
    right.say(*(f"USER\t{user_hash}\t10.1.0.1\tNOW" for user_hash in range(1, 101)))

    assert left.is_closed
    assert ["output buffer full"] == [n["reason"] for n in rig.notes("link_lost")]


def test_clean_stop_says_goodbye_and_dials_nobody() -> None:
    rig = Rig()
    left, right = rig.ring()
    dials = len(rig.dialled)
    rig.node.shut_down(rig.now)
    rig.run()

    assert ["QUIT\tShutting down"] == left.heard()
    assert ["QUIT\tShutting down"] == right.heard()
    assert dials == len(rig.dialled)


def test_bytes_and_news_of_a_closed_link_are_ignored() -> None:
    rig = Rig()
    left, _ = rig.ring()
    rig.hang_up(left)
    rig.node.drain()
    rig.node.received(left.link_id, b"FOO\n", rig.now)
    rig.node.link_lost(left.link_id, "EOF", rig.now)
    rig.node.link_connected(left.link_id, rig.now)

    assert [] == [e for e in rig.node.drain() if isinstance(e, Dial | Hangup)]


def test_removed_director_is_forgotten_after_thirty_seconds_unsynced() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("DIRECTOR\t127.0.1.9\t19001", "DIRECTOR-REMOVE\t127.0.1.9\t19001")
    assert 4 == rig.node.statistics().directors
    rig.keep_alive(31, left, right)

    assert 3 == rig.node.statistics().directors


def test_known_director_is_announced_so_often_and_again_after_it_was_heard_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or the news of it would go round for ever where links form a circle without it."""
    monkeypatch.setattr(limits, "DIRECTOR_COPIES_MAX", 3)
    rig = Rig()
    left, right = rig.ring()
    line = "DIRECTOR\t127.0.1.9\t19001"
    left.say(line, line, line, line, line)
    assert [line] * 3 == right.heard()
    kick = "USER-KICK\t127.0.1.9\t19001\t1\tbob"
    left.say(kick, line)

    assert [kick, line] == right.heard()


def test_removed_director_is_not_announced_back() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("DIRECTOR\t127.0.1.9\t19001", "DIRECTOR-REMOVE\t127.0.1.9\t19001")
    right.heard()
    left.say("DIRECTOR\t127.0.1.9\t19001", "DIRECTOR-REMOVE\t127.0.1.9\t19001")

    assert [] == right.heard()


def test_news_of_directors_count_before_the_ring_is_whole() -> None:
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    left.greet()
    other = rig.dial_in("127.0.1.3")
    other.greet()
    other.heard()
    left.say("DIRECTOR\t127.0.1.9\t19001")

    assert ["DIRECTOR\t127.0.1.9\t19001"] == other.heard()


def test_handshake_that_gets_nowhere_is_given_up_but_not_while_the_peer_reads() -> None:
    rig = Rig(settings(others=("127.0.1.3",)))
    rig.serve_alone()
    for user_hash in range(1, 4001):
        rig.place(user_hash, "10.1.0.1")
    rig.dial_in("127.0.1.3").greet()
    right = rig.dialled[-1]
    right.is_stuck = True
    rig.node.link_connected(right.link_id, rig.now)
    right.greet()
    link = rig.node.link(right.link_id)
    assert link is not None
    link.take_output(1000, int(rig.wall))
    rig.pass_time(31)
    assert not right.is_closed
    rig.pass_time(30)

    assert right.is_closed
    assert "Handshake timeout" in {note["reason"] for note in rig.notes("link_lost")}


def test_redirected_left_is_closed_without_disturbing_the_right() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("CONNECT\t127.0.1.9\t19001")
    dials = len(rig.dialled)
    rig.pass_time(1.1)

    assert left.is_closed
    assert not right.is_closed
    assert dials == len(rig.dialled)


def test_preferred_right_is_tried_while_the_ring_is_unsynced_too() -> None:
    rig = Rig()
    left, _right = rig.ring()
    rig.command(DirectorAdd(director("127.0.1.2 19002")))
    left.say("HOST\t127.0.1.1\t19001\t1\t10.1.0.1\t50")
    rig.pass_time(1.1)

    assert director("127.0.1.2 19002") == rig.dialled[-1].address
