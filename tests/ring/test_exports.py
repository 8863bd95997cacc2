"""What a link is told of the whole table: everything, or what differs."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ring import limits
from ring.codec import native
from ring.commands import HostFlush
from ring.messages import Digests, Message, ShardsWanted
from tests.ring.net import HOSTS, PIECE_BYTES, Net, address
from tests.ring.test_frames import users_read
from tests.ring.test_native_ring import ring_of

USERS_COUNT = 3000


def fill(net: Net, number: int, hashes: range) -> None:
    """Let a node know users that nobody else knows yet."""
    ips = [ip_address(HOSTS[user_hash % 4]) for user_hash in hashes]
    spread_out = [user_hash * 65_537 for user_hash in hashes]
    walls = [int(net.wall)] * len(hashes)
    net.nodes[number].restore_users(b"", spread_out, ips, walls, net.now)


def assert_all_know(net: Net, users_count: int) -> None:
    for number in net.nodes:
        assert net.users(1) == net.users(number)
    assert users_count == len(net.users(1))


# --- in a ring ---


def test_neighbours_of_a_dead_node_tell_each_other_nothing_that_both_know() -> None:
    net = ring_of(4)
    fill(net, 1, range(1, USERS_COUNT + 1))
    net.run(2)
    net.kill(2)
    before = users_read(net)
    net.run_until(net.is_synced, 10)

    assert before == users_read(net)
    assert_all_know(net, USERS_COUNT)


@pytest.mark.parametrize("step_users", [limits.DIGESTS_STEP_USERS, USERS_COUNT // 4])
def test_what_differs_is_told_after_a_partition_and_little_more(
    monkeypatch: pytest.MonkeyPatch, step_users: int
) -> None:
    """Tables are compared in one step, or in several."""
    monkeypatch.setattr(limits, "DIGESTS_STEP_USERS", step_users)
    net = ring_of(4)
    fill(net, 1, range(1, USERS_COUNT + 1))
    net.run(2)
    net.sever([1, 2])
    net.run(10)
    net.login(1, 7)
    net.login(3, 0xFF000007)
    net.heal()
    before = users_read(net)
    net.run(40)

    assert_all_know(net, USERS_COUNT + 2)
    assert all(users_read(net)[n] - before[n] < USERS_COUNT // 10 for n in net.nodes)


@pytest.mark.parametrize("size", [2, 3])
def test_joining_node_is_told_everything_once_and_the_others_nothing(size: int) -> None:
    net = Net(size)
    net.start(*range(1, size))
    net.run(25)
    fill(net, 1, range(1, USERS_COUNT + 1))
    net.run(2)
    net.start(size)
    net.run_until(net.is_synced, 60)
    net.run(2)
    links = [link for number in range(1, size) for link in net.nodes[number]._state.links.values()]

    assert_all_know(net, USERS_COUNT)
    assert USERS_COUNT == users_read(net)[size]
    assert [0, 0] == [
        link.users_received
        for link in links
        if link.director is not None and link.director.address == address(size)
    ]


def test_node_that_joins_between_two_new_ones_passes_on_what_it_is_told() -> None:
    net = Net(4)
    net.start(1)
    net.run(25)
    fill(net, 1, range(1, USERS_COUNT + 1))
    net.start(2, 3, 4)
    net.run_until(net.is_synced, 60)
    net.run(10)

    assert_all_know(net, USERS_COUNT)


def test_user_that_logs_in_while_its_host_is_forgotten_elsewhere_is_known_to_all() -> None:
    """It is forgotten where it logged in, which the command reaches later, and known elsewhere."""
    net = Net(3)
    net.start_all()
    user_hash = 4711
    host = net.nodes[2].lookup("login", user_hash, b"", net.now)
    assert host is not None
    net.nodes[1].command("flush", HostFlush(host.ip), net.now)
    net.run(1)

    assert [{user_hash}] * 3 == [set(net.users(number)) for number in net.nodes]


def test_late_greeting_does_not_ask_a_second_time() -> None:
    """A node that is new may compare with a link before that has said how many users it knows."""
    net = ring_of(3)
    fill(net, 1, range(1, 10))
    net.run(2)
    node = net.nodes[1]
    left, right = node._state.left, node._state.right
    assert left is not None
    assert right is not None
    node._exports.spread(left)
    asked = right.take_output(PIECE_BYTES, 0)
    node._exports.hello_received(right, its_users_count=9)

    assert asked
    assert right.take_output(PIECE_BYTES, 0) == b""


def test_shard_with_a_weak_user_is_told_in_any_case() -> None:
    """Digests tell nothing of weak users."""
    net = ring_of(3)
    fill(net, 1, range(1, USERS_COUNT + 1))
    net.run(2)
    weak = min(net.users(1))
    for node in net.nodes.values():
        node.pools[b""].mark_weak(weak)
    net.kill(2)
    before = sum(users_read(net).values())
    net.run(5)

    assert before < sum(users_read(net).values()) < before + USERS_COUNT // 10


# --- what is refused ---


def refusals(message: Message) -> list[str]:
    """Return why a node hung up on a right neighbour that said this."""
    net = ring_of(3)
    node = net.nodes[1]
    right = node._state.right
    assert right is not None
    node.received(right.link_id, native.encode(message), net.now)
    net.settle()
    return [str(note["error"]) for note in net.notes(1, "link_broke_protocol")]


def test_answer_that_nobody_asked_for_is_refused() -> None:
    assert ["shards wanted, expected no answer"] == refusals(ShardsWanted(tag=b"", shards=(1,)))


def test_digests_of_more_shards_than_there_are_are_refused() -> None:
    [error] = refusals(Digests(tag=b"", first=255, digests=(1, 2)))

    assert "2 digests from shard 255 on" in error


def test_too_many_unanswered_digests_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIGESTS_WAITING_MAX", 0)
    [error] = refusals(Digests(tag=b"", first=0, digests=(1,)))

    assert "DIGESTS_WAITING_MAX" in error


def test_digests_of_a_link_that_is_gone_are_not_answered() -> None:
    net = ring_of(3)
    node = net.nodes[1]
    right = node._state.right
    assert right is not None
    node.received(right.link_id, native.encode(Digests(tag=b"", first=0, digests=(1,))), net.now)
    node.link_lost(right.link_id, "end of file", net.now)
    net.run(30)

    assert net.is_synced()
