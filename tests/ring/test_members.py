"""Neighbours: dialling, greeting, placing, verifying, losing (ring-protocol.md 7, 10, 12 to 14)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ring import limits
from ring.codec import native
from ring.effects import Dial, Hangup
from ring.messages import NATIVE_MINOR, Done, Hello
from tests.ring.rig import NOW, Peer, Rig, director, settings

FIVE = ("127.0.1.1", "127.0.1.3", "127.0.1.7", "127.0.1.9")


def roles(rig: Rig) -> dict[str, str]:
    return {
        entry.role: str(entry.address)
        for entry in rig.node.directors_status(rig.now)
        if entry.role in ("left", "right")
    }


def status_of(rig: Rig, address: str) -> str:
    wanted = director(address)
    return next(e.status for e in rig.node.directors_status(rig.now) if e.address == wanted)


def keep_alive(rig: Rig, seconds: int, *peers: Peer) -> None:
    for _ in range(seconds):
        rig.pass_time(1)
        for peer in peers:
            peer.say("PONG", "PING")


# --- dialling ---


def test_nearest_director_clockwise_is_dialled_and_the_next_if_it_refuses() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    for expected in ("127.0.1.7", "127.0.1.9", "127.0.1.1", "127.0.1.3"):
        assert director(expected) == rig.dialled[-1].address
        rig.refuse_dial()
    rig.pass_time(1.1)

    assert director("127.0.1.7") == rig.dialled[-1].address


def test_dial_that_nobody_answers_is_given_up_after_ten_seconds() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
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


def test_unknown_source_is_refused() -> None:
    rig = Rig()

    assert rig.node.link_accepted(ip_address("127.0.1.200"), rig.now) is None


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
    serve_alone(rig)
    rig.pass_time(30.1)
    assert director("127.0.1.3") == rig.dialled[-1].address
    rig.refuse_dial()

    assert rig.node.is_synced
    assert [] == rig.notes("ring_desynced")


def serve_alone(rig: Rig) -> None:
    """Refuse every dial until the node gives up."""
    while not rig.node.is_synced:
        for peer in rig.dialled:
            rig.node.link_failed(peer.link_id, "connection refused", rig.now)
        rig.dialled.clear()
        rig.pass_time(0.5)


# --- versions ---


def test_right_neighbour_older_than_consistent_hashing_is_refused_silently() -> None:
    rig = Rig()
    right = rig.accept_dial()
    right.heard()
    right.say("VERSION\tdirector\t1\t4")

    assert [] == right.heard()
    assert right.is_closed
    assert director("127.0.1.1") == rig.dialled[-1].address


def test_peer_without_tags_is_refused_once_a_host_has_one() -> None:
    rig = Rig()
    left, _ = rig.ring()
    left.say("HOST\t127.0.1.1\t19001\t1\t10.1.0.9\t1\tfast\tU0\t")
    old = rig.dial_in("127.0.1.3")
    old.say("VERSION\tdirector\t1\t6")

    assert old.is_closed


def test_classic_peer_is_refused_without_a_word_while_murmur3_is_set() -> None:
    """A QUIT would make a real director dial again at once; a closed socket holds it off."""
    rig = Rig(settings(minor=NATIVE_MINOR, director_hash="murmur3"))
    left = rig.dial_in("127.0.1.1")
    left.heard()
    left.say("VERSION\tdirector\t1\t9")

    assert left.is_closed
    assert [] == left.heard()
    assert "director_hash" in status_of(rig, "127.0.1.1")
    assert "director_hash" in str(rig.notes("link_broke_protocol")[0]["error"])


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
    assert "murmur3" in status_of(rig, "127.0.1.3")


def test_director_in_service_goes_on_when_one_with_another_hash_knocks() -> None:
    rig = Rig(settings(others=("127.0.1.3",), minor=NATIVE_MINOR, director_hash="murmur3"))
    serve_alone(rig)
    rig.dial_in("127.0.1.3").say("VERSION\tdirector\t1\t9")
    rig.pass_time(1)

    assert rig.node.is_synced


def test_native_peer_with_another_hash_is_refused_with_the_setting_to_change() -> None:
    rig = Rig(settings(minor=NATIVE_MINOR))
    right = rig.accept_dial()
    right.say(f"VERSION\tdirector\t1\t{NATIVE_MINOR}", "ME\t127.0.1.3\t19001\tNOW")
    rig.node.received(right.link_id, native.encode(Hello(director_hash="murmur3")), rig.now)
    rig.run()

    assert right.is_closed
    assert "director_hash = murmur3, expected md5" in status_of(rig, "127.0.1.3")


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
    assert "127.0.1.6:19001" == roles(rig)["right"]
    seventh.greet()
    seventh.say("DONE")

    assert seventh.is_closed
    assert "QUIT\tInvalid input: DONE" == seventh.heard()[-1]


def test_preferred_right_is_tried_again_every_thirty_seconds_and_replaces_the_farther() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    rig.refuse_dial()
    ninth = rig.complete_right()
    left = rig.dial_in("127.0.1.3")
    left.shake()
    rig.sync(left, ninth)
    keep_alive(rig, 29, left, ninth)
    assert director("127.0.1.9") == rig.dialled[-1].address
    keep_alive(rig, 2, left, ninth)
    assert director("127.0.1.7") == rig.dialled[-1].address
    rig.refuse_dial()
    keep_alive(rig, 31, left, ninth)
    seventh = rig.complete_right()

    assert ninth.is_closed
    assert "Replacing with 127.0.1.7:19001/out" in ninth.heard()[-1]
    assert "127.0.1.7:19001" == roles(rig)["right"]
    assert not seventh.is_closed


def test_waiting_left_is_promoted_when_the_left_is_lost() -> None:
    rig = Rig(settings("127.0.1.5", FIVE))
    right = rig.complete_right()
    old = rig.dial_in("127.0.1.1")
    old.shake()
    rig.sync(old, right)
    new = rig.dial_in("127.0.1.3")
    new.shake()
    assert "127.0.1.1:19001" == roles(rig)["left"]
    rig.hang_up(old)

    assert "127.0.1.3:19001" == roles(rig)["left"]


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
    assert "left" not in roles(rig)
    rig.hang_up(again)

    assert "127.0.1.3:19001" == roles(rig)["left"]


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
    assert "NONSENSE" in status_of(rig, "127.0.1.1")


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

    assert "127.0.1.3:19001" == roles(rig)["left"]


# --- signs of life ---


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


def test_silent_neighbour_is_not_dialled_again_for_a_minute() -> None:
    rig = Rig()
    left, right = rig.ring()
    for _ in range(47):
        rig.pass_time(1)
        left.say("PING", "PONG")

    assert right.is_closed
    assert director("127.0.1.1") == rig.dialled[-1].address


def test_native_neighbour_is_dead_after_three_silent_seconds() -> None:
    rig = Rig(settings(minor=NATIVE_MINOR))
    right = rig.accept_dial()
    right.say(f"VERSION\tdirector\t1\t{NATIVE_MINOR}", "ME\t127.0.1.3\t19001\tNOW")
    rig.node.received(right.link_id, native.encode(Hello(director_hash="md5")), rig.now)
    rig.node.received(right.link_id, native.encode(Done()), rig.now)
    rig.run()
    assert "right" in roles(rig)
    rig.pass_time(2.9)
    assert not right.is_closed
    rig.pass_time(0.3)

    assert right.is_closed


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


# --- the end ---


def test_lost_neighbour_that_was_up_for_long_is_dialled_again_at_once() -> None:
    rig = Rig()
    left, right = rig.ring()
    keep_alive(rig, 41, left, right)
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
    keep_alive(rig, 31, left, right)

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
