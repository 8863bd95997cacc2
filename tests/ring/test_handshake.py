"""What is said before two directors are neighbours: ring-protocol.md sections 2 and 7."""

from __future__ import annotations

import pytest

from ring import limits
from ring.codec import native
from ring.messages import NATIVE_MINOR, Hello
from tests.ring.rig import HOSTS, Rig, director, settings


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
    assert "director_hash" in rig.status_of("127.0.1.1")
    assert "director_hash" in str(rig.notes("link_broke_protocol")[0]["error"])


def test_native_peer_with_another_hash_is_refused_with_the_setting_to_change() -> None:
    rig = Rig(settings(minor=NATIVE_MINOR))
    right = rig.accept_dial()
    right.say(f"VERSION\tdirector\t1\t{NATIVE_MINOR}", "ME\t127.0.1.3\t19001\tNOW")
    rig.node.received(right.link_id, native.encode(Hello(director_hash="murmur3")), rig.now)
    rig.run()

    assert right.is_closed
    assert "director_hash = murmur3, expected md5" in rig.status_of("127.0.1.3")


def test_other_major_version_is_refused_in_words_the_peer_understands() -> None:
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    left.say("VERSION\tdirector\t2\t9")

    assert "QUIT\tInvalid input: VERSION" == left.heard()[-1]
    assert left.is_closed


# --- what each side says (section 7.1) ---


def test_accepting_side_greets_at_once_and_says_done_when_the_other_has() -> None:
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    assert ["VERSION\tdirector\t1\t9", "ME\t127.0.1.2\t19001\tNOW"] == left.heard()
    left.greet()
    assert [] == left.heard()
    left.say("DONE")

    assert ["DONE"] == left.heard()


def test_connecting_side_lists_directors_then_hosts_then_users_and_is_done() -> None:
    rig = Rig()
    right = rig.accept_dial()
    assert [
        "VERSION\tdirector\t1\t9",
        "ME\t127.0.1.2\t19001\tNOW",
        "DIRECTOR\t127.0.1.1\t19001",
        "DIRECTOR\t127.0.1.2\t19001",
        "DIRECTOR\t127.0.1.3\t19001",
    ] == right.heard()
    right.say("VERSION\tdirector\t1\t9")

    assert [
        "HOST-HAND-START\t0",
        *(f"HOST\t{ip}\t100\t\tU0\t" for ip in HOSTS),
        "HOST-HAND-END\t0",
        "OPTIONS\tconsistent-hashing",
        "DONE",
    ] == right.heard()


def test_removed_director_is_not_listed() -> None:
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    left.greet()
    left.say("DIRECTOR-REMOVE\t127.0.1.3\t19001")
    right = rig.accept_dial()

    assert director("127.0.1.1") == right.address
    assert "DIRECTOR\t127.0.1.3\t19001" not in right.heard()


def test_users_are_exported_with_their_times_and_weak_marks() -> None:
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    left.greet()
    left.say(
        "U\t5\t10.1.0.2\tNOW-7",
        "U\t6\t10.1.0.1\tNOW-8\tw",
        "U\t4000000000\t10.1.0.3\tNOW-9",
    )
    right = rig.accept_dial()
    right.greet()
    users = [line for line in right.heard() if line.startswith("U\t")]

    assert [
        "U\t5\t10.1.0.2\tNOW-7",
        "U\t6\t10.1.0.1\tNOW-8\tw",
        rig.unfill(rig.fill("U\t4000000000\t10.1.0.3\tNOW-9")),
    ] == users


def test_shard_is_exported_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STEP_USERS_MAX", 2)
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    left.greet()
    left.say(*(f"U\t{user_hash}\t10.1.0.2\tNOW-7" for user_hash in range(1, 6)))
    right = rig.accept_dial()
    right.greet()

    assert [f"U\t{user_hash}\t10.1.0.2\tNOW-7" for user_hash in range(1, 6)] == [
        line for line in right.heard() if line.startswith("U\t")
    ]


def test_peer_without_consistent_hashing_is_refused() -> None:
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    left.greet()
    left.say("OPTIONS\tother-things")

    assert "QUIT\tInvalid input: OPTIONS" == left.heard()[-1]


def test_unknown_options_are_ignored() -> None:
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    left.greet()
    left.say("OPTIONS\tother-things\tconsistent-hashing")

    assert not left.is_closed


def test_native_peer_with_the_same_hash_is_welcome() -> None:
    rig = Rig(settings(minor=NATIVE_MINOR))
    right = rig.accept_dial()
    right.say(f"VERSION\tdirector\t1\t{NATIVE_MINOR}", "ME\t127.0.1.3\t19001\tNOW")
    rig.node.received(right.link_id, native.encode(Hello(director_hash="md5")), rig.now)

    assert not right.is_closed
