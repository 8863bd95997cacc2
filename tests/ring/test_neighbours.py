"""Links and neighbours: dialling, electing, losing (ring-protocol.md 7, 10, 12, 13)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ring import limits
from ring.commands import DirectorAdd
from ring.effects import Dial, Hangup
from ring.messages import NATIVE_MINOR, Director, Quit
from tests.ring.rig import FIVE, Peer, Rig, alone, director, settings, wide_ring

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


def test_lone_director_stays_synced_when_a_dial_fails() -> None:
    rig = Rig()
    rig.serve_alone()
    rig.pass_time(30.1)
    assert director("127.0.1.3") == rig.dialled[-1].address
    rig.refuse_dial()

    assert rig.node.is_synced
    assert [] == rig.notes("ring_desynced")


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


def test_director_without_others_is_complete_at_once() -> None:
    rig = alone()

    assert rig.node.is_synced
    assert [] == rig.notes("ring_left_alone")


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


def test_dial_that_nobody_answers_is_given_up_after_ten_seconds() -> None:
    rig = Rig()
    rig.pass_time(9.9)
    assert 1 == len(rig.dialled)
    rig.pass_time(0.2)

    assert rig.dialled[0].is_closed
    assert ["connect timed out"] == [note["reason"] for note in rig.notes("link_lost")]
    assert director("127.0.1.1") == rig.dialled[-1].address


def test_preferred_right_is_tried_again_every_thirty_seconds_and_replaces_the_farther() -> None:
    rig, left, ninth = wide_ring("127.0.1.3")
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


def test_right_that_is_there_is_kept_while_the_ring_disagrees() -> None:
    rig = Rig()
    left, _ = rig.ring()
    left.say("HOST\t127.0.1.1\t19001\t1\t10.1.0.1\t50")
    rig.pass_time(6)

    assert 1 == len(rig.dialled)
    assert "127.0.1.3:19001" == rig.roles()["right"]


def test_preferred_right_that_is_being_dialled_already_is_not_dialled_twice() -> None:
    rig, left, ninth = wide_ring("127.0.1.3")
    rig.keep_alive(31, left, ninth)
    assert director("127.0.1.7") == rig.dialled[-1].address
    rig.accept_dial().greet()
    dials = len(rig.dialled)
    rig.keep_alive(28, left, ninth)
    rig.dialled[-1].say("PING")
    rig.keep_alive(8, left, ninth)

    assert dials == len(rig.dialled)


def test_preferred_right_is_tried_while_the_ring_is_unsynced_too() -> None:
    rig = Rig()
    left, _right = rig.ring()
    rig.command(DirectorAdd(director("127.0.1.2 19002")))
    left.say("HOST\t127.0.1.1\t19001\t1\t10.1.0.1\t50")
    rig.pass_time(1.1)

    assert director("127.0.1.2 19002") == rig.dialled[-1].address


# --- between our own nodes, while a ring forms (DESIGN.md decision 27) ---


def native_five() -> tuple[Rig, Peer]:
    """Return 127.0.1.5 of six, that had to take 127.0.1.9 for its right neighbour, and that."""
    rig = Rig(settings("127.0.1.5", FIVE, minor=NATIVE_MINOR))
    while rig.dialled[-1].address != director("127.0.1.9"):
        rig.refuse_dial()
    right = rig.accept_dial()
    right.shake_natively()
    assert "127.0.1.9:19001" == rig.roles()["right"]
    return rig, right


def test_director_nearer_than_the_right_one_is_dialled_soon_after_news_of_it() -> None:
    rig, right = native_five()
    news = Director(director("127.0.1.7"))
    dials = len(rig.dialled)
    right.say_native(news, news)
    rig.pass_time(0.1, step=0.1)
    assert dials == len(rig.dialled)
    rig.pass_time(0.2, step=0.1)
    assert director("127.0.1.7") == rig.dialled[-1].address
    right.say_native(news)
    rig.pass_time(0.3, step=0.1)

    assert dials + 1 == len(rig.dialled)


@pytest.mark.parametrize("news", ["127.0.1.3", "127.0.1.9"])
def test_director_that_is_not_nearer_is_not_dialled(news: str) -> None:
    rig, right = native_five()
    dials = len(rig.dialled)
    right.say_native(Director(director(news)))
    rig.pass_time(0.3, step=0.1)

    assert dials == len(rig.dialled)


def test_nearer_director_that_refuses_again_leaves_the_right_one_where_it_is() -> None:
    rig, right = native_five()
    for _ in range(2):
        right.say_native(Director(director("127.0.1.7")))
        rig.pass_time(0.3, step=0.1)
        rig.refuse_dial()

    assert "127.0.1.9:19001" == rig.roles()["right"]


def test_nearer_director_is_looked_for_elsewhere_if_the_right_one_is_lost_meanwhile() -> None:
    rig, right = native_five()
    right.say_native(Director(director("127.0.1.7")))
    rig.hang_up(right)
    assert director("127.0.1.7") == rig.dialled[-1].address
    dials = len(rig.dialled)
    rig.pass_time(0.3, step=0.1)

    assert dials == len(rig.dialled)


def test_whoever_waits_to_be_the_left_is_sent_to_the_one_that_becomes_it() -> None:
    rig, _ = native_five()
    first, far, near = (rig.dial_in(f"127.0.1.{number}") for number in (1, 7, 3))
    for peer in (first, far, near):
        peer.shake_natively()
    assert "127.0.1.1:19001" == rig.roles()["left"]
    first.say_native(Quit("CONNECT requested"))
    link = rig.node.link(far.link_id)

    assert "127.0.1.3:19001" == rig.roles()["left"]
    assert link is not None
    assert link.is_leaving


# --- left and right ---


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


def test_waiting_left_is_promoted_when_the_left_is_lost() -> None:
    rig, old, _ = wide_ring("127.0.1.1", "127.0.1.7")
    new = rig.dial_in("127.0.1.3")
    new.shake()
    assert "127.0.1.1:19001" == rig.roles()["left"]
    rig.hang_up(old)

    assert "127.0.1.3:19001" == rig.roles()["left"]


def test_waiting_left_is_promoted_when_the_left_fails_to_replace_its_connection() -> None:
    rig, _, _ = wide_ring("127.0.1.1", "127.0.1.7")
    waiting = rig.dial_in("127.0.1.3")
    waiting.shake()
    again = rig.dial_in("127.0.1.1")
    again.greet()
    assert "left" not in rig.roles()
    rig.hang_up(again)

    assert "127.0.1.3:19001" == rig.roles()["left"]


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


# --- losing ---


def test_silent_neighbour_is_not_dialled_again_for_a_minute() -> None:
    rig = Rig()
    left, right = rig.ring()
    for _ in range(47):
        rig.pass_time(1)
        left.say("PING", "PONG")

    assert right.is_closed
    assert director("127.0.1.1") == rig.dialled[-1].address


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


def test_caller_that_vanishes_before_its_name_leaves_no_trace() -> None:
    rig = Rig()
    rig.hang_up(rig.dial_in("127.0.1.1"))

    assert ["EOF"] == [note["reason"] for note in rig.notes("link_lost")]
    assert [0] * 3 == [entry.last_failed for entry in rig.node.directors_status(rig.now)]


def test_caller_that_breaks_the_protocol_before_its_name_is_held_against_nobody() -> None:
    rig = Rig()
    nameless = rig.dial_in("127.0.1.1")
    nameless.say("VERSION\tdirector\t1\t9", "NONSENSE")
    again = rig.dial_in("127.0.1.1")
    again.greet()

    assert nameless.is_closed
    assert not again.is_closed


def test_right_that_sends_us_elsewhere_is_closed_only_once() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    rig.refuse_dial()
    ninth = rig.complete_right()
    ninth.say("CONNECT\t127.0.1.7\t19001")
    hangups = [e.link_id for e in rig.effects if isinstance(e, Hangup)]

    assert 1 == hangups.count(ninth.link_id)


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


def test_lost_young_neighbour_of_ours_is_dialled_again_a_second_after_the_last_time() -> None:
    rig, right = native_five()
    rig.hang_up(right)
    dials = len(rig.dialled)
    rig.pass_time(1.0)

    assert [director("127.0.1.9")] == [peer.address for peer in rig.dialled[dials:]]


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
