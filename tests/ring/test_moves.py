"""Moves, kicks and flushes: users-and-hosts.md sections 11 to 13."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ring import limits
from ring.commands import (
    Answer,
    Command,
    HostDown,
    HostResetUsers,
    UserKick,
    UserKickField,
    UserKickHash,
    UserMove,
)
from ring.effects import (
    AbortFlushProgram,
    CommandAnswered,
    Kick,
    KickField,
    KickHash,
    KickName,
    RunFlushProgram,
)
from ring.moves import Stage
from tests.ring.rig import HOSTS, Rig, settings

USER = 700


def alone(**changes: object) -> Rig:
    return Rig(settings(own="127.0.1.2", others=(), **changes))


def place(rig: Rig, user_hash: int, ip: str) -> None:
    rig.node.restore_users(b"", [user_hash], [ip_address(ip)], [int(rig.wall)], rig.now)


def run(rig: Rig, command: Command, token: object = "c") -> list[Answer]:
    rig.node.command(token, command, rig.now)
    rig.run()
    return [e.answer for e in rig.effects if isinstance(e, CommandAnswered) and e.token == token]


def kicks(rig: Rig) -> list[KickName | KickField | KickHash]:
    return [effect.what for effect in rig.effects if isinstance(effect, Kick)]


def stage(rig: Rig, user_hash: int = USER) -> Stage | None:
    return rig.node.user_status(user_hash, b"", rig.now).stage


def current(rig: Rig, user_hash: int = USER) -> str:
    host = rig.node.user_status(user_hash, b"", rig.now).current
    assert host is not None
    return str(host.ip)


def test_move_to_an_unknown_host_is_not_found() -> None:
    assert [Answer.NOT_FOUND] == run(alone(), UserMove(user_hash=1, ip=ip_address("10.9.9.9")))


def test_move_to_the_same_host_only_refreshes() -> None:
    rig = alone()
    place(rig, USER, HOSTS[0])
    rig.pass_time(5)

    assert [Answer.OK] == run(rig, UserMove(user_hash=USER, ip=ip_address(HOSTS[0])))
    assert [] == kicks(rig)
    assert stage(rig) is None
    assert rig.node.user_status(USER, b"", rig.now).expires_at == int(rig.wall) + 900


def test_move_of_an_unknown_user_kicks_nobody_but_delays() -> None:
    rig = alone()
    run(rig, UserMove(user_hash=USER, ip=ip_address(HOSTS[0])))

    assert [] == kicks(rig)
    assert Stage.DELAY is stage(rig)
    assert HOSTS[0] == current(rig)


def test_lone_director_kicks_then_delays_then_is_done() -> None:
    rig = alone()
    rig.kicks_answered = False
    place(rig, USER, HOSTS[0])
    run(rig, UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))

    assert [KickHash(user_hash=USER, except_ip=None)] == kicks(rig)
    assert Stage.KILLING is stage(rig)
    rig.node.kick_finished(1, None, rig.now)
    assert Stage.DELAY is stage(rig)
    rig.pass_time(2.1)
    assert stage(rig) is None
    assert HOSTS[1] == current(rig)


def test_failed_kick_is_noted_and_the_move_goes_on() -> None:
    rig = alone()
    rig.kicks_answered = False
    place(rig, USER, HOSTS[0])
    run(rig, UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))
    rig.node.kick_finished(1, "ipc: connection refused", rig.now)
    rig.run()

    assert "ipc: connection refused" == rig.notes("kick_failed")[0]["error"]
    assert Stage.DELAY is stage(rig)


def test_answer_for_a_forgotten_kick_changes_nothing() -> None:
    rig = alone()
    rig.node.kick_finished(99, None, rig.now)
    rig.node.flush_finished(99, True, rig.now)

    assert [] == rig.node.drain()


def test_notify_before_the_local_kick_is_done_is_remembered() -> None:
    rig = Rig()
    rig.kicks_answered = False
    left, right = rig.ring()
    left.say(f"USER\t{USER}\t{HOSTS[0]}\tNOW")
    left.say(f"USER-MOVE\t127.0.1.1\t19001\t1\t{USER}\t{HOSTS[1]}")
    right.heard()
    left.say(f"USER-KILLED\t{USER}")
    assert Stage.NOTIFY_RECEIVED is stage(rig)
    left.say(f"USER-KILLED\t{USER}")
    assert [] == right.heard()
    rig.node.kick_finished(1, None, rig.now)
    rig.run()

    assert [f"USER-KILLED\t{USER}"] == right.heard()
    assert Stage.WAIT_EVERYONE is stage(rig)


def test_second_move_of_a_user_being_moved_elsewhere_keeps_the_first_kick() -> None:
    rig = Rig()
    left, _ = rig.ring()
    left.say(f"USER\t{USER}\t{HOSTS[0]}\tNOW")
    left.say(f"USER-MOVE\t127.0.1.1\t19001\t1\t{USER}\t{HOSTS[1]}")
    left.say(f"USER-MOVE\t127.0.1.1\t19001\t2\t{USER}\t{HOSTS[2]}")
    left.say(f"USER-MOVE\t127.0.1.1\t19001\t3\t{USER}\t10.9.9.9")

    assert [KickHash(user_hash=USER, except_ip=None)] == kicks(rig)
    assert HOSTS[2] == current(rig)


def test_move_without_an_all_clear_is_given_up_after_thirty_seconds() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say(f"USER\t{USER}\t{HOSTS[0]}\tNOW")
    run(rig, UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))
    assert Stage.WAIT_EVERYONE is stage(rig)
    for _ in range(6):
        rig.pass_time(5)
        left.say("PONG", "PING")
        right.say("PONG", "PING")
    rig.pass_time(0.1)

    assert [{"user_hash": USER, "tag": b"", "stage": "waiting-for-everyone"}] == rig.notes(
        "move_timed_out"
    )
    assert stage(rig) is None
    assert HOSTS[1] == current(rig)


def test_kick_slot_of_a_timed_out_move_is_given_back() -> None:
    rig = alone()
    rig.kicks_answered = False
    place(rig, USER, HOSTS[0])
    run(rig, UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))
    assert rig.node.statistics().kicking == 1
    rig.pass_time(30.1)

    assert rig.node.statistics().kicking == 0
    assert "killing" == rig.notes("move_timed_out")[0]["stage"]


def test_right_neighbour_that_vanished_ends_the_round() -> None:
    rig = Rig(settings(others=("127.0.1.1",)))
    right = rig.complete_right()
    left = rig.dial_in("127.0.1.1")
    left.shake()
    rig.sync(left, right)
    left.say(f"USER\t{USER}\t{HOSTS[0]}\tNOW")
    left.say(f"USER-MOVE\t127.0.1.1\t19001\t1\t{USER}\t{HOSTS[1]}")
    assert Stage.WAIT_NOTIFY is stage(rig)
    rig.hang_up(right)
    left.say(f"USER-KILLED\t{USER}")

    assert Stage.DELAY is stage(rig)


def flushing(rig: Rig) -> RunFlushProgram:
    place(rig, USER, HOSTS[0])
    run(rig, UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))
    assert Stage.FLUSHING is stage(rig)
    return next(effect for effect in rig.effects if isinstance(effect, RunFlushProgram))


def test_flush_program_that_fails_is_followed_by_the_delay() -> None:
    rig = alone(has_flush_program=True)
    program = flushing(rig)
    rig.node.flush_finished(program.flush_id, False, rig.now)

    assert Stage.DELAY is stage(rig)


def test_flush_program_that_succeeds_ends_the_move() -> None:
    rig = alone(has_flush_program=True)
    program = flushing(rig)
    rig.node.flush_finished(program.flush_id, True, rig.now)

    assert stage(rig) is None


def test_flush_program_that_hangs_is_aborted_with_the_move() -> None:
    rig = alone(has_flush_program=True)
    program = flushing(rig)
    rig.pass_time(30.1)

    assert AbortFlushProgram(program.flush_id) in rig.effects
    assert stage(rig) is None


def test_unknown_user_has_no_flush_program_run() -> None:
    rig = alone(has_flush_program=True)
    run(rig, UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))

    assert Stage.DELAY is stage(rig)


# --- kicks --------------------------------------------------------------------------------------


def test_kick_by_name_and_by_field_travel_the_ring() -> None:
    rig = Rig()
    left, right = rig.ring()

    assert [Answer.OK] == run(rig, UserKick(user=b"a\tb", is_waiting=False), "name")
    field = UserKickField(field=b"user_alt", value=b"x", is_waiting=False)
    assert [Answer.OK] == run(rig, field, "field")
    assert [KickName(b"a\tb"), KickField(field=b"user_alt", value=b"x")] == kicks(rig)
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
    ] == kicks(rig)


def test_kick_by_hash_is_spelled_as_a_kick_that_excepts_no_host() -> None:
    rig = Rig()
    _, right = rig.ring()

    assert [Answer.OK] == run(rig, UserKickHash(USER))
    assert [f"USER-KICK-HASH\t127.0.1.2\t19001\t1\t{USER}\t0.0.0.0"] == right.heard()


def test_kicks_beyond_the_slots_wait_or_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = alone(max_parallel_kicks=1)
    rig.kicks_answered = False
    assert [Answer.OK] == run(rig, UserKick(user=b"a", is_waiting=False), "a")
    assert [Answer.TRY_AGAIN] == run(rig, UserKick(user=b"b", is_waiting=False), "b")
    assert [] == run(rig, UserKick(user=b"c", is_waiting=True), "c")
    monkeypatch.setattr(limits, "COMMANDS_WAITING_MAX", 1)
    assert [Answer.TRY_AGAIN] == run(rig, UserKick(user=b"d", is_waiting=True), "d")
    rig.node.kick_finished(1, None, rig.now)
    rig.run()

    assert [KickName(b"a"), KickName(b"c")] == kicks(rig)
    assert CommandAnswered(token="c", answer=Answer.OK) in rig.effects


# --- flushes ------------------------------------------------------------------------------------


def users_on(rig: Rig, ip: str, count: int, *, is_hashed_there: bool) -> list[int]:
    """Place users on a host, all of whom (or none of whom) their hash leads there."""
    found: list[int] = []
    for user_hash in range(1, 1_000_000):
        host = rig.node.hosts.lookup(user_hash * 4000, b"")
        if host is not None and (str(host.ip) == ip) == is_hashed_there:
            found.append(user_hash * 4000)
            place(rig, user_hash * 4000, ip)
        if len(found) == count:
            return found
    raise AssertionError("not enough users")


def reset(ip: str | None, parallel_max: int | None = None) -> HostResetUsers:
    return HostResetUsers(ip=ip_address(ip) if ip else None, parallel_max=parallel_max)


def test_flush_of_an_unknown_host_is_not_found() -> None:
    assert [Answer.NOT_FOUND] == run(alone(), reset("10.9.9.9"))


def test_flush_moves_only_users_whose_hash_leads_elsewhere() -> None:
    rig = alone()
    stay = users_on(rig, HOSTS[0], 5, is_hashed_there=True)
    move = users_on(rig, HOSTS[0], 5, is_hashed_there=False)

    assert [Answer.OK] == run(rig, reset(None))
    assert {HOSTS[0]} == {current(rig, user_hash) for user_hash in stay}
    for user_hash in move:
        assert str(rig.node.hosts.lookup(user_hash, b"").ip) == current(rig, user_hash)  # type: ignore[union-attr]
    assert 5 == len(kicks(rig))
    assert 5 == rig.notes("host_reset_finished")[0]["moved"]


def test_flush_keeps_to_its_limit_and_answers_when_the_last_move_has_begun() -> None:
    rig = alone()
    users_on(rig, HOSTS[0], 5, is_hashed_there=False)
    assert [] == run(rig, reset(HOSTS[0], parallel_max=2))
    assert rig.node.statistics().moving == 2
    rig.pass_time(2.1)
    assert rig.node.statistics().moving == 2
    rig.pass_time(2.1)
    rig.pass_time(0.1)

    assert CommandAnswered(token="c", answer=Answer.OK) in rig.effects


def test_flush_empties_a_host_of_users_who_are_on_their_way_to_it() -> None:
    """As the original: the first move goes on, with another host at its end."""
    rig = alone()
    run(rig, UserMove(user_hash=USER, ip=ip_address(HOSTS[0])), "move")
    run(rig, HostDown(ip_address(HOSTS[0])), "down")

    assert [Answer.OK] == run(rig, reset(HOSTS[0]))
    assert (Stage.DELAY, str(rig.node.hosts.lookup(USER, b"").ip)) == (stage(rig), current(rig))  # type: ignore[union-attr]
    assert HOSTS[0] != current(rig)


def test_flush_without_any_other_host_kicks_and_forgets() -> None:
    rig = alone()
    users = users_on(rig, HOSTS[0], 3, is_hashed_there=True)
    for ip in HOSTS:
        run(rig, HostDown(ip_address(ip)))

    assert [Answer.OK] == run(rig, reset(HOSTS[0]), "flush")
    assert [KickHash(user_hash=u, except_ip=None) for u in sorted(users)] == sorted(
        kicks(rig),
        key=lambda kick: kick.user_hash,  # type: ignore[union-attr]
    )
    assert rig.node.user_status(users[0], b"", rig.now).current is None


def test_flush_of_many_users_takes_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WALK_USERS_MAX", 10)
    rig = alone()
    users_on(rig, HOSTS[0], 50, is_hashed_there=True)

    assert [] == run(rig, reset(HOSTS[0]))
    assert rig.node.deadline < rig.now
    for _ in range(6):
        rig.node.tick(rig.now)
    rig.run()
    assert CommandAnswered(token="c", answer=Answer.OK) in rig.effects
    assert rig.node.deadline >= rig.now
