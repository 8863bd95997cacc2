"""Two hosts for one user break a promise, are excused by a window that has a name, and settled."""

from __future__ import annotations

import pytest

from ring import limits
from ring.address import IpAddress
from ring.effects import Kick, KickHash, Noted
from sim.one_host import FORGET_SPREAD_S, KICKED_S, SETTLE_S
from sim.randomness import Stream
from sim.verdict import Broken
from sim.workload import Device, Session
from sim.world import World
from tests.sim.rig import events, quiet_world, user_of

ONE, OTHER = World.host_ip(1), World.host_ip(2)


def live_session(world: World, machine_number: int, ip: IpAddress) -> Session:
    user = user_of(world, 1)
    device = Device(user, Stream(1, "test"))
    machine = world.machines[machine_number - 1]
    session = Session(user=user, device=device, machine=machine, ip=ip, is_live=True)
    user.sessions.append(session)
    world.promises.one_host.session_begun(session)
    return session


def end(world: World, session: Session) -> None:
    session.user.sessions.remove(session)
    world.promises.one_host.session_ended(session)


def test_a_user_live_on_two_hosts_breaks_a_promise() -> None:
    world = quiet_world()
    live_session(world, 1, ONE)
    live_session(world, 2, ONE)
    with pytest.raises(
        Broken,
        match=r"one-host broken .* user 1 is live on 10.1.0.2 through d03 and on 10.1.0.1 through",
    ):
        live_session(world, 3, OTHER)


def test_in_a_window_a_user_may_be_on_two_hosts_for_a_while() -> None:
    world = quiet_world(directors=2)
    close = world.promises.faults.open("partition")
    first = live_session(world, 1, ONE)
    live_session(world, 2, OTHER)
    assert 1 == world.promises.one_host.conflicts_count
    assert {"one-host: partition": 1} == world.promises.windows
    world.run_until(world.now + 3)
    close()
    end(world, first)

    assert {} == world.promises.one_host.open_conflicts
    assert 3.0 == world.promises.one_host.worst_conflict_s
    assert ["user=1 after 3.000 s"] == events(world, "one host again")


def test_a_user_must_settle_when_the_window_has_closed() -> None:
    world = quiet_world(directors=2)
    close = world.promises.faults.open("partition")
    for machine_number, ip in ((1, ONE), (2, OTHER)):
        live_session(world, machine_number, ip)
    world.run_until(world.now + 2 * SETTLE_S["native"])
    close()
    world.run_until(world.now + SETTLE_S["native"])
    with pytest.raises(Broken, match=r"settled broken .* user 1 is still live on 10.1.0.1 thr"):
        world.run_until(world.now + 2)


def reported(world: World) -> None:
    user_hash = user_of(world, 1).user_hash
    fields = (("user_hash", user_hash), ("host", ONE), ("loser", OTHER))
    world.promises.noted(world.machines[0], Noted("user_conflict_settled", fields))


def test_a_director_whose_kick_hangs_may_hear_of_two_hosts_later_and_not_much() -> None:
    world = quiet_world(directors=2)
    world.machines[0].kick_trouble = "hang"
    what = KickHash(user_hash=user_of(world, 1).user_hash, except_ip=None)
    world.promises.kick_begun(world.machines[0], Kick(kick_id=1, what=what))
    world.run_until(world.now + limits.KICK_TIMEOUT_S)
    reported(world)
    assert {"one-host: kick that hangs": 1} == world.promises.windows
    world.run_until(world.now + 10.0)
    with pytest.raises(Broken, match=r"one-host broken .* d01 heard of two hosts for one user"):
        reported(world)


def test_a_session_on_the_losing_host_must_be_kicked_when_that_was_reported() -> None:
    world = quiet_world(directors=2)
    world.promises.faults.open("partition")()  # else there must be no two hosts in the first place
    live_session(world, 1, OTHER)
    reported(world)
    with pytest.raises(Broken, match=r"settled broken .* d01, 5 s after that was reported"):
        world.run_until(world.now + KICKED_S + 2)


def test_two_hosts_are_a_breach_as_soon_as_they_are_reported() -> None:
    world = quiet_world(directors=2)
    with pytest.raises(Broken, match=r"one-host broken .* d01 heard of two hosts for one user"):
        reported(world)


def test_a_director_that_says_who_lost_closes_its_own_sessions_in_any_window() -> None:
    world = quiet_world(directors=2)
    world.promises.faults.open("partition")
    live_session(world, 1, OTHER)
    reported(world)
    with pytest.raises(Broken, match=r"settled broken .* d01, 5 s after that was reported"):
        world.run_until(world.now + KICKED_S + 2)


def test_a_session_is_not_excused_from_what_comes_after_its_excuse() -> None:
    world = quiet_world(directors=2)
    world.promises.faults.open("partition")
    live_session(world, 1, OTHER).forgive("director away when kicked", world.now)
    world.run_until(world.now + 1.0)
    reported(world)
    with pytest.raises(Broken, match=r"settled broken .* d01, 5 s after that was reported"):
        world.run_until(world.now + KICKED_S + 2)


def test_a_report_is_not_heard_by_a_director_that_is_away() -> None:
    world = quiet_world(directors=2)
    live_session(world, 2, OTHER)
    world.promises.faults.open("partition")
    reported(world)
    world.run_until(world.now + KICKED_S + 2)


def test_a_session_that_nobody_could_end_is_excused() -> None:
    world = quiet_world(directors=2)
    live_session(world, 1, ONE).forgive("kick failed", world.now)
    live_session(world, 2, OTHER)
    world.run_until(world.now + 2 * SETTLE_S["native"])

    assert {"one-host: kick failed": 1} == world.promises.windows


def test_the_original_may_not_have_heard_of_a_user() -> None:
    world = quiet_world(codec="classic")
    for machine_number, ip in ((1, ONE), (2, OTHER)):
        live_session(world, machine_number, ip)

    assert 1 == world.promises.windows["one-host: classic export not forwarded"]


def test_whoever_was_forgotten_by_an_administrator_may_log_in_elsewhere() -> None:
    world = quiet_world()
    session = live_session(world, 1, ONE)
    world.promises.one_host.forgotten(ONE)
    live_session(world, 2, OTHER)

    assert "users forgotten by an administrator" == session.excuse


def test_two_hosts_are_heard_of_while_an_administrator_lets_users_be_forgotten() -> None:
    world = quiet_world()
    world.promises.one_host.forgotten(OTHER)
    reported(world)
    assert {"one-host: users forgotten by an administrator": 1} == world.promises.windows
    world.run_until(world.now + FORGET_SPREAD_S + 1)
    with pytest.raises(Broken, match="heard of two hosts"):
        reported(world)
