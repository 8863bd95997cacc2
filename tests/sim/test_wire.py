"""What is said twice, back, or too late is an echo; what is news is not."""

from __future__ import annotations

import attrs
import pytest

from ring.address import IpAddress
from ring.effects import Noted
from ring.link import Phase
from ring.messages import HostRemove, Pong, Stamp, Users, UserWeak
from sim.network import End
from sim.verdict import Broken
from sim.wire import DIALS_MAX, WEAK_COPIES_MAX
from sim.world import World
from tests.sim.rig import log_in, quiet_world

USER = 700
HERE, ELSEWHERE = World.host_ip(1), World.host_ip(2)


def ends(world: World) -> tuple[End, End]:
    """Return both ends of a connection between the first two directors, the first one's first."""
    one, other = world.network.between(1, 2)[0].ends
    return (one, other) if one.machine.number == 1 else (other, one)


def told(world: World, age_s: int = 0, ip: IpAddress = HERE, **changes: object) -> Users:
    row = Users(
        hashes=[USER], timestamps=[int(world.true_wall) - age_s], hosts=[ip], host_indexes=[0]
    )
    return attrs.evolve(row, **changes)


def test_what_is_said_is_counted_and_pings_are_no_talk() -> None:
    world = quiet_world()
    end, _ = ends(world)
    talked_at = world.wire.last_talk_at
    world.run_until(world.now + 1)
    world.wire.messages.clear()
    world.wire.sent(end, [Pong(wall=None, unsent_bytes=None)])
    assert talked_at == world.wire.last_talk_at
    world.wire.sent(end, [told(world), told(world, is_handshake=True)])

    assert {"Pong": 1, "Users": 2} == world.wire.messages
    assert world.now == world.wire.last_talk_at
    assert 2 == world.wire.rows_count


def test_a_user_sent_twice_unchanged_is_an_echo() -> None:
    world = quiet_world()
    end, _ = ends(world)
    world.wire.sent(end, [told(world)])
    world.wire.sent(end, [told(world, ip=ELSEWHERE)])
    world.wire.sent(end, [told(world, ip=HERE)])
    with pytest.raises(Broken, match=f"quiet broken .* d01: user {USER} sent twice .* to d02"):
        world.wire.sent(end, [told(world, ip=HERE)])


def test_a_user_sent_back_to_whom_it_came_from_is_an_echo() -> None:
    world = quiet_world()
    end, _ = ends(world)
    world.wire.heard(end, [told(world)])
    with pytest.raises(Broken, match=f"user {USER} sent back to d02"):
        world.wire.sent(end, [told(world)])


def test_what_waits_behind_a_full_window_may_cross_the_same_news() -> None:
    world = quiet_world()
    end, _ = ends(world)
    world.wire.blocked(end)
    world.wire.heard(end, [told(world)])
    world.wire.sent(end, [told(world)])


def test_an_expired_user_is_not_gossiped() -> None:
    world = quiet_world(expire_s=20)
    end, _ = ends(world)
    world.wire.sent(end, [told(world, age_s=20)])  # it may take a second to get here
    with pytest.raises(Broken, match=f"user {USER} gossiped 1 s after its expiry"):
        world.wire.sent(end, [told(world, age_s=22)])


def test_what_has_waited_for_a_connection_may_have_expired() -> None:
    world = quiet_world(expire_s=20)
    end, _ = ends(world)
    assert end.machine.node is not None
    assert end.link_id is not None
    link = end.machine.node.link(end.link_id)
    assert link is not None
    link.phase = Phase.NAMED
    world.wire.sent(end, [told(world, age_s=25)])
    link.become_done()
    with pytest.raises(Broken, match=f"user {USER} gossiped 5 s after its expiry"):
        world.wire.sent(end, [told(world, age_s=26)])


def test_what_is_on_its_way_when_a_clock_is_set_may_look_expired() -> None:
    world = quiet_world(expire_s=20)
    end, _ = ends(world)
    end.machine.set_skew(30.0)
    world.wire.sent(end, [told(world, age_s=0)])
    end.machine.clock_set_at -= 2.0
    with pytest.raises(Broken, match=f"user {USER} gossiped 9 s after its expiry"):
        world.wire.sent(end, [told(world, age_s=0)])


@pytest.mark.parametrize("is_heard", [True, False])
def test_with_a_weak_mark_a_user_may_be_said_again(is_heard: bool) -> None:
    world = quiet_world()
    end, _ = ends(world)
    weak = UserWeak(stamp=Stamp(origin=end.machine.address, sequence=99), user_hash=USER, ip=HERE)
    world.wire.sent(end, [told(world)])
    if is_heard:
        world.wire.heard(end, [weak])
    else:
        world.wire.sent(end, [weak])
    world.wire.sent(end, [told(world)])


def test_each_weak_mark_of_a_read_is_answered() -> None:
    world = quiet_world()
    end, _ = ends(world)
    weak = UserWeak(stamp=Stamp(origin=end.machine.address, sequence=99), user_hash=USER, ip=HERE)
    world.wire.heard(end, [weak, weak])
    for _ in range(2):
        world.wire.sent(end, [told(world)])
    with pytest.raises(Broken, match=f"user {USER} sent twice"):
        world.wire.sent(end, [told(world)])


def test_a_weak_mark_excuses_nothing_later() -> None:
    world = quiet_world()
    end, _ = ends(world)
    weak = UserWeak(stamp=Stamp(origin=end.machine.address, sequence=99), user_hash=USER, ip=HERE)
    told_once = told(world)
    world.wire.heard(end, [weak, weak])
    world.wire.sent(end, [told_once])
    world.run_until(world.now + 0.5)
    with pytest.raises(Broken, match=f"user {USER} sent twice"):
        world.wire.sent(end, [told_once])


def test_users_brought_back_may_be_said_again_and_to_whom_they_came_from() -> None:
    world = quiet_world()
    end, _ = ends(world)
    world.wire.sent(end, [told(world)])
    world.wire.heard(end, [told(world, age_s=-100)])
    world.noted(end.machine, Noted("users_brought_back", (("users", 1),)))
    world.wire.sent(end, [told(world)])


def test_a_login_allows_to_speak_of_the_user_again() -> None:
    world = quiet_world()
    end, _ = ends(world)
    world.wire.sent(end, [told(world)])
    world.wire.touched(end.machine, USER)
    world.wire.sent(end, [told(world)])


def test_what_a_process_said_dies_with_it() -> None:
    world = quiet_world()
    end, _ = ends(world)
    world.wire.sent(end, [told(world)])
    world.wire.forget(end.machine)
    world.wire.sent(end, [told(world)])


def test_a_full_window_excuses_old_news_but_no_repetition() -> None:
    world = quiet_world(expire_s=20)
    end, _ = ends(world)
    world.wire.blocked(end)
    world.wire.sent(end, [told(world, age_s=30)])
    with pytest.raises(Broken, match="sent twice unchanged"):
        world.wire.sent(end, [told(world, age_s=30)])


def test_a_command_goes_over_a_connection_once() -> None:
    world = quiet_world()
    end, _ = ends(world)
    stamp = Stamp(origin=end.machine.address, sequence=99)
    command = HostRemove(stamp=stamp, ip=HERE)
    world.wire.sent(end, [command])
    with pytest.raises(Broken, match=r"HostRemove of .* sent 2 times to d02"):
        world.wire.sent(end, [command])


def test_a_weak_mark_may_be_copied_a_few_times() -> None:
    world = quiet_world()
    end, _ = ends(world)
    weak = UserWeak(stamp=Stamp(origin=end.machine.address, sequence=99), user_hash=USER, ip=HERE)
    world.wire.sent(end, [weak] * WEAK_COPIES_MAX)
    with pytest.raises(Broken, match=f"UserWeak of .* sent {WEAK_COPIES_MAX + 1} times"):
        world.wire.sent(end, [weak])


def test_stamps_that_the_original_forgets_are_an_excuse() -> None:
    world = quiet_world(codec="classic")
    end, _ = ends(world)
    command = HostRemove(stamp=Stamp(origin=end.machine.address, sequence=99), ip=HERE)
    world.wire.sent(end, [command, command])

    assert 1 == world.promises.windows["quiet: classic stamps reset by DIRECTOR"]


def test_a_user_that_is_said_twice_has_no_excuse() -> None:
    world = quiet_world(codec="classic")
    end, _ = ends(world)
    with pytest.raises(Broken, match=f"user {USER} sent twice unchanged"):
        world.wire.sent(end, [told(world), told(world)])


def test_whoever_dials_without_end_goes_in_circles() -> None:
    world = quiet_world()
    machine = world.machines[0]
    world.run_until(world.now + 10)  # the dials that formed the ring are long ago
    for _ in range(DIALS_MAX - 1):
        world.wire.dialled(machine)
    with pytest.raises(Broken, match=f"d01: {DIALS_MAX} connections dialled within 4 s"):
        world.wire.dialled(machine)


def test_as_many_dials_in_a_longer_time_are_none() -> None:
    world = quiet_world()
    for _ in range(2 * DIALS_MAX):
        world.wire.dialled(world.machines[0])
        world.run_until(world.now + 0.1)


def test_real_bytes_are_read_off_the_wire() -> None:
    world = quiet_world()
    log_in(world, 1, world.machines[0])

    assert world.wire.rows_count >= 2
    assert {"Hello", "HostsEnd", "Sync", "Users"} <= world.wire.messages.keys()
