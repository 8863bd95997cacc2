"""What each action does to a small world, and that healing undoes all of it."""

from __future__ import annotations

import pytest

from ring import limits
from sim.actions import ACTIONS, Crash, parse_action
from sim.world import World
from tests.sim.rig import events, is_one_ring, log_in, quiet_world, start_login, user_of

LINES = {
    "partition": "side=1 seconds=30",
    "deafen": "side=1 seconds=30",
    "cut": "one=1 other=2 seconds=30",
    "flap": "one=1 other=2 period_s=1 seconds=30",
    "clog": "one=1 other=2 extra_s=3 seconds=30",
    "reset": "one=1 other=2",
    "silence": "one=1 other=2",
    "refuse": "director=1 seconds=30",
    "slow": "director=1 bytes_per_s=2000 seconds=30",
    "stray": "director=1 source=2 kind=garbage seconds=30",
    "crash": "director=1 snapshot=new seconds=30",
    "power-loss": "director=1 seconds=30",
    "leave": "director=1 seconds=30",
    "reconfigure": "director=1 host=2 seconds=30",
    "pause": "director=1 seconds=30",
    "jump": "director=1 by_s=100",
    "auth-away": "director=1 seconds=30",
    "kick-trouble": "director=1 kind=fail seconds=30",
    "flush-trouble": "director=1 kind=fail seconds=30",
    "weight": "director=1 host=2 weight=50",
    "down": "director=1 host=2",
    "up": "director=1 host=2",
    "remove-host": "director=1 host=2",
    "forget-users": "director=1 host=2",
    "move-users": "director=1 host=2",
    "move-user": "director=1 user=1 host=2",
    "contradict": "director=1 other=2 kind=weight user=1 host=2 other_host=3 apart_s=0",
    "kick-user": "director=1 user=1",
    "remove-director": "director=1 removed=2",
    "burst": "director=1 logins=3",
    "login": "director=1 user=1 seconds=30",
}


def do(world: World, verb: str, line: str = "") -> None:
    world.faults.perform(parse_action(f"{world.now} {verb} {line or LINES[verb]}"))


def pass_time(world: World, seconds: float) -> None:
    world.run_until(world.now + seconds)


@pytest.mark.parametrize("verb", sorted(ACTIONS.keys() - {"remove-director"}))
def test_whatever_happened_the_healed_world_is_one_ring_again(verb: str) -> None:
    world = quiet_world()
    log_in(world, 1, world.machines[0])
    do(world, verb)
    pass_time(world, 3)
    world.faults.heal()
    for _ in range(150):
        pass_time(world, 1)
        if is_one_ring(world):
            break

    assert is_one_ring(world)
    assert {verb: 1} == world.faults.counts
    assert [LINES[verb].split()[0]] == [words.split()[0] for words in events(world, f"! {verb}")]


# --- the network ---


def cut_paths(world: World) -> set[tuple[int, int]]:
    numbers = [machine.number for machine in world.machines]
    return {(a, b) for a in numbers for b in numbers if world.network.is_cut(a, b)}


@pytest.mark.parametrize(
    ("verb", "line", "paths"),
    [
        ("partition", "side=1 seconds=2", {(1, 2), (2, 1), (1, 3), (3, 1)}),
        ("deafen", "side=1 seconds=2", {(1, 2), (1, 3)}),
        ("cut", "one=1 other=2 seconds=2", {(1, 2), (2, 1)}),
    ],
)
def test_cut_paths_are_mended_after_their_time(
    verb: str, line: str, paths: set[tuple[int, int]]
) -> None:
    world = quiet_world()
    do(world, verb, line)
    assert paths == cut_paths(world)
    assert world.promises.faults.quiet_since == float("inf")
    pass_time(world, 2.1)

    assert set() == cut_paths(world)
    assert world.promises.faults.quiet_since < world.now


def test_a_flapping_path_is_cut_and_mended_in_turn() -> None:
    world = quiet_world()
    do(world, "flap", "one=1 other=2 period_s=1 seconds=5")
    seen = []
    for _ in range(6):
        pass_time(world, 0.5)
        seen.append(bool(cut_paths(world)))
        pass_time(world, 0.5)

    assert [True, False, True, False, True, False] == seen


@pytest.mark.parametrize(("extra_s", "is_window"), [(0.9, False), (1.0, True)])
def test_a_clogged_path_is_slower_and_a_window_only_if_taken_for_dead(
    extra_s: float, is_window: bool
) -> None:
    world = quiet_world()
    do(world, "clog", f"one=1 other=2 extra_s={extra_s} seconds=2")

    assert world.network.delay(1, 2) > extra_s
    assert world.network.delay(2, 1) < extra_s
    assert is_window == bool(world.promises.window())
    assert "clog" == world.trouble()
    pass_time(world, 2.1)
    assert world.network.delay(1, 2) < extra_s


def test_both_ends_of_a_reset_connection_are_told_at_once() -> None:
    world = quiet_world()
    do(world, "reset")
    pass_time(world, 0.1)

    told = [line for line in world.trace.lines if "link lost" in line and "reset" in line]
    assert {"d01", "d02"} == {line[13:16] for line in told}


def test_nobody_is_told_of_a_silent_connection_until_a_ping_is_missed() -> None:
    world = quiet_world()
    do(world, "silence")
    pass_time(world, 1)
    assert [] == events(world, "link lost")
    pass_time(world, 40)

    assert any("timeout" in detail for detail in events(world, "link_lost"))
    assert is_one_ring(world)


def test_new_connections_are_refused_for_a_while() -> None:
    world = quiet_world()
    do(world, "refuse", "director=2 seconds=5")
    do(world, "reset")
    pass_time(world, 1)

    assert any("connection refused" in detail for detail in events(world, "link_lost"))


def test_a_slow_reader_is_fast_again_after_its_time() -> None:
    world = quiet_world()
    machine = world.machines[0]
    do(world, "slow", "director=1 bytes_per_s=2000 seconds=2")
    assert 2000 == machine.bytes_per_s
    pass_time(world, 2.1)

    assert 0 == machine.bytes_per_s


@pytest.mark.parametrize(("kind", "is_noted"), [("garbage", True), ("cut", False), ("mute", False)])
def test_a_stray_connection_harms_no_ring(kind: str, is_noted: bool) -> None:
    world = quiet_world()
    do(world, "stray", f"director=1 source=2 kind={kind} seconds=5")
    pass_time(world, 4)

    assert is_noted == bool(events(world, "link_broke_protocol"))
    assert is_one_ring(world)


# --- machines ---


@pytest.mark.parametrize(("snapshot", "is_known"), [("none", False), ("old", False), ("new", True)])
def test_a_crashed_director_comes_back_with_what_its_snapshot_holds(
    snapshot: str, is_known: bool
) -> None:
    crash = Crash(at=25.0, director=1, snapshot=snapshot, seconds=2.0)
    world = quiet_world(directors=1, actions=(crash,))  # snapshots are taken for whom needs them
    world.run_until(15)
    session = log_in(world, 1, world.machines[0])
    world.run_until(25)
    world.faults.perform(crash)
    assert world.machines[0].is_off
    pass_time(world, 2.1)
    node = world.machines[0].node
    assert node is not None

    assert int(is_known) == node.statistics().users
    assert session.is_live
    assert "memory lost" == session.excuse


def test_sessions_end_when_the_power_does() -> None:
    world = quiet_world()
    session = log_in(world, 1, world.machines[0])
    do(world, "power-loss", "director=1 seconds=2")
    pass_time(world, 2.1)

    assert session.is_ended
    assert not world.machines[0].is_off


def test_a_director_that_leaves_says_goodbye_and_comes_back() -> None:
    world = quiet_world()
    do(world, "leave", "director=1 seconds=2")
    pass_time(world, 0.1)
    assert world.machines[0].is_off
    assert any("Shutting down" in detail for detail in events(world, "link_quit"))
    pass_time(world, 2)

    assert not world.machines[0].is_off


def test_what_is_away_already_cannot_fail_again() -> None:
    world = quiet_world()
    do(world, "crash", "director=1 snapshot=none seconds=5")
    for verb in ("crash", "power-loss", "leave", "pause", "stray"):
        do(world, verb)

    assert 1 == len(events(world, "died"))
    assert not world.machines[0].is_paused


def test_a_paused_process_goes_on_after_its_time() -> None:
    world = quiet_world()
    do(world, "pause", "director=1 seconds=2")
    start_login(world, 1, world.machines[0])
    pass_time(world, 1.9)
    assert [] == user_of(world, 1).sessions
    pass_time(world, 0.3)

    assert 1 == len(user_of(world, 1).sessions)


def test_a_clock_that_jumped_farther_than_the_margin_is_a_window_until_healed() -> None:
    world = quiet_world()
    do(world, "jump", "director=1 by_s=1")
    assert "" == world.promises.window()
    do(world, "jump", "director=1 by_s=200")
    assert "clock skew" == world.promises.window()
    assert 201.0 == world.machines[0].skew_s
    world.faults.heal()

    assert 0.0 == world.machines[0].skew_s


def test_logins_wait_for_the_auth_service() -> None:
    world = quiet_world()
    do(world, "auth-away", "director=1 seconds=2")
    start_login(world, 1, world.machines[0])
    pass_time(world, 1.9)
    assert 0 == world.workload.logins_count
    pass_time(world, 0.3)

    assert 1 == world.workload.logins_count
    assert user_of(world, 1).sessions[0].is_live


@pytest.mark.parametrize(
    ("kind", "fails_after_s"), [("fail", 0.1), ("hang", limits.KICK_TIMEOUT_S)]
)
def test_kicks_fail_at_once_or_when_given_up(kind: str, fails_after_s: float) -> None:
    world = quiet_world()
    session = log_in(world, 1, world.machines[0])
    do(world, "kick-trouble", f"director=1 kind={kind} seconds=60")
    do(world, "kick-user", "director=2 user=1")
    pass_time(world, fails_after_s - 0.1)
    assert "" == session.excuse
    pass_time(world, 0.2)

    assert "kick failed" == session.excuse
    assert session.is_live


@pytest.mark.parametrize(
    ("kind", "event", "detail"),
    [("fail", "flush ended", "flush=1 ok=False"), ("hang", "flush aborted", "flush=1")],
)
def test_flush_programs_fail_or_hang_until_aborted(kind: str, event: str, detail: str) -> None:
    world = quiet_world(has_flush_program=True)
    session = log_in(world, 1, world.machines[0])
    target = next(number for number in (1, 2) if World.host_ip(number) != session.ip)
    do(world, "flush-trouble", f"director=1 kind={kind} seconds=60")
    do(world, "move-user", f"director=1 user=1 host={target}")
    pass_time(world, 31)

    assert [detail] == events(world, event)


# --- administrators ---


def hosts(world: World) -> list[str]:
    node = world.machines[1].node
    assert node is not None
    return [f"{h.ip} {h.weight}{' down' if h.is_down else ''}" for h in node.hosts]


@pytest.mark.parametrize(
    ("verb", "line", "expected"),
    [
        ("weight", "director=1 host=1 weight=50", ["10.1.0.1 50", "10.1.0.2 100"]),
        ("down", "director=1 host=2", ["10.1.0.1 100", "10.1.0.2 100 down"]),
        ("remove-host", "director=1 host=2", ["10.1.0.1 100"]),
    ],
)
def test_hosts_are_changed_on_every_director(verb: str, line: str, expected: list[str]) -> None:
    world = quiet_world(hosts=2)
    do(world, verb, line)
    pass_time(world, 1)

    assert expected == hosts(world)


def test_a_host_that_was_down_can_be_taken_up() -> None:
    world = quiet_world(hosts=1)
    for verb in ("down", "up"):
        do(world, verb, "director=1 host=1")
        pass_time(world, 1)

    assert ["10.1.0.1 100"] == hosts(world)


@pytest.mark.parametrize("kind", ["weight", "updown", "move"])
def test_two_administrators_contradict_each_other(kind: str) -> None:
    world = quiet_world()
    line = f"director=1 other=2 kind={kind} user=1 host=2 other_host=3 apart_s=0.02"
    do(world, "contradict", line)
    pass_time(world, 1)

    lanes = [line[13:16] for line in world.trace.lines if line[19:26] == "command"]
    assert ["d01", "d02"] == lanes
    assert 2 == len(events(world, "answer"))


def test_sessions_of_forgotten_users_are_excused() -> None:
    world = quiet_world(hosts=1)
    session = log_in(world, 1, world.machines[0])
    do(world, "forget-users", "director=2 host=1")
    pass_time(world, 1)

    assert "users forgotten by an administrator" == session.excuse
    assert session.is_live


def test_moved_users_are_kicked() -> None:
    world = quiet_world()
    session = log_in(world, 1, world.machines[0])
    target = next(number for number in (1, 2) if World.host_ip(number) != session.ip)
    do(world, "move-user", f"director=2 user=1 host={target}")
    pass_time(world, 1)

    assert session.is_ended
    assert 1 == world.workload.kicked_count


def test_users_of_a_host_that_is_down_are_moved_away() -> None:
    world = quiet_world()
    session = log_in(world, 1, world.machines[0])
    number = session.ip.packed[3]
    do(world, "down", f"director=1 host={number}")
    pass_time(world, 1)
    do(world, "move-users", "director=2 host=0")
    pass_time(world, 5)

    assert session.is_ended


def test_a_removed_director_is_not_started_again() -> None:
    world = quiet_world()
    do(world, "remove-director", "director=1 removed=2")
    pass_time(world, 5)
    world.faults.heal()
    pass_time(world, 5)

    assert {2} == world.faults.removed
    assert [1, 3] == [machine.number for machine in world.live()]
    assert any("10.0.0.2" in detail for detail in events(world, "director_removed"))


@pytest.mark.parametrize(
    ("directors", "line"), [(2, "director=1 removed=2"), (3, "director=2 removed=2")]
)
def test_only_another_of_a_ring_of_three_can_remove_a_director(directors: int, line: str) -> None:
    world = quiet_world(directors=directors)
    do(world, "remove-director", line)

    assert set() == world.faults.removed
    assert directors == len(world.live())


def test_a_burst_of_logins_comes_within_a_tenth_of_a_second() -> None:
    world = quiet_world()
    do(world, "burst", "director=1 logins=30")
    pass_time(world, 0.11)

    assert 30 == world.workload.logins_count


def test_reconfigured_director_lacks_a_host_until_the_ring_tells_it() -> None:
    world = quiet_world()
    machine = world.machines[0]
    do(world, "reconfigure", "director=1 host=2 seconds=1")
    assert machine.is_off
    assert World.host_ip(2) not in [host.ip for host in machine.settings.hosts]
    pass_time(world, 10)
    assert machine.node is not None
    assert World.host_ip(2) in [host.ip for host in machine.node.hosts]
    do(world, "reconfigure", "director=1 host=2 seconds=1")

    assert World.host_ip(2) in [host.ip for host in machine.settings.hosts]


def test_a_user_logs_in_where_it_is_told_and_stays_as_long_as_it_is_told() -> None:
    world = quiet_world()
    do(world, "login", "director=2 user=3 seconds=10")
    pass_time(world, 9.9)
    [session] = user_of(world, 3).sessions
    assert session.machine is world.machines[1]
    assert session.is_live
    pass_time(world, 0.3)

    assert session.is_ended
