"""Rings of our own nodes, and of both kinds: real nodes with real bytes between them (net.py)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ring.commands import Answer, HostDown, HostSet, UserKickHash, UserMove
from ring.effects import KickHash
from ring.messages import CLASSIC_MINOR, NATIVE_MINOR
from tests.ring.net import HOSTS, Net, address

SPREAD = 2_654_435_761
"""Odd, so that multiples of it walk through all user hashes."""


def some_users(count: int, first: int = 1) -> list[int]:
    return [(first + k) * SPREAD % (1 << 32) or 1 for k in range(count)]


def native_links(net: Net, number: int) -> list[bool]:
    return [
        entry.link.is_native
        for entry in net.nodes[number].directors_status(net.now)
        if entry.link is not None
    ]


def ring_of(size: int, **minors_and_settings: object) -> Net:
    net = Net(size, settings=minors_and_settings)
    net.start_all()
    assert net.is_synced()
    return net


def other_host(net: Net, number: int, user_hash: int) -> str:
    """Return a host that the user's hash does not lead to."""
    hashed = net.nodes[number].hosts.lookup(user_hash, b"")
    assert hashed is not None
    return next(ip for ip in HOSTS if ip != str(hashed.ip))


# --- becoming native ---


def test_our_own_nodes_speak_frames_on_every_link() -> None:
    net = ring_of(3)

    for number in net.nodes:
        assert [True, True] == native_links(net, number)
        assert net.nodes[number].is_native_ring


def test_ring_with_a_classic_member_is_not_native_though_links_between_ours_are() -> None:
    net = Net(3, {1: CLASSIC_MINOR})
    net.start_all()

    assert [False, True] == sorted(native_links(net, 2))
    assert {False} == {node.is_native_ring for node in net.nodes.values()}


def test_ring_becomes_native_when_the_last_classic_member_has_left() -> None:
    net = Net(3, {1: CLASSIC_MINOR})
    net.start_all()
    net.kill(1)
    net.run_until(net.is_synced, 5)

    assert {True} == {node.is_native_ring for node in net.nodes.values()}


def test_mixed_ring_upgrades_itself_node_by_node_and_keeps_its_users() -> None:
    net = Net(3, {1: CLASSIC_MINOR, 2: CLASSIC_MINOR, 3: CLASSIC_MINOR})
    net.start_all()
    placed = {user_hash: net.login(2, user_hash) for user_hash in some_users(30)}
    for number in (1, 2, 3):
        net.kill(number)
        net.run(1)
        net.minors[number] = NATIVE_MINOR
        net.start(number)
        net.run_until(net.is_synced, 60)

    assert {True} == {node.is_native_ring for node in net.nodes.values()}
    for number in net.nodes:
        assert placed == {user_hash: net.login(number, user_hash) for user_hash in placed}


def test_classic_member_that_joins_makes_the_ring_classic_again() -> None:
    net = Net(3, {2: CLASSIC_MINOR})
    net.start(1, 3)
    net.run(0.1)
    assert {True} == {node.is_native_ring for node in net.nodes.values()}
    net.start(2)
    net.run_until(net.is_synced, 60)

    assert {False} == {node.is_native_ring for node in net.nodes.values()}


# --- users ---


def test_login_is_known_everywhere_and_answered_alike() -> None:
    net = ring_of(5)
    placed = {user_hash: net.login(1, user_hash) for user_hash in some_users(20)}

    for number in net.nodes:
        assert net.users(1) == net.users(number)
        assert placed == {user_hash: net.login(number, user_hash) for user_hash in placed}


@pytest.mark.slow
def test_joining_node_receives_the_users_in_many_steps() -> None:
    """20,000 users take about 160 kB, of which at most 128 kB wait at a time."""
    net = Net(2)
    net.start(1)
    net.run(25)
    hashes = some_users(20_000)
    ips = [ip_address(HOSTS[k % 4]) for k in range(len(hashes))]
    net.nodes[1].restore_users(b"", hashes, ips, [int(net.wall)] * len(hashes), net.now)
    pieces_before = net.pieces_count
    net.start(2)
    net.run_until(net.is_synced, 60)

    assert 20_000 == len(net.users(2))
    assert net.users(1) == net.users(2)
    assert net.pieces_count - pieces_before > 5


def test_user_refreshed_by_a_clock_that_is_ahead_is_brought_back_everywhere() -> None:
    net = ring_of(3, user_expire_s=100)
    net.login(1, 5)
    net.nodes[1].set_clock(net.now, net.wall + 300)
    net.login(1, 5)
    net.nodes[1].set_clock(net.now, net.wall)
    assert {int(net.wall) + 300} == {net.users(number)[5][1] for number in net.nodes}
    net.run(15)
    found = {net.users(number)[5][1] for number in net.nodes}

    assert 1 == len(found)
    assert net.wall - 15 <= found.pop() <= net.wall
    assert [{"users": 1}] == net.notes(2, "users_brought_back")


def test_real_directors_keep_a_time_that_lies_ahead() -> None:
    """So ours do among them, or they would forget users whom those still know."""
    net = Net(2, {2: CLASSIC_MINOR}, settings={"user_expire_s": 100})
    net.start_all()
    net.login(2, 5)
    net.nodes[1].set_clock(net.now, net.wall + 300)
    net.login(1, 5)
    net.nodes[1].set_clock(net.now, net.wall)
    net.run(15)

    assert {int(net.wall) - 15 + 300} == {net.users(number)[5][1] for number in net.nodes}


def test_user_that_logs_in_during_an_export_arrives_with_its_latest_time() -> None:
    net = ring_of(2)
    net.login(1, 5)
    net.kill(2)
    net.run(10)
    net.start(2)
    net.login(1, 5)
    net.run_until(net.is_synced, 60)

    assert net.users(1) == net.users(2)


def test_near_expiry_user_is_suspended_until_all_native_nodes_agree() -> None:
    net = ring_of(3)
    stored = other_host(net, 1, 5)
    for number in net.nodes:
        net.nodes[number].restore_users(
            b"", [5], [ip_address(stored)], [int(net.wall) - 875], net.now
        )
        net.settle()

    assert net.login(1, 5) is None
    assert [stored] == [str(answer.ip) for answer in net.lookups_answered(1)]
    assert {0} == {node.statistics().weak for node in net.nodes.values()}
    assert {5: (stored, int(net.wall))} == net.users(2) == net.users(3)


def test_suspended_user_is_agreed_on_as_soon_as_the_ring_is_whole_again() -> None:
    """The marks of a suspended user end at a director that hangs."""
    net = ring_of(4)
    stored = other_host(net, 1, 5)
    for number in net.nodes:
        net.nodes[number].restore_users(
            b"", [5], [ip_address(stored)], [int(net.wall) - 875], net.now
        )
        net.settle()
    net.hang(3)
    assert net.login(1, 5) is None
    net.run_until(lambda: net.lookups_answered(1) != [], 6)

    assert [stored] == [str(answer.ip) for answer in net.lookups_answered(1)]


def test_healed_partition_settles_every_user_on_every_node() -> None:
    """DESIGN.md decision 6: the nodes away from the seams learn them too."""
    net = ring_of(6)
    net.sever({1, 2, 3})
    net.run_until(net.is_synced, 60)
    for k, user_hash in enumerate(some_users(60)):
        net.login(1 + k % 6, user_hash)
    assert 30 == len(net.users(2)) == len(net.users(5))
    net.heal()
    net.run_until(lambda: len(net.users(2)) == len(net.users(5)) == 60, 120)
    net.run_until(net.is_synced, 60)

    for number in net.nodes:
        assert net.users(1) == net.users(number)


def test_user_whom_both_sides_of_a_partition_placed_ends_on_the_lower_host() -> None:
    net = ring_of(4)
    net.sever({1, 2})
    net.run_until(net.is_synced, 60)
    for number, ip in ((1, HOSTS[2]), (3, HOSTS[1])):
        net.nodes[number].restore_users(b"", [5], [ip_address(ip)], [int(net.wall)], net.now)
        net.settle()
    net.heal()
    net.run_until(lambda: {"right": 2, "left": 4} == net.roles(1) and net.is_synced(), 120)

    for number in net.nodes:
        assert HOSTS[1] == net.users(number)[5][0]
        assert KickHash(user_hash=5, except_ip=ip_address(HOSTS[1])) in net.kicks(number)
    assert any(net.notes(number, "user_conflict_settled") for number in net.nodes)


def test_move_closes_sessions_on_every_node_before_anybody_is_let_in() -> None:
    net = ring_of(3)
    net.login(1, 5)
    target = other_host(net, 1, 5)

    assert Answer.OK is net.command(2, UserMove(user_hash=5, ip=ip_address(target)))
    for number in net.nodes:
        assert [KickHash(user_hash=5, except_ip=None)] == net.kicks(number)
        assert net.login(number, 5) is None
    net.run(2.1)
    for number in net.nodes:
        assert [target] == [str(answer.ip) for answer in net.lookups_answered(number)]


@pytest.mark.parametrize(
    ("busy", "rest_s", "is_held"), [((), 5, False), ((), 3, True), ((1,), 5, True), ((3,), 5, True)]
)
def test_user_is_held_while_backends_close_only_if_he_may_have_had_a_session(
    busy: tuple[int, ...], rest_s: int, is_held: bool
) -> None:
    """A login of the last four seconds may have become a session that no list shows yet."""
    net = ring_of(3)
    net.busy.update(busy)
    net.login(2, 5)
    net.run(rest_s)
    target = other_host(net, 1, 5)
    assert Answer.OK is net.command(1, UserMove(user_hash=5, ip=ip_address(target)))

    assert [None if is_held else target] * 3 == [net.login(number, 5) for number in net.nodes]


def moved_with_a_director_hung(net: Net) -> tuple[int, str]:
    """Director 3 hangs, director 1 begins to move a user: nobody can know that all have kicked."""
    [user_hash] = some_users(1)
    net.login(1, user_hash)
    net.run(1)
    target = other_host(net, 1, user_hash)
    net.hang(3)
    net.command(1, UserMove(user_hash=user_hash, ip=ip_address(target)))
    assert {"waiting-for-everyone"} == set(stages(net, user_hash, 1, 2))
    return user_hash, target


def stages(net: Net, user_hash: int, *numbers: int) -> list[str | None]:
    found = [net.nodes[n].user_status(user_hash, b"", net.now).stage for n in numbers]
    return [stage.value if stage else None for stage in found]


def test_move_ends_when_the_ring_is_whole_again_without_who_hung() -> None:
    net = ring_of(4, user_kick_delay_s=0.5)
    user_hash, target = moved_with_a_director_hung(net)
    net.run_until(lambda: {None} == set(stages(net, user_hash, 1, 2, 4)), 6)

    assert [target] * 3 == [net.login(number, user_hash) for number in (1, 2, 4)]
    assert [] == net.notes(1, "move_timed_out")


def test_move_ends_though_its_initiator_died() -> None:
    net = ring_of(4, user_kick_delay_s=0.5)
    user_hash, target = moved_with_a_director_hung(net)
    net.kill(1)
    net.run_until(lambda: {None} == set(stages(net, user_hash, 2, 4)), 8)

    assert [target] * 2 == [net.login(number, user_hash) for number in (2, 4)]


# --- hash ---


def test_murmur3_ring_works_like_any_other() -> None:
    net = ring_of(3, director_hash="murmur3")
    net.login(1, 5)

    assert net.users(1) == net.users(2) == net.users(3)


@pytest.mark.parametrize(("first", "second"), [("md5", "murmur3"), ("murmur3", "md5")])
def test_node_with_another_hash_is_refused_and_both_name_the_setting(
    first: str, second: str
) -> None:
    net = Net(2)
    net.start(1, director_hash=first)
    net.run(25)
    net.start(2, director_hash=second)
    net.run(5)

    for number in (1, 2):
        other = next(
            entry
            for entry in net.nodes[number].directors_status(net.now)
            if entry.address == address(3 - number) and entry.link is None
        )
        assert "director_hash" in other.status
    assert net.nodes[1].is_synced
    assert not net.nodes[2].is_synced


# --- trouble ---


def test_restarted_node_takes_hosts_and_users_from_the_ring() -> None:
    net = ring_of(3)
    net.command(2, HostSet(ip=ip_address(HOSTS[0]), tag=b"", weight=7))
    net.command(2, HostDown(ip_address(HOSTS[1])))
    net.login(2, 5)
    net.kill(3)
    net.run_until(net.is_synced, 5)
    net.start(3)
    net.run_until(net.is_synced, 5)

    assert (HOSTS[0], 7, False) == net.hosts(3)[0]
    assert (HOSTS[1], 100, True) == net.hosts(3)[1]
    assert net.users(2) == net.users(3)


def test_restarted_node_is_believed_though_it_had_said_more_than_its_clock_makes_up_for() -> None:
    net = ring_of(3)
    for user_hash in some_users(30):
        net.command(2, UserKickHash(user_hash))
    net.kill(2)
    net.run(1)
    net.start(2)
    net.run_until(net.is_synced, 5)
    [user_hash] = some_users(1, first=31)
    net.command(2, UserKickHash(user_hash))

    for number in net.nodes:
        kicked = [kick.user_hash for kick in net.kicks(number) if isinstance(kick, KickHash)]
        assert 1 == kicked.count(user_hash)


def test_no_login_waits_while_a_node_dies_and_comes_back() -> None:
    net = ring_of(3)
    users = iter(some_users(200))
    net.login(1, next(users))
    net.kill(2)
    assert net.login(1, next(users)) is not None
    net.run(0.01)
    assert net.login(3, next(users)) is not None
    net.start(2)

    assert net.login(1, next(users)) is not None
    assert net.login(3, next(users)) is not None
    net.run_until(net.is_synced, 5)
    assert net.users(1) == net.users(2) == net.users(3)


def test_hung_node_is_left_out_within_three_seconds_and_returns_when_it_wakes() -> None:
    net = ring_of(3)
    net.hang(2)
    waited_s = net.run_until(
        lambda: (
            "right" in net.roles(1) and net.roles(1)["right"] == 3 and net.roles(3)["left"] == 1
        ),
        10,
    )

    assert waited_s < 3.5
    assert net.login(1, 77) is not None
    net.wake(2)
    net.run_until(lambda: {"left": 1, "right": 3} == net.roles(2) and net.is_synced(), 120)
    assert net.users(1) == net.users(2)


def test_clean_stop_is_noticed_at_once() -> None:
    net = ring_of(3)
    net.stop(2)
    net.run_until(net.is_synced, 2)

    assert {"left": 3, "right": 3} == net.roles(1)
    assert "Shutting down" in {note["reason"] for note in net.notes(1, "link_quit")}
