"""RingNode: what the shell sees, whatever happens inside."""

from __future__ import annotations

import math
from ipaddress import ip_address

import attrs
import pytest

from ring import limits
from ring.commands import HostResetUsers, HostSet, UserKick, UserMove
from ring.effects import CommandAnswered, Dial, Hangup, LookupAnswered, RunFlushProgram
from ring.messages import Users
from ring.node import STANDALONE, RingNode
from tests.ring.net import Net
from tests.ring.rig import HOSTS, NOW, Rig, alone, director, settings

USER = 700


def test_node_dials_when_it_is_made_and_gives_its_effects_once() -> None:
    node = RingNode(settings(), 1000.0, float(NOW))

    assert [Dial(link_id=1, address=director("127.0.1.3"))] == node.drain()
    assert [] == node.drain()


def test_director_without_servers_is_complete_and_has_a_name() -> None:
    node = RingNode(settings(own="127.0.1.2", others=()), 1000.0, float(NOW))
    without_servers = attrs.evolve(settings(), own=None, directors=())
    nobody = RingNode(without_servers, 1000.0, float(NOW))

    assert node.is_synced
    assert director("127.0.1.2") == node.own
    assert nobody.is_synced
    assert STANDALONE == nobody.own


# --- the data plane ---


def test_users_are_restored_and_told_to_the_ring_if_they_are_news() -> None:
    rig = Rig()
    left, right = rig.ring()
    ips = [ip_address(ip) for ip in (HOSTS[0], HOSTS[1], "10.9.9.9", HOSTS[0])]
    times = [NOW - 5, NOW - 6, NOW, NOW - 900]

    assert 2 == rig.node.restore_users(b"", [1, 2, 3, 4], ips, times, rig.now)
    assert [f"USER\t1\t{HOSTS[0]}\tNOW-5", f"USER\t2\t{HOSTS[1]}\tNOW-6"] == right.heard()
    assert 0 == rig.node.restore_users(b"", [1], ips[:1], [NOW - 7], rig.now)
    assert [] == right.heard()
    assert 2 == len(left.heard())


def test_users_are_not_restored_to_a_host_of_another_tag() -> None:
    rig = alone()

    assert 0 == rig.node.restore_users(b"fast", [1], [ip_address(HOSTS[0])], [NOW], rig.now)


def test_users_are_counted_by_host() -> None:
    rig = alone()
    rig.place(USER, HOSTS[0])
    first, second, _ = rig.node.hosts

    assert (1, 0) == (rig.node.user_count(first), rig.node.user_count(second))
    assert 0 == Rig().node.user_count(next(iter(Rig().node.hosts)))


def test_gossiped_columns_can_be_given_directly() -> None:
    rig = Rig()
    left, _ = rig.ring()
    link = rig.node.link(left.link_id)
    assert link is not None
    rig.node.users_received(
        link, Users(hashes=[USER], timestamps=[NOW], hosts=[ip_address(HOSTS[0])], host_indexes=[0])
    )

    assert rig.node.statistics().users == 1


def test_questions_about_a_user_and_the_hosts_are_answered_at_once() -> None:
    rig = alone()
    rig.node.lookup("login", USER, b"", rig.now)
    status = rig.node.user_status(USER, b"", rig.now)

    assert status.current is rig.node.hosts.lookup(USER, b"")
    assert [str(host.ip) for host in rig.node.configured_hosts] == list(HOSTS)
    assert [b""] == list(rig.node.pools)
    assert not rig.node.is_native_ring
    assert ["self"] == [entry.role for entry in rig.node.directors_status(rig.now)]


def test_change_while_unsynced_leaves_waiting_commands_alone() -> None:
    rig = Rig()
    left, _ = rig.ring()
    rig.command(HostSet(ip=ip_address(HOSTS[0]), tag=b"", weight=5), "first")
    rig.command(HostSet(ip=ip_address(HOSTS[1]), tag=b"", weight=5), "second")
    left.say(f"HOST\t127.0.1.1\t19001\t1\t{HOSTS[2]}\t50")

    assert [] == rig.answers("first") + rig.answers("second")


def test_many_users_are_looked_up_at_once_as_far_as_nobody_has_to_think() -> None:
    rig = Rig()
    assert [None, None] == rig.node.lookup_many([1, 2], b"", rig.now)
    rig.serve_alone()
    assert [None, None] == rig.node.lookup_many([1, 2], b"", rig.now)
    rig.node.lookup("first", 1, b"", rig.now)
    rig.command(UserMove(user_hash=3, ip=ip_address(HOSTS[0])))

    assert [
        rig.node.hosts.lookup(1, b""),
        rig.node.hosts.lookup(2, b""),
        None,
    ] == rig.node.lookup_many([1, 2, 3], b"", rig.now)
    assert rig.node.statistics().users == 3


def test_user_with_sessions_does_not_expire() -> None:
    rig = alone()
    rig.node.lookup("login", USER, b"", rig.now)
    rig.pass_time(800, step=200.0)
    rig.node.refresh(USER, rig.now)
    rig.pass_time(800, step=200.0)

    assert rig.node.user_status(USER, b"", rig.now).current is not None


def test_abandoned_login_is_not_answered() -> None:
    rig = Rig()
    assert rig.node.lookup("login", USER, b"", rig.now) is None
    rig.node.abandon("login")
    rig.serve_alone()

    assert LookupAnswered not in {type(effect) for effect in rig.effects}


def test_waiting_login_is_answered_when_the_ring_is_complete() -> None:
    rig = Rig()
    assert rig.node.lookup("login", USER, b"", rig.now) is None
    rig.serve_alone()

    assert LookupAnswered in {type(effect) for effect in rig.effects}


def test_result_of_a_flush_program_ends_its_move() -> None:
    rig = alone(has_flush_program=True)
    rig.place(USER, HOSTS[0])
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[1])))
    (program,) = (effect for effect in rig.effects if isinstance(effect, RunFlushProgram))
    rig.node.flush_finished(program.flush_id, True, rig.now)

    assert rig.node.user_status(USER, b"", rig.now).stage is None


# --- links ---


def test_link_with_something_to_send_is_named_until_it_has_been_taken() -> None:
    node = RingNode(settings(), 1000.0, float(NOW))
    link_id = node.link_accepted(ip_address("127.0.1.1"), 1000.0)
    assert link_id is not None
    assert [link_id] == list(node.links_with_output())
    link = node.link(link_id)
    assert link is not None
    link.take_output(1000, NOW)

    assert [] == list(node.links_with_output())


def test_failed_dial_is_followed_by_the_next() -> None:
    node = RingNode(settings(), 1000.0, float(NOW))
    node.drain()
    node.link_failed(1, "connection refused", 1001.0)

    assert director("127.0.1.1") == next(e for e in node.drain() if isinstance(e, Dial)).address


def test_news_of_a_link_that_is_gone_are_ignored() -> None:
    rig = Rig()
    rig.node.received(99, b"NONSENSE\n", rig.now)
    rig.node.link_lost(99, "EOF", rig.now)
    rig.node.link_connected(99, rig.now)

    assert [] == rig.node.drain()


def test_input_behind_a_quit_is_not_looked_at() -> None:
    rig = Rig()
    left, _right = rig.ring()
    left.say("QUIT\tgoodbye", "USER-KICK\t127.0.1.1\t19001\t1\tbob")

    assert left.is_closed
    assert [] == rig.kicks()


def test_input_of_a_link_that_is_being_left_is_not_looked_at() -> None:
    rig = Rig()
    _left, right = rig.ring()
    right.say("CONNECT\t127.0.1.3\t19001", "USER-KICK\t127.0.1.3\t19001\t1\tbob")
    right.say("NONSENSE")

    assert not right.is_closed
    assert [] == rig.kicks()


def test_line_that_breaks_the_protocol_costs_its_link_after_what_came_before_it() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("USER-KICK\t127.0.1.1\t19001\t1\tbob", "NONSENSE", "PING")

    assert left.is_closed
    assert not right.is_closed
    assert 1 == len(rig.kicks())
    assert 1 == len(rig.notes("link_broke_protocol"))


def test_peer_that_does_not_read_is_hung_up_on_whatever_it_is_sent() -> None:
    rig = Rig(settings(output_buffer_bytes=3000))
    left, right = rig.ring()
    right.is_stuck = True
    for number in range(100):
        rig.command(UserKick(user=b"bob", is_waiting=False), number)

    assert right.is_closed
    assert not left.is_closed


def test_shut_down_ends_every_link_and_dials_nobody() -> None:
    rig = Rig()
    left, right = rig.ring()
    rig.node.drain()
    rig.node.shut_down(rig.now)
    effects = rig.node.drain()

    assert {left.link_id, right.link_id} == {e.link_id for e in effects if isinstance(e, Hangup)}
    assert [] == [effect for effect in effects if isinstance(effect, Dial)]


# --- time ---


def test_deadline_is_that_of_the_next_timer() -> None:
    rig = alone()

    assert rig.now < rig.node.deadline < math.inf


def test_deadline_is_now_while_there_is_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WALK_USERS_MAX", 10)
    rig = alone()
    rig.node.command("c", HostResetUsers(ip=None, parallel_max=None), rig.now)
    assert -math.inf == rig.node.deadline
    while rig.node.deadline < rig.now:
        rig.node.tick(rig.now)

    assert CommandAnswered in {type(effect) for effect in rig.node.drain()}


def test_timers_that_fall_due_together_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = alone()
    for user_hash in range(1, 31):
        rig.command(UserMove(user_hash=user_hash, ip=ip_address(HOSTS[1])), user_hash)
    monkeypatch.setattr(limits, "WALK_USERS_MAX", 10)
    rig.now += 2.1
    rig.node.tick(rig.now)
    assert 20 < rig.node.statistics().moving <= 21 + 1
    assert rig.node.deadline < rig.now
    for _ in range(3):
        rig.node.tick(rig.now)

    assert rig.node.statistics().moving == 0


def test_work_left_over_goes_on_with_the_next_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WALK_USERS_MAX", 10)
    rig = Rig()
    for token in range(25):
        rig.node.lookup(token, token + 1, b"", rig.now)
    rig.serve_alone()
    while rig.node.deadline < rig.now:
        rig.node.tick(rig.now)
    rig.run()

    assert 25 == sum(isinstance(effect, LookupAnswered) for effect in rig.effects)


def test_tick_before_the_deadline_does_nothing() -> None:
    rig = alone()
    rig.node.tick(rig.now)

    assert [] == rig.node.drain()


def test_every_timer_reaches_its_owner() -> None:
    """One node that sees them all: dials, silence, moves, rounds, waits, sweeps, removals."""
    rig = Rig(settings(user_kick_delay_s=1.0))
    left, _right = rig.ring()
    rig.place(USER, HOSTS[0])
    rig.node.lookup("login", USER, b"", rig.now)
    left.say("DIRECTOR\t127.0.1.9\t19001", "DIRECTOR-REMOVE\t127.0.1.9\t19001")
    rig.command(HostSet(ip=ip_address(HOSTS[0]), tag=b"", weight=5), "host")
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[1])), "move")
    rig.node.lookup("waits", USER, b"", rig.now)
    left.say("CONNECT\t127.0.1.9\t19001")
    rig.pass_time(100)

    assert 1 == len(rig.notes("move_timed_out"))
    assert rig.node.statistics().directors == 3
    assert rig.node.statistics().parked == 0
    assert rig.node.statistics().commands_waiting == 0
    assert "Ping timeout" in {note["reason"] for note in rig.notes("link_lost")}


def test_link_that_answers_no_ping_is_lost_in_the_end_though_it_talks() -> None:
    rig = Rig(settings(ping_max_timeout_s=20.0))
    left, right = rig.ring()
    rig.pass_time(15.1)
    for _ in range(21):
        right.say("PING", "PONG")
        left.say("PING")
        rig.pass_time(1)

    assert "Pong timeout" in {note["reason"] for note in rig.notes("link_lost")}


def test_halves_of_a_ring_that_meet_again_tell_each_other_their_users() -> None:
    net = Net(3)
    net.start_all()
    net.sever([3])
    net.run_until(net.is_synced, 60)
    for number, user_hash in ((1, 700), (3, 701)):
        assert net.login(number, user_hash)
    net.heal()
    net.run_until(lambda: len(net.users(1)) == len(net.users(3)) == 2, 120)

    assert net.users(1) == net.users(2) == net.users(3)
