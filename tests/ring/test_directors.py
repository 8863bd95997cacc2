"""The list of directors: order, distances, what is remembered (ring-protocol.md 4.2, section 5)."""

from __future__ import annotations

from typing import Any

import pytest

from ring.address import DirectorAddress
from ring.directors import LASTING_SEQUENCE, Directors
from tests.ring.rig import director
from tests.ring.vectors import load

RINGS = load("ring_order.json")["rings"]
OTHERS = ("127.0.1.9", "127.0.1.1", "::1", "127.0.1.7", "127.0.1.3")


def directors() -> Directors:
    return Directors(director("127.0.1.5"), [director(other) for other in OTHERS])


def addresses(found: object) -> list[str]:
    return [str(entry.address) for entry in found]  # type: ignore[attr-defined]


def test_directors_stand_in_the_order_of_family_address_and_port() -> None:
    known = directors()
    known.find_or_add(director("127.0.1.7 80"))

    assert [
        "127.0.1.1:19001",
        "127.0.1.3:19001",
        "127.0.1.5:19001",
        "127.0.1.7:80",
        "127.0.1.7:19001",
        "127.0.1.9:19001",
        "[::1]:19001",
    ] == addresses(known)
    assert 7 == len(known)


def test_our_own_address_and_one_named_twice_are_one_entry() -> None:
    own = director("127.0.1.5")
    known = Directors(own, [own, director("127.0.1.7"), director("127.0.1.7")])

    assert 2 == len(known)
    assert known.own is known.find_or_add(own)


def test_clockwise_walk_begins_at_the_right_and_leaves_us_out() -> None:
    assert [
        "127.0.1.7:19001",
        "127.0.1.9:19001",
        "[::1]:19001",
        "127.0.1.1:19001",
        "127.0.1.3:19001",
    ] == addresses(directors().clockwise())


def test_distance_counts_clockwise_steps_and_is_largest_to_ourselves() -> None:
    known = directors()

    assert [1, 2, 3, 4, 5] == [known.distance(other) for other in known.clockwise()]
    assert 6 == known.distance(known.own)


def test_preferred_right_is_the_nearest_that_is_not_removed() -> None:
    known = directors()
    nearest, second, *_ = known.clockwise()
    nearest.is_removed = True

    assert second is known.preferred_right()


def test_director_whose_others_are_all_removed_prefers_nobody() -> None:
    """The original would find itself."""
    known = directors()
    for other in known.clockwise():
        other.is_removed = True

    assert known.preferred_right() is None


def test_caller_is_looked_up_by_address_whatever_its_port() -> None:
    known = directors()
    second = known.find_or_add(director("127.0.1.7 19002"))

    assert known.find(director("127.0.1.7")) is known.find_by_ip(second.address.ip)
    assert known.find_by_ip(director("127.0.1.200").ip) is None


def test_deleted_director_is_unknown() -> None:
    known = directors()
    entry = known.clockwise()[0]
    known.delete(entry)

    assert known.find(entry.address) is None
    assert 5 == len(known)


@pytest.mark.parametrize("ring", RINGS, ids=[ring["self"] for ring in RINGS])
def test_order_seen_from_a_director_is_the_recorded_one(ring: dict[str, Any]) -> None:
    known = Directors(director(ring["self"]), map(director, ring["clockwise"]))
    assert [director(other) for other in ring["clockwise"]] == [
        other.address for other in known.clockwise()
    ]
    for first, second, sign in ring["comparisons"]:
        difference = known.distance(known.find_or_add(director(second))) - known.distance(
            known.find_or_add(director(first))
        )

        assert sign == (difference > 0) - (difference < 0)


@pytest.mark.parametrize("kind", ["network_failed_at", "protocol_failed_at"])
def test_failure_holds_a_director_off_until_it_is_old_or_forgiven(kind: str) -> None:
    entry = directors().own
    assert not entry.has_failed_since(40.0)
    setattr(entry, kind, 50.0)
    assert entry.has_failed_since(49.0)
    assert not entry.has_failed_since(50.0)
    entry.forgive()

    assert not entry.has_failed_since(0.0)


@pytest.mark.parametrize(("sequence", "copies"), [(0, 3), (7, 0)])
def test_restarted_director_counts_from_one_and_is_news_again_if_it_had_counted(
    sequence: int, copies: int
) -> None:
    entry = Directors(DirectorAddress(ip=director("127.0.1.5").ip, port=1), []).own
    entry.last_sequence = sequence
    entry.announced_copies = 3
    entry.forget_sequences()

    assert (0, 0, copies) == (entry.last_sequence, entry.sync_sequence, entry.announced_copies)


def test_director_of_ours_counts_on_after_a_restart() -> None:
    entry = directors().own
    entry.last_sequence = LASTING_SEQUENCE
    entry.announced_copies = 3
    entry.forget_sequences()

    assert (LASTING_SEQUENCE, 3) == (entry.last_sequence, entry.announced_copies)
