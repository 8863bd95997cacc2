"""Moves: the kill state machine of users-and-hosts.md sections 11 and 12."""

from __future__ import annotations

from ipaddress import ip_address

from ring.commands import Answer, HostFlush, UserMove
from ring.effects import AbortFlushProgram, KickHash, RunFlushProgram
from ring.moves import Stage
from tests.ring.rig import HOSTS, Peer, Rig, alone, settings

USER = 700


def stage(rig: Rig, user_hash: int = USER) -> Stage | None:
    return rig.node.user_status(user_hash, b"", rig.now).stage


def current(rig: Rig, user_hash: int = USER) -> str:
    host = rig.node.user_status(user_hash, b"", rig.now).current
    assert host is not None
    return str(host.ip)


def test_move_to_an_unknown_host_is_not_found() -> None:
    assert [Answer.NOT_FOUND] == alone().command(UserMove(user_hash=1, ip=ip_address("10.9.9.9")))


def test_move_to_the_same_host_only_refreshes() -> None:
    rig = alone()
    rig.place(USER, HOSTS[0])
    rig.pass_time(5)

    assert [Answer.OK] == rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[0])))
    assert [] == rig.kicks()
    assert stage(rig) is None
    assert rig.node.user_status(USER, b"", rig.now).expires_at == int(rig.wall) + 900


def test_move_of_an_unknown_user_kicks_nobody_but_delays() -> None:
    rig = alone()
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[0])))

    assert [] == rig.kicks()
    assert Stage.DELAY is stage(rig)
    assert HOSTS[0] == current(rig)


def test_lone_director_kicks_then_delays_then_is_done() -> None:
    rig = alone()
    rig.kicks_answered = False
    rig.place(USER, HOSTS[0])
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))

    assert [KickHash(user_hash=USER, except_ip=None)] == rig.kicks()
    assert Stage.KILLING is stage(rig)
    rig.node.kick_finished(1, None, rig.now)
    assert Stage.DELAY is stage(rig)
    rig.pass_time(2.1)
    assert stage(rig) is None
    assert HOSTS[1] == current(rig)


def test_failed_kick_is_noted_and_the_move_goes_on() -> None:
    rig = alone()
    rig.kicks_answered = False
    rig.place(USER, HOSTS[0])
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))
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

    assert [KickHash(user_hash=USER, except_ip=None)] == rig.kicks()
    assert HOSTS[2] == current(rig)


def test_move_without_an_all_clear_is_given_up_after_thirty_seconds() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say(f"USER\t{USER}\t{HOSTS[0]}\tNOW")
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))
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


def test_move_that_timed_out_says_where_its_user_is_now() -> None:
    """Another host was heard of meanwhile and passed over; nobody else would repeat it."""
    rig = Rig()
    left, right = rig.ring()
    left.say(f"USER\t{USER}\t{HOSTS[0]}\tNOW")
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))
    left.say(f"USER\t{USER}\t{HOSTS[2]}\tNOW")
    for _ in range(29):
        rig.pass_time(1)
        left.say("PONG", "PING")
        right.say("PONG", "PING")
    right.heard()
    rig.pass_time(1.1)

    assert [f"USER\t{USER}\t{HOSTS[1]}\tNOW"] == right.heard()


def test_kick_slot_of_a_timed_out_move_is_given_back() -> None:
    rig = alone()
    rig.kicks_answered = False
    rig.place(USER, HOSTS[0])
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))
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
    rig.place(USER, HOSTS[0])
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))
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
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))

    assert Stage.DELAY is stage(rig)


# --- the ring's part, as its initiator and as one of the others ---


def moved_by_another(rig: Rig, left: Peer) -> None:
    left.say(f"USER\t{USER}\t{HOSTS[0]}\tNOW")
    left.say(f"USER-MOVE\t127.0.1.1\t19001\t1\t{USER}\t{HOSTS[1]}")


def test_initiator_reports_to_the_right_at_once_and_ends_the_round_when_it_returns() -> None:
    rig = Rig()
    left, right = rig.ring()
    rig.place(USER, HOSTS[0])
    right.heard()
    left.heard()
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))
    move = f"USER-MOVE\t127.0.1.2\t19001\t1\t{USER}\t{HOSTS[1]}"
    assert [move, f"USER-KILLED\t{USER}"] == right.heard()
    assert [move] == left.heard()
    assert Stage.WAIT_EVERYONE is stage(rig)
    left.say(f"USER-KILLED\t{USER}")

    assert [f"USER-KILLED-EVERYWHERE\t127.0.1.2\t19001\t2\t{USER}"] == right.heard()
    assert [f"USER-KILLED-EVERYWHERE\t127.0.1.2\t19001\t2\t{USER}"] == left.heard()
    assert Stage.DELAY is stage(rig)


def test_another_reports_to_the_right_when_its_left_has() -> None:
    rig = Rig()
    left, right = rig.ring()
    moved_by_another(rig, left)
    assert Stage.WAIT_NOTIFY is stage(rig)
    right.heard()
    left.say(f"USER-KILLED\t{USER}")

    assert [f"USER-KILLED\t{USER}"] == right.heard()
    assert Stage.WAIT_EVERYONE is stage(rig)


def test_another_passes_the_all_clear_on_once_and_delays() -> None:
    rig = Rig()
    left, right = rig.ring()
    moved_by_another(rig, left)
    left.say(f"USER-KILLED\t{USER}")
    right.heard()
    line = f"USER-KILLED-EVERYWHERE\t127.0.1.1\t19001\t2\t{USER}"
    left.say(line, line)

    assert [line] == right.heard()
    assert Stage.DELAY is stage(rig)


def test_all_clear_that_nobody_waits_for_is_not_passed_on() -> None:
    rig = Rig()
    left, right = rig.ring()
    moved_by_another(rig, left)
    right.heard()
    left.say(
        f"USER-KILLED-EVERYWHERE\t127.0.1.1\t19001\t2\t{USER}",
        "USER-KILLED-EVERYWHERE\t127.0.1.1\t19001\t3\t4711",
    )

    assert [] == right.heard()
    assert Stage.WAIT_NOTIFY is stage(rig)


def test_report_about_a_user_in_its_delay_is_answered_with_the_all_clear() -> None:
    rig = Rig()
    left, right = rig.ring()
    moved_by_another(rig, left)
    left.say(f"USER-KILLED\t{USER}", f"USER-KILLED-EVERYWHERE\t127.0.1.1\t19001\t2\t{USER}")
    right.heard()
    left.say(f"USER-KILLED\t{USER}")

    assert [f"USER-KILLED-EVERYWHERE\t127.0.1.2\t19001\t1\t{USER}"] == right.heard()
    assert Stage.DELAY is stage(rig)


def test_report_about_a_user_that_is_not_moved_is_dropped() -> None:
    rig = Rig()
    left, right = rig.ring()
    rig.place(USER, HOSTS[0])
    right.heard()
    left.say(f"USER-KILLED\t{USER}")

    assert [] == right.heard()


def test_second_target_for_a_user_being_moved_is_refused() -> None:
    rig = alone()
    rig.place(USER, HOSTS[0])
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[1])), "first")

    assert [Answer.TRY_AGAIN] == rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[2])))
    assert HOSTS[1] == current(rig)


def test_expired_user_counts_as_unknown() -> None:
    rig = alone()
    rig.place(USER, HOSTS[0])
    rig.wall += 900
    rig.node.set_clock(rig.now, rig.wall)
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))

    assert [] == rig.kicks()
    assert HOSTS[1] == current(rig)


def test_move_ends_though_its_user_was_forgotten_meanwhile() -> None:
    rig = alone(has_flush_program=True)
    rig.kicks_answered = False
    rig.place(USER, HOSTS[0])
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))
    rig.command(HostFlush(ip_address(HOSTS[1])), "flush")
    rig.node.kick_finished(1, None, rig.now)

    assert Stage.DELAY is stage(rig)
    rig.pass_time(2.1)
    assert stage(rig) is None
