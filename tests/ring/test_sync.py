"""Is the ring of one mind: SYNC and what follows from it (ring-protocol.md section 11)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ring import limits
from ring.commands import HostSet
from ring.messages import NATIVE_MINOR, Pong
from tests.ring.rig import HOSTS, NOW, Rig, alone, director, settings

FIRST = ip_address(HOSTS[0])
CHANGE = f"HOST\t127.0.1.1\t19001\t1\t{HOSTS[0]}\t50\t\tU0\t"
TIME = 1_890_000_000
"""Of the SYNCs said here; far from the node's clock, so that it is shown as it is."""


def sync_in(lines: list[str]) -> str:
    return next(line for line in lines if line.startswith("SYNC"))


def foreign(sequence: int, timestamp: int = TIME, hosts_hash: str = "HH") -> str:
    return f"SYNC\t127.0.1.1\t19001\t{sequence}\t9\t{timestamp}\t{hosts_hash}"


# --- our own SYNC ---


def test_lone_director_needs_nobody_to_agree() -> None:
    rig = alone()
    rig.command(HostSet(ip=FIRST, tag=b"", weight=5))

    assert rig.node.is_synced
    assert not rig.node.hosts.get(FIRST).is_desynced  # type: ignore[union-attr]


def test_change_starts_a_round_that_also_asks_both_neighbours_for_a_sign_of_life() -> None:
    rig = Rig()
    left, right = rig.ring()
    rig.command(HostSet(ip=FIRST, tag=b"", weight=5))

    assert not rig.node.is_synced
    assert ["HOST", "SYNC", "PING"] == [line.split("\t")[0] for line in right.heard(pings=True)]
    assert ["HOST", "PING"] == [line.split("\t")[0] for line in left.heard(pings=True)]
    assert [{"sequence": rig.node._state.sync_sequence}] == rig.notes("ring_desynced")


def test_changes_of_one_read_take_one_round() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say(CHANGE, f"HOST-FLUSH\t127.0.1.1\t19001\t2\t{HOSTS[1]}")

    assert ["HOST", "HOST-FLUSH", "SYNC"] == [line.split("\t")[0] for line in right.heard()]


def test_change_without_a_right_neighbour_waits_for_one_with_its_round() -> None:
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    left.shake()
    left.say(CHANGE)
    right = rig.complete_right()

    assert f"SYNC\t127.0.1.2\t19001\t{rig.node._state.sync_sequence}\t9\tNOW\tHH" in right.heard()


def test_returned_round_makes_the_ring_synced() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say(CHANGE)
    rig.pass_time(0.5)
    left.say(sync_in(right.heard()))

    assert rig.node.is_synced
    assert 0.5 == rig.notes("ring_synced")[-1]["after_s"]
    assert not rig.node.hosts.get(FIRST).is_desynced  # type: ignore[union-attr]


def test_second_copy_of_a_returned_round_changes_nothing() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say(CHANGE)
    line = sync_in(right.heard())
    left.say(line, line)

    assert 2 == len(rig.notes("ring_synced"))


def test_round_of_an_earlier_change_is_ignored() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say(CHANGE)
    first = sync_in(right.heard())
    left.say(f"HOST-FLUSH\t127.0.1.1\t19001\t2\t{HOSTS[1]}")
    left.say(first)

    assert not rig.node.is_synced


def test_round_that_returns_with_other_hosts_is_sent_again() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say(CHANGE)
    line = sync_in(right.heard())
    left.say(line.replace("HH", "4711"))

    assert [line] == right.heard()
    assert [4711] == [note["got"] for note in rig.notes("sync_hosts_changed")]


def test_our_round_is_ignored_while_a_neighbour_is_missing() -> None:
    """The original aborts on it (section 16, hazard 1)."""
    rig = Rig()
    right = rig.complete_right()
    left = rig.dial_in("127.0.1.1")
    left.greet()
    left.say(f"SYNC\t127.0.1.2\t19001\t{rig.node._state.sync_sequence}\t9\tNOW\tHH")

    assert not rig.node.is_synced
    assert not right.is_closed


def test_round_is_sent_again_earlier_between_our_own_nodes() -> None:
    """While a ring forms, a SYNC is often lost with the link that it was on."""
    rig = Rig(settings(minor=NATIVE_MINOR))
    right, left = rig.accept_dial(), rig.dial_in("127.0.1.1")
    began_at, resent_at = rig.now, []
    for peer in (right, left):
        peer.shake_natively()
    for _ in range(30):
        before = len(rig.notes("sync_resent"))
        rig.pass_time(0.5)
        for peer in (right, left):
            peer.say_native(Pong(wall=NOW, unsent_bytes=0))
        if len(rig.notes("sync_resent")) > before:
            resent_at.append(rig.now - began_at)

    assert [1.5, 4.5, 9.5, 14.5] == resent_at


def test_round_is_sent_again_every_five_seconds_until_it_returns() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say(CHANGE)
    line = sync_in(right.heard())
    for _ in range(2):
        rig.keep_alive(4, left, right)
        assert [] == right.heard()
        rig.keep_alive(1, left, right)
        assert [line] == right.heard()
    assert 2 == len(rig.notes("sync_resent"))
    left.say(line)
    rig.keep_alive(6, left, right)
    assert [] == right.heard()


def test_nothing_is_sent_again_while_a_neighbour_is_missing() -> None:
    rig = Rig()
    left, right = rig.ring()
    rig.hang_up(left)
    rig.keep_alive(11, right)

    assert not rig.node.is_synced
    assert [] == right.heard()


def test_lowest_version_in_the_ring_is_learned_from_the_returned_round() -> None:
    rig = Rig(settings(minor=NATIVE_MINOR))
    right = rig.complete_right()
    left = rig.dial_in("127.0.1.1")
    left.shake()
    assert sync_in(right.heard()).split("\t")[4] == "9"  # all that a classic neighbour may see
    rig.sync(left, right)

    assert not rig.node.is_native_ring


# --- everybody else's SYNC (section 11.4) ---


def test_round_of_another_is_passed_on_to_the_right_only() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say(foreign(7))

    assert [foreign(7)] == right.heard()
    assert [] == left.heard()


def test_round_without_optional_fields_is_passed_on_as_it_is() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("SYNC\t127.0.1.1\t19001\t7")

    assert ["SYNC\t127.0.1.1\t19001\t7"] == right.heard()


def test_round_of_an_unknown_director_is_not_passed_on() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("SYNC\t127.0.1.77\t19001\t7\t9\tNOW\tHH")

    assert [] == right.heard()


def test_four_copies_of_a_round_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SYNC_COPIES_MAX", 4)
    rig = Rig()
    left, right = rig.ring()
    left.say(*[foreign(7)] * 6)

    assert [foreign(7)] * 4 == right.heard()


def test_newer_time_makes_a_copy_a_new_round() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say(*[foreign(7)] * 5, foreign(7, TIME + 1))

    assert [foreign(7)] * 4 + [foreign(7, TIME + 1)] == right.heard()


def test_lower_sequence_is_stale_unless_it_is_two_minutes_newer() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say(foreign(7), foreign(6, TIME + 119), foreign(5, TIME + 120))

    assert [foreign(7), foreign(5, TIME + 120)] == right.heard()
    assert [director("127.0.1.1")] == [
        note["director"] for note in rig.notes("sync_sequence_reset")
    ]


def test_two_rounds_in_a_row_with_the_same_wrong_hosts_make_us_tell_all_ours() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say(foreign(7, hosts_hash="4711"))
    assert [] == right.heard()
    left.say(foreign(8, hosts_hash="4712"))
    assert [] == right.heard()
    left.say(foreign(9, hosts_hash="4712"))

    assert [
        f"HOST\t127.0.1.2\t19001\t{n}\t{ip}\t100\t\tU0\t" for n, ip in enumerate(HOSTS, 1)
    ] == right.heard()
    assert [4712] == [note["its_hosts_hash"] for note in rig.notes("hosts_resent")]
    assert 3 == len(left.heard())


def test_hosts_told_in_vain_make_us_ask_for_those_that_we_lack() -> None:
    """We believe to be synced, so that nobody else hears that our list differs from theirs."""
    rig = Rig()
    left, right = rig.ring()
    left.say(*[foreign(7 + n, hosts_hash="4711") for n in range(2)])
    assert rig.node.is_synced
    right.heard()
    left.say(foreign(9, hosts_hash="4711"))

    assert not rig.node.is_synced
    assert f"SYNC\t{rig.own_fields}" in right.heard()[-1]


def test_right_hosts_and_a_synced_ring_clear_the_first_strike() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say(foreign(7, hosts_hash="4711"), foreign(8), foreign(9, hosts_hash="4711"))
    assert [foreign(8)] == right.heard()
    left.say(CHANGE)
    left.say(sync_in(right.heard()), foreign(10, hosts_hash="4711"))

    assert [] == rig.notes("hosts_resent")


def test_round_that_comes_before_there_is_a_right_goes_out_when_there_is_one() -> None:
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    left.shake()
    left.say(foreign(7), foreign(8))
    right = rig.complete_right()

    assert foreign(8) in right.heard()
    assert foreign(7) not in right.heard()


def test_round_of_another_is_passed_on_though_we_have_no_left() -> None:
    rig = Rig()
    right = rig.complete_right()
    right.heard()
    right.say(foreign(7))

    assert [foreign(7)] == right.heard()


def test_removed_director_is_forgotten_when_the_ring_is_synced() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("DIRECTOR\t127.0.1.9\t19001", "DIRECTOR-REMOVE\t127.0.1.9\t19001")
    assert rig.node.statistics().directors == 4
    left.say(sync_in(right.heard()))

    assert rig.node.statistics().directors == 3


def test_lone_director_that_fails_to_reach_anybody_again_stays_as_it_is() -> None:
    rig = Rig()
    rig.serve_alone()
    rig.pass_time(30.1)
    rig.refuse_dial()

    assert 1 == len(rig.notes("ring_synced"))
    assert 1 == len(rig.notes("ring_left_alone"))


def test_news_of_directors_make_us_repeat_our_round_once_a_second() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say(CHANGE)
    ours = sync_in(right.heard())
    left.say("DIRECTOR\t127.0.1.9\t19001", foreign(7))
    assert ["DIRECTOR\t127.0.1.9\t19001", foreign(7), ours] == right.heard()
    left.say("DIRECTOR\t127.0.1.9\t19001", foreign(8))
    assert ours not in right.heard()
    rig.pass_time(1)
    left.say(foreign(9))

    assert ours in right.heard()


def test_news_of_directors_change_nothing_in_a_synced_ring() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("DIRECTOR\t127.0.1.9\t19001", foreign(7))

    assert ["DIRECTOR\t127.0.1.9\t19001", foreign(7)] == right.heard()


def test_restarted_director_of_ours_counts_its_rounds_on() -> None:
    """A SYNC of its former life may still be under way, and must not look newer."""
    assert NOW <= Rig(settings(minor=NATIVE_MINOR)).node._state.sync_sequence
    assert Rig(settings()).node._state.sync_sequence < NOW
