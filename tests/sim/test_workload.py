"""Users and proxies: logins, sessions, refreshes, kicks, and what happens without a director."""

from __future__ import annotations

from ring.effects import KickHash, KickName
from sim.randomness import Stream
from sim.workload import Session
from sim.world import World
from tests.sim.rig import events, log_in, quiet_world, start_login, user_of


def expires_in_s(world: World, number: int, director: int) -> float:
    """Return for how long a director will still know a user."""
    node = world.machines[director - 1].node
    assert node is not None
    user = user_of(world, number)
    status = node.user_status(user.user_hash, user.tag, world.now)
    return (status.expires_at or 0) - world.true_wall


def test_a_session_begins_where_the_director_says_and_all_directors_agree() -> None:
    world = quiet_world()
    hosts = {log_in(world, 1, machine).ip for machine in world.machines}

    assert 1 == len(hosts)


def test_a_live_session_is_refreshed_every_half_expiry() -> None:
    world = quiet_world(expire_s=20)
    log_in(world, 1, world.machines[0])
    world.run_until(world.now + 35.0)

    assert expires_in_s(world, 1, director=2) > 0


def test_a_director_that_was_away_is_told_when_it_is_back() -> None:
    world = quiet_world(expire_s=40)
    machine = world.machines[0]
    session = log_in(world, 1, machine)
    world.run_until(world.now + 19.0)
    machine.stop(has_power=True)
    world.run_until(world.now + 10.0)
    machine.start()
    world.run_until(world.now + 3.0)

    assert expires_in_s(world, 1, director=2) > 35
    assert "" == session.excuse


def test_a_session_that_nobody_refreshed_in_time_has_an_excuse() -> None:
    world = quiet_world(expire_s=20)
    session = log_in(world, 1, world.machines[0])
    world.machines[0].stop(has_power=True)
    world.run_until(world.now + 21.0)

    assert "director away for long" == session.excuse
    assert not session.is_ended


def test_a_login_whose_director_dies_is_tried_elsewhere() -> None:
    world = quiet_world()
    machine = world.machines[0]
    machine.pause()
    start_login(world, 1, machine)
    machine.stop(has_power=True)
    world.run_until(world.now + 10.0)

    [session] = user_of(world, 1).sessions
    assert session.is_live
    assert session.machine is not machine


def test_sessions_survive_their_director_and_not_their_machine() -> None:
    alive = {}
    for has_power in (True, False):
        world = quiet_world()
        session = log_in(world, 1, world.machines[0])
        world.machines[0].stop(has_power=has_power)
        alive[has_power] = not session.is_ended

    assert {True: True, False: False} == alive


def test_logins_wait_for_an_auth_service_that_is_away() -> None:
    world = quiet_world()
    world.workload.auth_away(world.machines[0])
    for number in (1, 2):
        start_login(world, number, world.machines[0])
    world.run_until(world.now + 5.0)
    assert 0 == world.workload.logins_count
    world.workload.auth_back(world.machines[0])

    assert 2 == world.workload.logins_count


def sessions_on_both(world: World) -> list[Session]:
    return [log_in(world, 1, machine) for machine in world.machines[:2]]


def test_a_kick_ends_what_is_meant_on_its_machine_only() -> None:
    world = quiet_world()
    here, there = sessions_on_both(world)
    world.workload.kick(here.machine, KickName(here.user.name), is_failing=False)

    assert [True, False] == [here.is_ended, there.is_ended]


def test_a_kick_by_hash_spares_one_host_and_one_that_fails_leaves_an_excuse() -> None:
    world = quiet_world()
    session = log_in(world, 1, world.machines[0])
    what = KickHash(user_hash=session.user.user_hash, except_ip=session.ip)
    world.workload.kick(session.machine, what, is_failing=False)
    assert not session.is_ended
    what = KickHash(user_hash=session.user.user_hash, except_ip=None)
    world.workload.kick(session.machine, what, is_failing=True)

    assert not session.is_ended
    assert "kick failed" == session.excuse


def test_a_burst_is_many_logins_within_a_tenth_of_a_second() -> None:
    world = quiet_world()
    world.workload.burst(30, Stream(1, "test"))
    world.run_until(world.now + 0.11)

    assert 30 == len(events(world, "login"))


def test_when_all_have_left_nobody_comes_back() -> None:
    world = quiet_world(pause_s=1.0, session_s=1.0)
    world.run_until(world.now + 5.0)
    world.workload.close()
    logins = world.workload.logins_count
    world.run_until(world.now + 20.0)

    assert 0 == sum(len(user.sessions) for user in world.workload.users)
    assert logins == world.workload.logins_count > 0
