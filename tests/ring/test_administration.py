"""Commands that wait for the ring: doveadm-director.md sections 1.2 and 1.3."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ring import limits
from ring.commands import (
    Answer,
    Command,
    DirectorAdd,
    DirectorRemove,
    HostDown,
    HostFlush,
    HostRemove,
    HostResetUsers,
    HostSet,
    HostUp,
    HostUpdate,
    UserKick,
    UserKickField,
    UserKickHash,
    UserMove,
)
from tests.ring.rig import HOSTS, Peer, Rig, director, settings

FIRST = ip_address(HOSTS[0])
SECOND = ip_address(HOSTS[1])
UNKNOWN = ip_address("10.9.9.9")


def set_host(ip: object = FIRST, *, tag: bytes = b"", weight: int | None = None) -> HostSet:
    return HostSet(ip=ip, tag=tag, weight=weight)  # type: ignore[arg-type]


def answer_pings(*peers: Peer) -> None:
    for peer in peers:
        peer.say("PONG", "PING")


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (set_host(weight=1001), Answer.WEIGHT_TOO_LARGE),
        (set_host(tag=b"other"), Answer.TAG_IS_FIXED),
        (set_host(), Answer.OK),
        (set_host(UNKNOWN, tag=b"t"), Answer.OK),
        (HostUpdate(ip=UNKNOWN, tag=b"", weight=5), Answer.NOT_FOUND),
        (HostUpdate(ip=FIRST, tag=b"", weight=0), Answer.OK),
        (HostUp(UNKNOWN), Answer.NOT_FOUND),
        (HostUp(FIRST), Answer.OK),
        (HostDown(FIRST), Answer.OK),
        (HostRemove(FIRST), Answer.OK),
        (HostRemove(UNKNOWN), Answer.NOT_FOUND),
        (HostFlush(None), Answer.OK),
        (HostFlush(FIRST), Answer.OK),
        (HostFlush(UNKNOWN), Answer.NOT_FOUND),
        (DirectorAdd(director("127.0.1.2")), Answer.OK),
        (DirectorRemove(ip=UNKNOWN, port=None), Answer.NOT_FOUND),
        (DirectorRemove(ip=UNKNOWN, port=1), Answer.NOT_FOUND),
    ],
)
def test_lone_director_answers_at_once(command: Command, answer: Answer) -> None:
    rig = Rig(settings(others=()))

    assert [answer] == rig.command(command)


def test_change_is_answered_when_the_ring_has_it() -> None:
    rig = Rig()
    left, right = rig.ring()

    assert [] == rig.command(set_host(weight=50))
    sync = right.heard()[-1]
    assert sync.startswith("SYNC")
    left.say(sync)
    assert [Answer.OK] == rig.answers()


def test_change_while_unsynced_waits_and_is_then_executed() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say(f"HOST\t127.0.1.1\t19001\t1\t{HOSTS[1]}\t10\t\tU0\t")
    first_sync = right.heard()[-1]

    assert [] == rig.command(HostDown(FIRST))
    assert [] == right.heard()
    left.say(first_sync)
    host_line, second_sync = right.heard()
    assert host_line.startswith(f"HOST\t127.0.1.2\t19001\t1\t{HOSTS[0]}\t100\t\tD")
    assert [] == rig.answers()
    left.say(second_sync)
    assert [Answer.OK] == rig.answers()


def test_command_that_waited_too_long_is_not_executed() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say(f"HOST\t127.0.1.1\t19001\t1\t{HOSTS[1]}\t10\t\tU0\t")
    right.heard()
    rig.command(HostDown(FIRST))
    for _ in range(31):
        rig.pass_time(1)
        answer_pings(left, right)

    assert [Answer.SYNC_TIMED_OUT] == rig.answers()
    assert not rig.node.hosts.get(FIRST).is_down  # type: ignore[union-attr]


def test_executed_command_whose_ring_stays_silent_says_the_same() -> None:
    rig = Rig()
    left, right = rig.ring()
    rig.command(HostDown(FIRST))
    for _ in range(31):
        rig.pass_time(1)
        answer_pings(left, right)

    assert [Answer.SYNC_TIMED_OUT] == rig.answers()
    assert rig.node.hosts.get(FIRST).is_down  # type: ignore[union-attr]


def test_waits_are_timed_one_by_one() -> None:
    rig = Rig()
    left, right = rig.ring()
    rig.command(HostDown(FIRST), "one")
    for second in range(62):
        if second == 20:
            rig.command(HostDown(ip_address(HOSTS[1])), "two")
        if second == 40:
            assert [Answer.SYNC_TIMED_OUT] == rig.answers("one")
            assert [] == rig.answers("two")
        rig.pass_time(1)
        answer_pings(left, right)

    assert [Answer.SYNC_TIMED_OUT] == rig.answers("two")


def test_too_many_waiting_commands_are_told_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COMMANDS_WAITING_MAX", 1)
    rig = Rig()
    rig.ring()
    rig.command(HostDown(FIRST), "one")

    assert [Answer.TRY_AGAIN] == rig.command(HostDown(SECOND), "two")
    assert not rig.node.hosts.get(SECOND).is_down  # type: ignore[union-attr]


def test_second_change_of_a_host_waits_for_the_first_to_get_round() -> None:
    """The original refuses it: `host is already being updated - try again later`."""
    rig = Rig()
    left, right = rig.ring()
    rig.command(set_host(weight=50), "first")
    sync = right.heard()[-1]
    assert [] == rig.command(set_host(weight=60), "second")
    left.say(sync)

    assert [Answer.OK] == rig.answers("first")
    assert [f"HOST\t127.0.1.2\t19001\t2\t{HOSTS[0]}\t60\t\tU0\t"] == right.heard()[:1]


def test_director_added_is_announced_and_later_dialled() -> None:
    rig = Rig()
    _, right = rig.ring()

    assert [Answer.OK] == rig.command(DirectorAdd(director("127.0.1.2 19002")))
    assert ["DIRECTOR\t127.0.1.2\t19002"] == right.heard()
    rig.pass_time(1.1)
    assert director("127.0.1.2 19002") == rig.dialled[-1].address


def test_lone_director_dials_the_first_director_it_is_given() -> None:
    rig = Rig(settings(others=()))
    rig.command(DirectorAdd(director("127.0.1.9")))

    assert [director("127.0.1.9")] == [peer.address for peer in rig.dialled]


def test_director_removed_by_address_alone() -> None:
    rig = Rig()
    _, right = rig.ring()
    assert [] == rig.command(DirectorRemove(ip=ip_address("127.0.1.1"), port=None))

    assert "DIRECTOR-REMOVE\t127.0.1.1\t19001" == right.heard()[0]


def test_removing_ourselves_tells_the_others_and_goes_on() -> None:
    rig = Rig()
    _, right = rig.ring()
    rig.command(DirectorRemove(ip=ip_address("127.0.1.2"), port=19001))

    assert ["DIRECTOR-REMOVE", "SYNC"] == [line.split("\t")[0] for line in right.heard()]
    assert not right.is_closed


@pytest.mark.parametrize(
    "command",
    [
        HostResetUsers(ip=UNKNOWN, parallel_max=None),
        UserMove(user_hash=5, ip=UNKNOWN),
    ],
)
def test_users_can_be_moved_whether_or_not_the_ring_is_synced(command: Command) -> None:
    rig = Rig()

    assert [Answer.NOT_FOUND] == rig.command(command)


@pytest.mark.parametrize(
    "command",
    [
        UserKick(user=b"bob", is_waiting=False),
        UserKickField(field=b"f", value=b"v", is_waiting=False),
        UserKickHash(5),
    ],
)
def test_users_can_be_kicked_whether_or_not_the_ring_is_synced(command: Command) -> None:
    rig = Rig()

    assert [Answer.OK] == rig.command(command)


def test_director_that_is_being_removed_is_not_found_again() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("DIRECTOR\t127.0.1.9\t19001")
    rig.command(DirectorRemove(ip=ip_address("127.0.1.9"), port=19001), "first")
    sync = right.heard()[-1]
    rig.command(DirectorRemove(ip=ip_address("127.0.1.9"), port=19001), "second")
    left.say(sync)

    assert [Answer.OK] == rig.answers("first")
    assert [Answer.NOT_FOUND] == rig.answers("second")


def test_figures_count_the_commands_that_wait() -> None:
    rig = Rig()
    rig.ring()
    rig.command(HostDown(FIRST), "first")
    rig.command(HostDown(SECOND), "second")

    assert rig.node.statistics().commands_waiting == 2


def test_command_that_goes_on_is_answered_when_it_is_done() -> None:
    rig = Rig(settings(others=(), max_parallel_kicks=1))
    rig.kicks_answered = False
    rig.command(UserKick(user=b"alice", is_waiting=True), "first")
    assert [] == rig.command(UserKick(user=b"bob", is_waiting=True), "second")
    rig.node.kick_finished(1, None, rig.now)
    rig.run()

    assert [Answer.OK] == rig.answers("second")
