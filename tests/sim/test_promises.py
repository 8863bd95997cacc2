"""Each promise is broken by what it forbids, and excused by a window that has a name."""

from __future__ import annotations

import pytest

from ring import limits
from ring.address import IpAddress
from ring.commands import HostDown
from ring.effects import Kick, KickHash, LookupAnswered, Noted, RunFlushProgram
from sim.promises import MOVED_S
from sim.randomness import Stream
from sim.verdict import Broken, Promise
from sim.workload import Device, Pending
from sim.world import World
from tests.sim.rig import log_in, quiet_world, user_of

ONE, OTHER = World.host_ip(1), World.host_ip(2)


# --- answered, up-host, moves ---


def pending(world: World) -> Pending:
    device = Device(user_of(world, 1), Stream(1, "test"))
    return Pending(device=device, machine=world.machines[0], asked_at=world.now)


def decide(world: World, ip: IpAddress, waited_s: float = 0.0, *, is_asked: bool = True) -> None:
    world.promises.lookup_decided(
        world.machines[0],
        "t1",
        pending(world) if is_asked else None,
        ip,
        waited_s,
    )


def test_a_lookup_nobody_waits_for_must_not_be_answered() -> None:
    world = quiet_world()
    with pytest.raises(Broken, match="d01 answered token t1 nobody waits for"):
        decide(world, ONE, is_asked=False)


def test_a_lookup_must_be_answered_in_time() -> None:
    world = quiet_world()
    with pytest.raises(Broken, match=r"answered broken .* d01 answered t1 after 99.0 s"):
        decide(world, ONE, 99.0)


def test_users_are_not_sent_to_hosts_that_are_unknown_or_down() -> None:
    world = quiet_world(hosts=2)
    with pytest.raises(Broken, match=r"up-host broken .* to 10.1.0.9, which is not in its list"):
        decide(world, World.host_ip(9))
    set_down(world)
    with pytest.raises(Broken, match=r"to 10.1.0.1, which is down, and new to it"):
        decide(world, ONE)


def test_users_stay_on_a_host_that_goes_down() -> None:
    world = quiet_world(hosts=2)
    decide(world, ONE)
    set_down(world)
    decide(world, ONE)


def test_users_that_a_flush_sent_to_a_host_stay_when_it_goes_down() -> None:
    world = quiet_world(directors=1, hosts=2)
    machine, user = world.machines[0], user_of(world, 1)
    log_in(world, 2, machine)  # makes the pool
    assert machine.node is not None
    host = machine.node.hosts.get(ONE)
    assert host is not None
    machine.node.pools[user.tag].table.store(user.user_hash, host.number, int(machine.wall))
    world.administrators.command(1, HostDown(ip=ONE))
    decide(world, ONE)


def test_a_user_may_have_been_moved_before_the_host_went_down() -> None:
    world = quiet_world(directors=1, hosts=2)
    set_down(world)
    user_hash = user_of(world, 1).user_hash
    kick = Kick(kick_id=1, what=KickHash(user_hash=user_hash, except_ip=None))
    world.promises.kick_begun(world.machines[0], kick)
    world.promises.kick_ended(world.machines[0], kick)
    world.run_until(world.now + MOVED_S)
    decide(world, ONE)


def test_a_move_of_long_ago_is_no_reason_to_go_to_a_host_that_is_down() -> None:
    world = quiet_world(directors=1, hosts=2)
    set_down(world)
    user_hash = user_of(world, 1).user_hash
    kick = Kick(kick_id=1, what=KickHash(user_hash=user_hash, except_ip=None))
    world.promises.kick_begun(world.machines[0], kick)
    world.promises.kick_ended(world.machines[0], kick)
    world.run_until(world.now + MOVED_S + 1)
    with pytest.raises(Broken, match="which is down"):
        decide(world, ONE)


def set_down(world: World) -> None:
    node = world.machines[0].node
    assert node is not None
    node.hosts.set_down(next(iter(node.hosts)), is_down=True, changed_at=0)


def test_nobody_logs_in_on_the_new_host_while_another_director_kicks() -> None:
    world = quiet_world()
    ip = log_in(world, 1, world.machines[0]).ip
    user_hash = user_of(world, 1).user_hash
    kick = Kick(kick_id=1, what=KickHash(user_hash=user_hash, except_ip=None))
    world.promises.kick_begun(world.machines[1], kick)
    with pytest.raises(Broken, match=r"moves broken .* while d02 was still kicking"):
        decide(world, ip)
    world.promises.kick_ended(world.machines[1], kick)
    decide(world, ip)


def fail(world: World, detail: str) -> None:
    answer = LookupAnswered(
        token="t1",
        user_hash=1,
        tag=b"",
        ip=None,
        hostname=b"",
        refusal=None,
        waited_s=30.0,
        detail=detail,
    )
    world.promises.lookup_failed(world.machines[0], answer, pending(world))


def test_a_login_fails_only_for_a_reason() -> None:
    world = quiet_world()
    node = world.machines[0].node
    assert node is not None
    for host in list(node.hosts):
        node.hosts.set_down(host, is_down=True, changed_at=0)
    fail(world, "there is nowhere to go")
    assert 1 == world.promises.windows["answered: no host is up"]
    for host in list(node.hosts):
        node.hosts.set_down(host, is_down=False, changed_at=0)
    with pytest.raises(Broken, match="d01 failed a login: kill waiting"):
        fail(world, "kill waiting")
    world.trouble_begins("kick-trouble")
    fail(world, "kill waiting")

    assert 1 == world.promises.windows["answered: kick-trouble"]


@pytest.mark.parametrize(
    ("detail", "defect"),
    [
        ("ring not handshaked - (Ring has never been synced)", "right neighbour but no left"),
        ("weak user - queued for 30 secs", "weak mark lost"),
    ],
)
def test_a_login_may_fail_for_a_defect_of_the_original(detail: str, defect: str) -> None:
    world = quiet_world(codec="classic")
    fail(world, detail)

    assert {f"answered: classic {defect}": 1} == world.promises.windows
    with pytest.raises(Broken, match="failed a login"):
        fail(quiet_world(), detail)


def test_a_classic_ring_in_which_one_has_a_right_but_no_left_may_keep_logins_waiting() -> None:
    world = quiet_world(codec="classic")
    with pytest.raises(Broken, match="d01 failed a login: ring not synced"):
        fail(world, "ring not synced")
    [link] = world.network.between(3, 1)
    world.network.refuse(1)
    world.network.reset(link)
    world.run_until(world.now + 1)
    fail(world, "ring not synced")

    assert {"answered: classic right neighbour but no left": 1} == world.promises.windows


def test_a_lookup_must_not_be_forgotten() -> None:
    world = quiet_world(directors=2)
    forgotten = pending(world)
    forgotten.is_parked = True
    forgotten.parked_at = world.now
    world.workload.pending["t1"] = forgotten
    world.run_until(world.now + limits.LOOKUP_TIMEOUT_S)
    with pytest.raises(Broken, match="d01 has never answered token t1"):
        world.run_until(world.now + 5)


def test_a_command_times_out_only_in_trouble() -> None:
    world = quiet_world()
    with pytest.raises(Broken, match=r"d01: down 10.1.0.1 timed out"):
        world.promises.command_timed_out(world.machines[0], "down 10.1.0.1")
    world.trouble_begins("clog")
    world.promises.command_timed_out(world.machines[0], "down 10.1.0.1")

    assert 1 == world.promises.windows["answered: clog"]


def test_one_move_runs_one_flush_program() -> None:
    world = quiet_world()
    run = RunFlushProgram(
        flush_id=1,
        user_hash=7,
        old_ip=ONE,
        old_is_down=False,
        old_weight=100,
        new_ip=OTHER,
        new_hostname=b"",
    )
    world.promises.user_moved(7, OTHER)
    world.promises.flush_begun(world.machines[0], run)
    with pytest.raises(Broken, match="d02 runs flush program 2 for user hash 7 after 1 moves"):
        world.promises.flush_begun(world.machines[1], run)


# --- quiet, no-bug ---


def test_what_a_node_notes_is_counted_and_a_bug_ends_the_run() -> None:
    world = quiet_world()
    machine = world.machines[0]
    before = world.promises.notes["host_down"]
    world.promises.noted(machine, Noted("host_down", (("host", ONE),)))
    assert before + 1 == world.promises.notes["host_down"]
    with pytest.raises(Broken, match=r"no-bug broken .* d01: what=everything") as caught:
        world.promises.noted(machine, Noted("bug", (("what", "everything"),)))

    assert Promise.NO_BUG is caught.value.violation.promise
    assert "PROMISE BROKEN" in world.trace.lines[-1]


def test_directors_of_ours_do_not_break_the_protocol_among_each_other() -> None:
    world = quiet_world()
    note = Noted("link_broke_protocol", (("error", "what is this"),))
    with pytest.raises(Broken, match="d01 refused a director of ours: error=what is this"):
        world.promises.noted(world.machines[0], note)
    world.has_strays = True
    world.promises.noted(world.machines[0], note)


def test_a_move_times_out_only_in_trouble() -> None:
    world = quiet_world()
    note = Noted("move_timed_out", (("user_hash", 1),))
    with pytest.raises(Broken, match=r"moves broken .* d01: a move timed out: {'user_hash': 1}"):
        world.promises.noted(world.machines[0], note)
    world.promises.faults.open("crash")
    world.promises.noted(world.machines[0], note)

    assert 1 == world.promises.windows["moves: crash"]


def test_a_storm_ends_the_run() -> None:
    with pytest.raises(Broken, match=r"quiet broken at .* 9 events in one second: a storm"):
        quiet_world().promises.storm(9)
