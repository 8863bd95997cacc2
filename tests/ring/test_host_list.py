"""Changes of the mail hosts, ours and everybody's: ring-protocol.md 7.2, 7.3, 8.3 to 8.5."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ring import hosts as hosts_module
from ring import limits
from ring.commands import Answer, HostDown, HostFlush, HostRemove, HostSet, HostUp, HostUpdate
from ring.messages import NATIVE_MINOR
from tests.ring.rig import HOSTS, NOW, Peer, Rig, alone, settings

FIRST = ip_address(HOSTS[0])
UNKNOWN = ip_address("10.9.9.9")
USER = 700


def hosts(rig: Rig) -> dict[str, tuple[int, bool]]:
    return {str(host.ip): (host.weight, host.is_down) for host in rig.node.hosts}


def changed_at(rig: Rig) -> int:
    host = rig.node.hosts.get(FIRST)
    assert host is not None
    return host.changed_at


def first_host(rig: Rig) -> tuple[int, bool]:
    return hosts(rig)[HOSTS[0]]


def commands(lines: list[str]) -> list[str]:
    return [line.split("\t")[0] for line in lines]


def settle(left: Peer, right: Peer) -> None:
    """Let the node's SYNC come back, and forget what was said."""
    sync = next(line for line in reversed(right.heard()) if line.startswith("SYNC"))
    left.say(sync)
    left.heard()


# --- administrators ---


@pytest.mark.parametrize(
    ("command", "answer", "line"),
    [
        (HostSet(ip=FIRST, tag=b"", weight=5), Answer.OK, "10.1.0.1\t5\t\tU0\t"),
        (HostSet(ip=FIRST, tag=b"", weight=None), Answer.OK, "10.1.0.1\t100\t\tU0\t"),
        (HostSet(ip=UNKNOWN, tag=b"t", weight=None), Answer.OK, "10.9.9.9\t100\tt\tU0\t"),
        (HostSet(ip=UNKNOWN, tag=b"", weight=0), Answer.OK, "10.9.9.9\t0\t\tU0\t"),
        (HostUpdate(ip=FIRST, tag=b"", weight=5), Answer.OK, "10.1.0.1\t5\t\tU0\t"),
        (HostDown(FIRST), Answer.OK, "10.1.0.1\t100\t\tDNOW\t"),
        (HostUp(FIRST), Answer.OK, None),
        (HostSet(ip=FIRST, tag=b"t", weight=None), Answer.TAG_IS_FIXED, None),
        (HostSet(ip=FIRST, tag=b"", weight=1001), Answer.WEIGHT_TOO_LARGE, None),
        (HostUpdate(ip=UNKNOWN, tag=b"", weight=5), Answer.NOT_FOUND, None),
        (HostDown(UNKNOWN), Answer.NOT_FOUND, None),
    ],
)
def test_change_is_told_to_everybody(
    command: HostSet | HostUpdate | HostUp | HostDown, answer: Answer, line: str | None
) -> None:
    rig = Rig()
    left, right = rig.ring()
    answers = rig.command(command)
    heard = right.heard()
    if line is None:
        assert [answer] == answers
        assert [] == heard + left.heard()
        return
    settle_line = next(text for text in heard if text.startswith("SYNC"))
    announcement = f"HOST\t127.0.1.2\t19001\t1\t{line}"
    assert announcement == heard[0]
    assert [announcement] == left.heard()
    left.say(settle_line)
    assert [answer] == rig.answers()


def test_one_host_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = alone()
    monkeypatch.setattr(limits, "HOSTS_MAX", 3)

    assert [Answer.TOO_MANY_HOSTS] == rig.command(HostSet(ip=UNKNOWN, tag=b"", weight=None))
    assert 3 == len(rig.node.hosts)


def test_removed_host_is_told_to_everybody_and_its_users_are_forgotten() -> None:
    rig = Rig()
    left, right = rig.ring()
    rig.place(USER, HOSTS[0])
    left.heard()
    right.heard()
    rig.command(HostRemove(FIRST))

    assert ["HOST-REMOVE\t127.0.1.2\t19001\t1\t10.1.0.1"] == left.heard()
    assert ["HOST-REMOVE", "SYNC"] == commands(right.heard())
    assert HOSTS[0] not in hosts(rig)
    assert rig.node.user_status(USER, b"", rig.now).current is None
    assert [{"host": FIRST}] == rig.notes("host_removed")
    assert [Answer.NOT_FOUND] == alone().command(HostRemove(UNKNOWN))


def test_flushed_host_stays_and_its_users_are_forgotten_but_nobody_is_kicked() -> None:
    rig = alone()
    rig.place(USER, HOSTS[0])
    rig.place(USER + 1, HOSTS[1])

    assert [Answer.OK] == rig.command(HostFlush(FIRST))
    assert rig.node.user_status(USER, b"", rig.now).current is None
    assert rig.node.user_status(USER + 1, b"", rig.now).current is not None
    assert [] == rig.kicks()
    assert [{"host": FIRST}] == rig.notes("host_flushed")
    assert [Answer.NOT_FOUND] == rig.command(HostFlush(UNKNOWN), "unknown")


def test_flush_of_all_hosts_takes_one_round_of_the_ring() -> None:
    rig = Rig()
    _, right = rig.ring()
    rig.command(HostFlush(None))

    assert ["HOST-FLUSH"] * 3 + ["SYNC"] == commands(right.heard())
    assert 1 == len(rig.notes("all_users_flushed"))


def test_numbers_of_flushed_hosts_are_given_away_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush takes a number from a host and gives it a fresh one, of which there are 65,536."""
    monkeypatch.setattr(hosts_module, "HOST_NUMBERS_MAX", 6)
    rig = alone()
    for round_number in range(10):
        rig.place(USER, HOSTS[0])
        assert [Answer.OK] == rig.command(HostFlush(FIRST), ("flush", round_number))
        rig.command(HostRemove(ip_address(HOSTS[1])), ("remove", round_number))
        rig.command(HostSet(ip=ip_address(HOSTS[1]), tag=b"", weight=None), ("set", round_number))
        assert rig.node.user_status(USER, b"", rig.now).current is None
    assert rig.node.hosts.numbers_left <= 2


# --- one host heard of (section 8.3) ---


def test_change_heard_of_is_applied_passed_on_and_starts_a_round() -> None:
    rig = Rig()
    left, right = rig.ring()
    line = "HOST\t127.0.1.1\t19001\t1\t10.1.0.1\t50\t\tDNOW-9\t"
    left.say(line, line)

    assert (50, True) == first_host(rig)
    heard = right.heard()
    assert line == heard[0]
    assert ["HOST", "SYNC"] == commands(heard)
    assert [] == left.heard()
    assert not rig.node.is_synced
    assert [{"host": FIRST}] == rig.notes("host_went_down")
    assert [{"host": FIRST, "old": 100, "new": 50}] == rig.notes("host_weight_set")


def test_unknown_host_is_added() -> None:
    rig = Rig()
    left, right = rig.ring()
    line = "HOST\t127.0.1.1\t19001\t1\t10.9.9.9\t50\tt\tDNOW-9\tname"
    left.say(line)

    assert (50, True) == hosts(rig)["10.9.9.9"]
    assert line == right.heard()[0]
    assert [{"host": UNKNOWN, "tag": b"t", "weight": 50}] == rig.notes("host_added")


def test_what_we_know_already_is_not_passed_on() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("HOST\t127.0.1.1\t19001\t1\t10.1.0.1\t100\t\tU0\tanother-name")

    assert [] == right.heard()
    assert rig.node.is_synced


def test_other_tag_forgets_the_users_of_the_host() -> None:
    rig = Rig()
    left, _ = rig.ring()
    rig.place(USER, HOSTS[0])
    left.say("HOST\t127.0.1.1\t19001\t1\t10.1.0.1\t100\tfast\tU0\t")

    assert [{"host": FIRST, "old": b"", "new": b"fast"}] == rig.notes("host_tag_changed")
    assert rig.node.user_status(USER, b"", rig.now).current is None
    assert rig.node.user_status(USER, b"fast", rig.now).current is None


def test_host_that_comes_up_is_noted_and_keeps_the_newer_time() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("HOST\t127.0.1.1\t19001\t1\t10.1.0.1\t100\t\tDNOW-9\t")
    settle(left, right)
    left.say("HOST\t127.0.1.1\t19001\t2\t10.1.0.1\t100\t\tUNOW-20\t")

    assert [{"host": FIRST}] == rig.notes("host_came_up")
    assert NOW - 9 == changed_at(rig)


def test_one_host_too_many_from_the_ring_costs_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    left, _ = rig.ring()
    monkeypatch.setattr(limits, "HOSTS_MAX", 3)
    left.say("HOST\t127.0.1.1\t19001\t1\t10.9.9.9\t50")

    assert left.is_closed
    assert 3 == len(rig.node.hosts)


def test_tag_from_a_peer_that_should_know_none_costs_the_link() -> None:
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    left.say("VERSION\tdirector\t1\t6", "ME\t127.0.1.1\t19001\tNOW")
    left.say("HOST\t127.0.1.1\t19001\t1\t10.1.0.1\t50\tfast\tU0\t")

    assert "QUIT\tInvalid input: HOST" == left.heard()[-1]


# --- two changes that overlap ---


@pytest.mark.parametrize(
    ("received", "result"),
    [
        ("60\t\tDNOW-50", (50, True)),  # theirs is older
        ("60\t\tUNOW-50", (50, True)),
        ("60\t\tUNOW+50", (50, False)),  # theirs is newer
        ("60\t\tUNOW", (50, True)),  # of the same second: down
        ("40\t\tDNOW-50", (40, True)),  # lower weight
    ],
)
def test_overlapping_changes_are_settled_by_rule_and_told_to_the_sender_too(
    received: str, result: tuple[int, bool]
) -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("HOST\t127.0.1.1\t19001\t1\t10.1.0.1\t50\t\tDNOW\t")
    left.heard()
    right.heard()
    left.say(f"HOST\t127.0.1.1\t19001\t2\t10.1.0.1\t{received}\t")

    assert result == first_host(rig)
    assert 1 == len(rig.notes("host_conflict_settled"))
    said_left, said_right = left.heard()[0], right.heard()[0]
    assert said_left == said_right
    weight, is_down = result
    state = "D" if is_down else "U"
    assert said_left.startswith(f"HOST\t127.0.1.2\t19001\t1\t10.1.0.1\t{weight}\t\t{state}NOW")


def test_host_block_does_not_bring_back_an_older_state() -> None:
    """It tells how things are there, not what somebody wants."""
    rig = Rig()
    left, right = rig.ring()
    left.say("HOST\t127.0.1.1\t19001\t1\t10.1.0.1\t100\t\tDNOW\t")
    settle(left, right)
    again = rig.dial_in("127.0.1.1")
    again.greet()
    again.say("HOST-HAND-START\t1", "HOST\t10.1.0.1\t70\t\tUNOW-50\t", "HOST-HAND-END\t1")

    assert (70, True) == first_host(rig)
    assert "HOST\t127.0.1.2\t19001\t1\t10.1.0.1\t70\t\tDNOW\t" in again.heard()


# --- hosts removed and flushed ---


@pytest.mark.parametrize("command", ["HOST-REMOVE", "HOST-FLUSH"])
def test_host_removed_or_flushed_elsewhere_loses_its_users_and_that_is_passed_on(
    command: str,
) -> None:
    rig = Rig()
    left, right = rig.ring()
    rig.place(USER, HOSTS[0])
    right.heard()
    line = f"{command}\t127.0.1.1\t19001\t1\t10.1.0.1"
    left.say(line, line)

    assert [command, "SYNC"] == commands(right.heard())
    assert rig.node.user_status(USER, b"", rig.now).current is None
    assert (command == "HOST-FLUSH") == (HOSTS[0] in hosts(rig))


@pytest.mark.parametrize("command", ["HOST-REMOVE", "HOST-FLUSH"])
def test_unknown_host_removed_or_flushed_is_ignored(command: str) -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say(f"{command}\t127.0.1.1\t19001\t1\t10.9.9.9")

    assert [] == right.heard()


# --- the host block of a handshake (section 7.2) ---


def test_complete_ring_replaces_the_hosts_of_a_newcomer() -> None:
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    left.greet()
    left.say("HOST-HAND-START\t1", "HOST\t10.9.9.9\t50\t\tU0\t", "HOST-HAND-END\t1")

    assert {"10.9.9.9": (50, False)} == hosts(rig)


def test_users_told_by_one_complete_ring_member_outlive_the_hosts_that_another_tells() -> None:
    rig = Rig()
    rig.dial_in("127.0.1.1").shake(is_complete=1)
    rig.place(USER, HOSTS[0])
    other = rig.dial_in("127.0.1.3")
    other.greet()
    other.say("HOST-HAND-START\t1", f"HOST\t{HOSTS[0]}\t50\t\tU0\t", "HOST-HAND-END\t1")

    current = rig.node.user_status(USER, b"", rig.now).current
    assert current is not None
    assert FIRST == current.ip


def test_hosts_of_a_newcomer_are_ignored_by_a_complete_ring_until_the_block_ends() -> None:
    rig = Rig()
    rig.ring()
    newcomer = rig.dial_in("127.0.1.3")
    newcomer.greet()
    newcomer.say("HOST-HAND-START\t0", "HOST\t10.9.9.9\t50\t\tU0\t", "HOST-HAND-END\t0")
    assert "10.9.9.9" not in hosts(rig)
    newcomer.say("HOST\t127.0.1.3\t19001\t1\t10.9.9.9\t50\t\tU0\t")

    assert (50, False) == hosts(rig)["10.9.9.9"]


@pytest.mark.parametrize("is_complete", [0, 1])
def test_equals_merge_their_hosts_and_tell_the_others_as_their_own(is_complete: int) -> None:
    rig = Rig(settings(minor=NATIVE_MINOR)) if is_complete else Rig()
    right = rig.complete_right()
    if is_complete:
        left = rig.dial_in("127.0.1.1")
        left.shake()
        rig.sync(left, right)
    left = rig.dial_in("127.0.1.1")
    left.greet()
    right.heard()
    left.say(
        f"HOST-HAND-START\t{is_complete}",
        "HOST\t10.9.9.9\t50\t\tU0\t",
        f"HOST-HAND-END\t{is_complete}",
    )

    assert {*HOSTS, "10.9.9.9"} == set(hosts(rig))
    sequence = "NOW+1" if is_complete else "1"  # our own directors count from the clock
    assert f"HOST\t127.0.1.2\t19001\t{sequence}\t10.9.9.9\t50\t\tU0\t" in right.heard()
