"""Who belongs to the ring, in dialogues (ring-protocol.md 8.10, 14)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ring import limits
from ring.commands import DirectorAdd, DirectorRemove
from tests.ring.rig import FIVE, Rig, alone, director, settings

# --- heard of ---


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


def test_news_of_directors_count_before_the_ring_is_whole() -> None:
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    left.greet()
    other = rig.dial_in("127.0.1.3")
    other.greet()
    other.heard()
    left.say("DIRECTOR\t127.0.1.9\t19001")

    assert ["DIRECTOR\t127.0.1.9\t19001"] == other.heard()


# --- added and removed ---


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


def test_removed_director_is_not_announced_back() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("DIRECTOR\t127.0.1.9\t19001", "DIRECTOR-REMOVE\t127.0.1.9\t19001")
    right.heard()
    left.say("DIRECTOR\t127.0.1.9\t19001", "DIRECTOR-REMOVE\t127.0.1.9\t19001")

    assert [] == right.heard()


def test_removed_director_is_forgotten_after_thirty_seconds_unsynced() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("DIRECTOR\t127.0.1.9\t19001", "DIRECTOR-REMOVE\t127.0.1.9\t19001")
    assert 4 == rig.node.statistics().directors
    rig.keep_alive(31, left, right)

    assert 3 == rig.node.statistics().directors


def test_administrator_can_make_the_others_leave_us() -> None:
    rig = Rig()
    left, right = rig.ring()
    rig.command(DirectorRemove(ip=ip_address("127.0.1.2"), port=None))

    assert "DIRECTOR-REMOVE\t127.0.1.2\t19001" == right.heard()[0]
    assert ["DIRECTOR-REMOVE\t127.0.1.2\t19001"] == left.heard()
    assert rig.node.statistics().directors == 3
