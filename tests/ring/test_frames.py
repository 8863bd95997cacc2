"""Gossip in frames that native links share, and twins that are read once."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest

from ring import limits
from ring.codec import native
from ring.commands import HostFlush
from ring.frames import FrameQueue, Frames, columns
from ring.hosts import MailHosts
from ring.messages import Users
from tests.ring.net import Net
from tests.ring.test_native_ring import ring_of

WALL = 1_700_000_000
FRAME = native.encode(
    Users(hashes=[5], timestamps=[WALL], hosts=(IPv4Address("10.2.0.1"),), host_indexes=[0])
)


def one_host() -> MailHosts:
    hosts = MailHosts()
    assert 1 == hosts.add(IPv4Address("10.2.0.1"), tag=b"", hostname=b"", weight=100).number
    return hosts


def two_links() -> tuple[Frames, FrameQueue, FrameQueue]:
    frames = Frames(one_host().by_number)
    return frames, frames.join(1), frames.join(2)


def users(*hashes: int, timestamp: int = WALL) -> Users:
    return Users(
        hashes=list(hashes),
        timestamps=[timestamp] * len(hashes),
        hosts=(IPv4Address("10.2.0.1"),),
        host_indexes=[0] * len(hashes),
    )


def packed(*hashes: int, timestamp: int = WALL) -> dict[int, int]:
    return dict.fromkeys(hashes, timestamp << 16 | 1)


# --- sending ---


def test_all_links_send_the_same_frame_in_which_the_latest_wins() -> None:
    frames, first, second = two_links()
    frames.gossip_many(b"", packed(5))
    frames.gossip_many(b"", packed(5, 6, timestamp=WALL + 1))
    assert frames.bytes_count
    frames.seal()

    assert native.encode(users(5, 6, timestamp=WALL + 1)) == first.take() == second.take()
    assert 0 == frames.bytes_count == first.bytes_count


def test_link_that_joins_is_told_nothing_from_before() -> None:
    frames, first, _ = two_links()
    frames.gossip_many(b"", packed(5))
    third = frames.join(3)
    frames.gossip_many(b"", packed(6))
    frames.seal()

    assert native.encode(users(5)) + native.encode(users(6)) == first.take()
    assert native.encode(users(6)) == third.take()
    assert 1 == third.users_count


def test_users_of_one_link_alone_keep_their_place_between_frames() -> None:
    frames, first, second = two_links()
    first.gossip_many(b"", packed(5))
    first.gossip_many(b"", packed(5, 6, timestamp=WALL + 1))
    frames.gossip_many(b"", packed(7))
    frames.seal()
    first.gossip_many(b"", packed(8))
    assert first.bytes_count > second.bytes_count > 0

    expected = users(5, 6, timestamp=WALL + 1), users(7), users(8)
    assert b"".join(map(native.encode, expected)) == first.take()
    assert native.encode(users(7)) == second.take()


def test_link_that_left_is_told_no_more_and_nobody_means_nothing_is_kept() -> None:
    frames, first, second = two_links()
    frames.leave(1)
    frames.gossip_many(b"", packed(5))
    frames.seal()
    assert b"" == first.take()
    assert native.encode(users(5)) == second.take()
    frames.gossip_many(b"", packed(6))
    frames.leave(2)
    assert 0 == frames.bytes_count
    frames.gossip_many(b"", packed(7))

    assert 0 == frames.bytes_count


# --- twins ---


def test_twin_over_another_link_is_dropped_once() -> None:
    """After it nothing is expected any more: the next one is a new one."""
    frames, _, _ = two_links()

    assert [False, True, False] == [frames.is_twin(link, FRAME) for link in (1, 2, 2)]


def test_same_words_over_the_same_link_are_new_ones() -> None:
    """A user may be flushed and log in again within one second."""
    frames, _, _ = two_links()

    assert [False, False, True] == [frames.is_twin(link, FRAME) for link in (1, 1, 2)]


def test_twin_of_a_frame_that_is_long_ago_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FRAMES_REMEMBERED_MAX", 2)
    frames, _, _ = two_links()
    known = [native.encode(users(number)) for number in (1, 2, 3)]
    for frame in known:
        frames.is_twin(1, frame)

    assert [True, True, False] == [frames.is_twin(2, frame) for frame in reversed(known)]


# --- in a ring ---


def users_read(net: Net) -> dict[int, int]:
    """Return how many rows each node has been told and has not dropped unread."""
    return {
        number: sum(link.users_received for link in node._state.links.values())
        for number, node in net.nodes.items()
    }


@pytest.mark.parametrize("size", [2, 3, 5])
def test_every_node_reads_a_user_once(size: int) -> None:
    net = ring_of(size)
    before = users_read(net)
    for user_hash in range(1, 101):
        net.login(1, user_hash)
    net.run(1)
    after = users_read(net)

    assert {n: 0 if n == 1 else 100 for n in after} == {n: after[n] - before[n] for n in after}


def test_user_that_is_flushed_and_logs_in_again_within_a_second_is_known_everywhere() -> None:
    net = ring_of(3)
    for _ in range(2):
        ip = net.login(1, 77)
        net.command(1, HostFlush(ip_address(ip)))
    net.login(1, 77)
    net.run(0.5)

    assert [[77]] * 3 == [list(net.users(number)) for number in net.nodes]


# --- columns ---


def test_users_whose_host_is_gone_are_left_out() -> None:
    hosts = one_host()
    second = hosts.add(IPv4Address("10.2.0.2"), tag=b"", hostname=b"", weight=100)
    of_second = WALL << 16 | second.number
    hosts.remove(second)

    assert [users(77)] == list(columns(packed(77) | {78: of_second}, hosts.by_number))
    assert [] == list(columns({78: of_second}, hosts.by_number))


def test_many_users_are_cut_into_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STEP_USERS_MAX", 2)

    assert [users(5, 6), users(7)] == list(columns(packed(5, 6, 7), one_host().by_number))
