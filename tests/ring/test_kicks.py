"""Kicks by name, field and hash, and their slots: users-and-hosts.md section 13."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ring import limits
from ring.commands import Answer, UserKick, UserKickField, UserKickHash, UserMove
from ring.effects import KickField, KickHash, KickName
from tests.ring.rig import HOSTS, Rig, alone

USER = 700


def test_kick_by_name_and_by_field_travel_the_ring() -> None:
    rig = Rig()
    left, right = rig.ring()

    assert [Answer.OK] == rig.command(UserKick(user=b"a\tb", is_waiting=False), "name")
    field = UserKickField(field=b"user_alt", value=b"x", is_waiting=False)
    assert [Answer.OK] == rig.command(field, "field")
    assert [KickName(b"a\tb"), KickField(field=b"user_alt", value=b"x")] == rig.kicks()
    assert [
        "USER-KICK\t127.0.1.2\t19001\t1\ta\x01tb",
        "USER-KICK-ALT\t127.0.1.2\t19001\t2\tuser_alt\tx",
    ] == right.heard()
    assert 2 == len(left.heard())


def test_kicks_heard_of_are_done_and_passed_on_once() -> None:
    rig = Rig()
    left, right = rig.ring()
    lines = [
        "USER-KICK\t127.0.1.1\t19001\t1\tbob",
        "USER-KICK-ALT\t127.0.1.1\t19001\t2\tuser_alt\tx",
        f"USER-KICK-HASH\t127.0.1.1\t19001\t3\t{USER}\t{HOSTS[0]}",
        f"USER-KICK-HASH\t127.0.1.1\t19001\t4\t{USER}\t0.0.0.0",
    ]
    left.say(*lines)
    left.say(*lines)

    assert lines == right.heard()
    assert [
        KickName(b"bob"),
        KickField(field=b"user_alt", value=b"x"),
        KickHash(user_hash=USER, except_ip=ip_address(HOSTS[0])),
        KickHash(user_hash=USER, except_ip=None),
    ] == rig.kicks()


def test_kick_by_hash_is_spelled_as_a_kick_that_excepts_no_host() -> None:
    rig = Rig()
    _, right = rig.ring()

    assert [Answer.OK] == rig.command(UserKickHash(USER))
    assert [f"USER-KICK-HASH\t127.0.1.2\t19001\t1\t{USER}\t0.0.0.0"] == right.heard()


def test_kicks_beyond_the_slots_wait_or_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = alone(max_parallel_kicks=1)
    rig.kicks_answered = False
    assert [Answer.OK] == rig.command(UserKick(user=b"a", is_waiting=False), "a")
    assert [Answer.TRY_AGAIN] == rig.command(UserKick(user=b"b", is_waiting=False), "b")
    assert [] == rig.command(UserKick(user=b"c", is_waiting=True), "c")
    monkeypatch.setattr(limits, "COMMANDS_WAITING_MAX", 1)
    assert [Answer.TRY_AGAIN] == rig.command(UserKick(user=b"d", is_waiting=True), "d")
    rig.node.kick_finished(1, None, rig.now)
    rig.run()

    assert [KickName(b"a"), KickName(b"c")] == rig.kicks()
    assert [Answer.OK] == rig.answers("c")


def test_kick_waits_for_the_slot_of_a_move_that_is_given_up() -> None:
    rig = alone(max_parallel_kicks=1)
    rig.kicks_answered = False
    rig.place(USER, HOSTS[0])
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[1])), "move")
    assert [] == rig.command(UserKick(user=b"a", is_waiting=True))
    rig.pass_time(30.1)

    assert [Answer.OK] == rig.answers()
    assert KickName(b"a") == rig.kicks()[-1]
