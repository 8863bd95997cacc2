"""Moves: the kill state machine of users-and-hosts.md sections 11 and 12."""

from __future__ import annotations

from ipaddress import ip_address

from ring.commands import Answer, HostDown, HostFlush, HostResetUsers, UserMove
from ring.effects import AbortFlushProgram, KickHash, RunFlushProgram
from ring.link import Link
from ring.messages import NATIVE_MINOR, Stamp, UserKilled, UserKilledEverywhere
from ring.messages import UserMove as UserMoveMessage
from ring.move import Stage
from tests.ring.net import Net
from tests.ring.rig import HOSTS, Peer, Rig, alone, director, settings

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


def test_user_without_sessions_anywhere_is_not_delayed() -> None:
    rig = alone()
    rig.kicks_answered = False
    rig.place(USER, HOSTS[0])
    rig.pass_time(100)  # nobody has just logged in
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))
    rig.node.kick_finished(1, None, rig.now, was_idle=True)

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


def test_forgotten_user_whose_move_times_out_is_not_announced() -> None:
    rig = alone()
    rig.kicks_answered = False
    rig.place(USER, HOSTS[0])
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))
    rig.command(HostFlush(ip_address(HOSTS[1])), "flush")
    rig.pass_time(30.1)

    assert 1 == len(rig.notes("move_timed_out"))
    assert 0 == rig.node.statistics().users


# --- overlapping moves among our own nodes (DESIGN.md decision 17) ---


def native_ring(size: int = 3, **changes: object) -> Net:
    """Return a ring in which the hash of USER leads to HOSTS[3], where it is, synced."""
    net = Net(size, settings=changes)
    net.busy.update((1, 2, 3))
    net.start_all()
    assert "10.1.0.4" == net.login(1, USER)
    net.run(5)
    assert net.is_synced()
    return net


def order_move(net: Net, number: int, ip: str) -> None:
    """An administrator orders a move; nobody else hears of it before `net.settle`."""
    net.nodes[number].command("move", UserMove(user_hash=USER, ip=ip_address(ip)), net.now)


def places(net: Net) -> set[tuple[str, Stage | None]]:
    """Return where the nodes have the user, and how far they are with moving it."""
    return {
        (net.users(number)[USER][0], net.nodes[number].user_status(USER, b"", net.now).stage)
        for number in net.nodes
    }


def test_of_two_moves_at_once_the_one_to_the_lower_host_wins_everywhere() -> None:
    net = native_ring()
    order_move(net, 1, "10.1.0.3")
    order_move(net, 2, "10.1.0.2")
    net.settle()
    assert {("10.1.0.2", Stage.DELAY)} == places(net)
    net.run(3)

    assert {("10.1.0.2", None)} == places(net)
    assert ["10.1.0.3"] == [str(note["instead_of"]) for note in net.notes(1, "move_replaced")]
    assert [] == net.notes(2, "move_replaced")
    assert [1, 1, 1] == [len(net.kicks(number)) for number in net.nodes]


def test_of_two_moves_at_once_the_one_to_a_usable_host_wins_everywhere() -> None:
    net = native_ring()
    net.command(1, HostDown(ip_address("10.1.0.2")))
    net.run(1)
    order_move(net, 1, "10.1.0.3")
    order_move(net, 2, "10.1.0.2")
    net.settle()

    assert {("10.1.0.3", Stage.DELAY)} == places(net)


def test_move_whose_author_knew_of_the_other_wins_though_its_host_is_higher() -> None:
    """The other one has come no farther than the author when that empties its host."""
    net = native_ring()
    order_move(net, 1, "10.1.0.2")
    net.hang(3)
    net.settle()
    assert Stage.WAIT_EVERYONE is net.nodes[2].user_status(USER, b"", net.now).stage
    net.command(2, HostResetUsers(ip=ip_address("10.1.0.2"), parallel_max=10))
    net.wake(3)
    assert {("10.1.0.4", Stage.DELAY)} == places(net)
    net.run(3)

    assert {("10.1.0.4", None)} == places(net)
    assert ["10.1.0.2"] == [str(note["instead_of"]) for note in net.notes(1, "move_replaced")]


def test_flush_program_of_a_move_that_is_replaced_is_aborted() -> None:
    rig = alone_and_native(has_flush_program=True)
    rig.place(USER, HOSTS[0])
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))
    assert Stage.FLUSHING is stage(rig)
    rig.command(HostResetUsers(ip=ip_address(HOSTS[1]), parallel_max=None))

    assert [AbortFlushProgram(1)] == [e for e in rig.effects if isinstance(e, AbortFlushProgram)]
    assert 1 == len(rig.notes("move_replaced"))


def test_ended_moves_are_forgotten_when_nobody_can_still_be_delaying_them() -> None:
    rig = alone_and_native()
    for user_hash in (USER, USER + 1):
        rig.command(UserMove(user_hash=user_hash, ip=ip_address(HOSTS[1])))
        rig.pass_time(2.1)
        assert stage(rig, user_hash) is None
        rig.pass_time(35)

    assert [(b"", USER + 1)] == list(rig.node._moves._ended)


def test_all_clear_that_names_a_move_before_its_kick_is_done_ends_the_waiting() -> None:
    """A ring that is only just taking a director in did not wait for it."""
    rig = Rig()
    rig.kicks_answered = False
    left, _ = rig.ring()
    left.say(f"USER\t{USER}\t{HOSTS[0]}\tNOW")
    left.say(f"USER-MOVE\t127.0.1.1\t19001\t1\t{USER}\t{HOSTS[1]}")
    moved, cleared = (Stamp(origin=director("127.0.1.1"), sequence=sequence) for sequence in (1, 2))
    rig.node._moves.killed_everywhere_received(
        link_of(rig, left), UserKilledEverywhere(stamp=cleared, user_hash=USER, move=moved)
    )
    assert Stage.KILLING is stage(rig)
    rig.node.kick_finished(1, None, rig.now)

    assert Stage.DELAY is stage(rig)


def test_move_that_was_overtaken_by_its_successor_changes_nothing() -> None:
    rig = Rig(settings(others=("127.0.1.3",), minor=NATIVE_MINOR))
    rig.serve_alone()
    link = link_of(rig, rig.dial_in("127.0.1.3"))
    first, second = (Stamp(origin=director(f"127.0.1.{author}"), sequence=1) for author in (1, 3))
    for stamp, ip, after in ((second, HOSTS[1], first), (first, HOSTS[0], None)):
        message = UserMoveMessage(stamp=stamp, user_hash=USER, ip=ip_address(ip), after=after)
        rig.node._moves.move_received(link, message)

    assert HOSTS[1] == current(rig)


def test_user_with_nowhere_to_go_is_kicked_and_its_end_not_remembered() -> None:
    rig = alone_and_native()
    rig.place(USER, HOSTS[0])
    for ip in HOSTS:
        rig.command(HostDown(ip_address(ip)))
    rig.command(HostResetUsers(ip=ip_address(HOSTS[0]), parallel_max=None))
    rig.pass_time(2.1)

    assert [KickHash(user_hash=USER, except_ip=None)] == rig.kicks()
    assert stage(rig) is None
    assert {} == rig.node._moves._ended


# --- rounds of reports in a native ring ---


def report(stamp: Stamp, *path: str, ip: str = HOSTS[1]) -> UserKilled:
    return UserKilled(
        USER, move=stamp, path=tuple(director(place) for place in path), ip=ip_address(ip)
    )


def moves_of_two(**changes: object) -> tuple[Rig, Stamp]:
    """A native ring that is being joined by a second director, and the stamp of a move of that."""
    rig = Rig(settings(others=("127.0.1.3",), minor=NATIVE_MINOR, **changes))
    rig.serve_alone()
    return rig, Stamp(origin=director("127.0.1.3"), sequence=7)


def test_director_that_has_not_heard_of_a_move_takes_part_in_it() -> None:
    rig, stamp = moves_of_two()
    rig.place(USER, HOSTS[0])
    rig.node._moves.killed_received(report(stamp, "127.0.1.3"))
    rig.run()

    assert [
        KickHash(user_hash=USER, except_ip=ip_address(HOSTS[1])),
        KickHash(user_hash=USER, except_ip=None),
    ] == rig.kicks()
    assert HOSTS[1] == current(rig)


def test_round_that_comes_back_before_the_kick_is_done_ends_nothing() -> None:
    rig, stamp = moves_of_two()
    rig.kicks_answered = False
    rig.place(USER, HOSTS[0])
    rig.node._moves.killed_received(report(stamp, "127.0.1.3"))
    assert Stage.NOTIFY_RECEIVED is stage(rig)
    rig.node._moves.killed_received(report(stamp, "127.0.1.3"))

    assert Stage.NOTIFY_RECEIVED is stage(rig)


def test_round_about_a_move_that_is_over_here_is_answered_with_the_all_clear() -> None:
    rig, stamp = moves_of_two()
    rig.node._moves.killed_received(report(stamp, "127.0.1.3"))
    rig.pass_time(2.1)
    assert stage(rig) is None
    link = rig.dial_in("127.0.1.3")
    link.greet()
    link.heard()
    rig.node._moves.killed_received(report(stamp, "127.0.1.3"))

    assert stage(rig) is None
    assert ["USER-KILLED-EVERYWHERE"] == [line.split("\t")[0] for line in link.heard()]


def test_round_about_an_unknown_host_is_dropped() -> None:
    rig, stamp = moves_of_two()
    rig.node._moves.killed_received(report(stamp, "127.0.1.3", ip="10.9.9.9"))

    assert stage(rig) is None
    assert [] == rig.kicks()


def test_round_about_a_move_that_lost_changes_nothing() -> None:
    rig, stamp = moves_of_two()
    rig.place(USER, HOSTS[1])
    rig.kicks_answered = False
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[0])))
    rig.node._moves.killed_received(report(stamp, "127.0.1.3"))

    assert HOSTS[0] == current(rig)
    assert Stage.KILLING is stage(rig)


def test_move_that_heard_of_another_host_says_at_its_end_where_the_user_is() -> None:
    """What the others settled meanwhile was passed over, and nobody would tell it again."""
    rig, _ = moves_of_two()
    rig.place(USER, HOSTS[0])
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))
    state = rig.node._state
    other = state.hosts.get(ip_address(HOSTS[2]))
    assert other is not None
    rig.node._gossip.refresh_user(state.pool(b""), USER, other, int(rig.wall), is_weak=False)
    rig.pass_time(2.1)

    assert [{"user_hash": USER, "tag": b""}] == rig.notes("move_contradicted")
    assert int(rig.wall) + 900 == rig.node.user_status(USER, b"", rig.now).expires_at


def test_move_that_heard_of_no_other_host_ends_in_silence() -> None:
    rig, _ = moves_of_two()
    rig.place(USER, HOSTS[0])
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))
    rig.pass_time(2.1)

    assert [] == rig.notes("move_contradicted")


def right_of(rig: Rig) -> Peer:
    """Return a right neighbour, which the node finds by trying again."""
    while not rig.dialled:
        rig.pass_time(1)
    return rig.complete_right()


def test_ring_that_is_whole_again_is_asked_again() -> None:
    rig, _ = moves_of_two()
    right = right_of(rig)
    rig.place(USER, HOSTS[0])
    rig.kicks_answered = False
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))
    rig.node._moves.ring_synced()
    assert Stage.NOTIFY_RECEIVED is stage(rig)
    rig.node.kick_finished(1, None, rig.now)
    rig.node._moves.ring_synced()
    rig.run()

    assert Stage.WAIT_EVERYONE is stage(rig)
    assert 2 == right.heard().count(f"USER-KILLED\t{USER}")
    right.say(f"USER-KILLED-EVERYWHERE\t127.0.1.3\t19001\t1\t{USER}")
    rig.node._moves.ring_synced()

    assert Stage.DELAY is stage(rig)


def test_director_without_a_right_neighbour_waits_for_one() -> None:
    rig = Rig(settings(minor=NATIVE_MINOR))
    rig.serve_alone()
    right = right_of(rig)
    rig.dial_in("127.0.1.1").shake()
    rig.place(USER, HOSTS[0])
    rig.kicks_answered = False
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))
    rig.node.link_lost(right.link_id, "EOF", rig.now)
    rig.node.kick_finished(1, None, rig.now)
    rig.run()

    assert Stage.WAIT_EVERYONE is stage(rig)


def alone_and_native(**changes: object) -> Rig:
    rig = Rig(settings(others=(), minor=NATIVE_MINOR, **changes))
    assert rig.node.is_native_ring
    return rig


def link_of(rig: Rig, peer: Peer) -> Link:
    link = rig.node.link(peer.link_id)
    assert link is not None
    return link
