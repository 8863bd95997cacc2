"""What was done to a mail host later stands, however late it is heard (DESIGN.md decision 33)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ring import limits
from ring.commands import Answer, Command, HostRemove, HostSet
from ring.hosts import MailHosts
from ring.messages import CLASSIC_MINOR
from tests.ring.net import HOSTS, Net

LAST = ip_address(HOSTS[-1])


def set_weight(weight: int) -> HostSet:
    return HostSet(ip=LAST, tag=b"", weight=weight)


def weights(net: Net) -> set[int | None]:
    """Return the weights that the nodes have for the last host; None if it is not there."""
    found = (net.nodes[number].hosts.get(LAST) for number in net.nodes)
    return {host.weight if host else None for host in found}


def split(net: Net) -> None:
    """Cut node 1 off, and let both sides go on without each other."""
    net.start_all()
    net.sever([1])
    net.run(25)
    assert net.is_synced()


def do(net: Net, number: int, command: Command) -> None:
    assert net.command(number, command) is Answer.OK
    net.run(1)


def heal(net: Net) -> None:
    net.heal()
    net.run(90)
    assert net.is_synced()


def test_of_two_weights_set_at_the_same_time_the_later_stands() -> None:
    net = Net(3)
    net.start_all()
    net.nodes[1].command("first", set_weight(30), net.now)
    net.now += 0.001
    net.nodes[2].command("second", set_weight(200), net.now)
    net.settle()

    assert {200} == weights(net)


def test_of_two_weights_of_one_moment_the_lower_stands() -> None:
    net = Net(3)
    net.start_all()
    net.nodes[1].command("first", set_weight(30), net.now)
    net.nodes[2].command("second", set_weight(200), net.now)
    net.settle()

    assert {30} == weights(net)


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1)])
def test_the_weight_that_was_set_later_outlives_a_split(first: int, second: int) -> None:
    net = Net(3)
    split(net)
    do(net, first, set_weight(30))
    do(net, second, set_weight(200))
    heal(net)

    assert {200} == weights(net)


@pytest.mark.parametrize("number", [1, 2])
def test_a_weight_outlives_a_split_of_which_the_other_side_did_nothing(number: int) -> None:
    net = Net(3)
    split(net)
    do(net, number, set_weight(30))
    heal(net)

    assert {30} == weights(net)


@pytest.mark.parametrize("number", [1, 2])
def test_a_host_removed_in_a_split_ring_does_not_come_back(number: int) -> None:
    net = Net(3)
    split(net)
    do(net, number, HostRemove(LAST))
    heal(net)

    assert {None} == weights(net)


@pytest.mark.parametrize("number", [1, 2])
def test_a_host_set_after_it_was_removed_elsewhere_stays(number: int) -> None:
    net = Net(3)
    split(net)
    do(net, 3 - number, HostRemove(LAST))
    do(net, number, set_weight(30))
    heal(net)

    assert {30} == weights(net)


def test_who_joins_is_told_what_was_removed() -> None:
    """Node 1 still has the host; of the others nobody who knows better is left."""
    net = Net(3)
    split(net)
    do(net, 2, HostRemove(LAST))
    for number in (2, 3):
        net.kill(number)
        net.run(1)
        net.start(number)
        net.run_until(lambda: net.nodes[2].is_synced and net.nodes[3].is_synced, 60)
    heal(net)

    assert {None} == weights(net)


def test_a_removed_host_can_be_added_again_though_the_clock_is_behind() -> None:
    net = Net(3)
    net.start_all()
    net.nodes[1].set_clock(net.now, net.wall + 300)
    do(net, 1, HostRemove(LAST))
    do(net, 2, set_weight(30))

    assert {30} == weights(net)


def test_among_real_directors_a_host_comes_back_as_ever() -> None:
    net = Net(3, {2: CLASSIC_MINOR, 3: CLASSIC_MINOR})
    split(net)
    do(net, 1, HostRemove(LAST))
    heal(net)

    assert {100} == weights(net)


def test_a_weight_set_at_a_real_director_stands_among_ours() -> None:
    net = Net(4, {1: CLASSIC_MINOR})
    net.start_all()
    do(net, 3, set_weight(30))
    do(net, 1, set_weight(200))
    net.kill(1)
    net.run_until(net.is_synced, 60)
    net.kill(2)
    net.start(2)
    net.run_until(net.is_synced, 60)

    assert {200} == weights(net)


def test_users_of_a_host_that_was_not_known_yet_are_asked_for() -> None:
    net = Net(3)
    net.start_all()
    user_hash = next(
        h
        for h in range(1, 1 << 32, 1 << 24)
        if (host := net.nodes[1].hosts.lookup(h, b"")) and host.ip == LAST
    )
    late = net.nodes[2].hosts
    missing = late.get(LAST)
    assert missing is not None
    late.remove(missing)
    assert str(LAST) == net.login(1, user_hash)
    assert {} == net.users(2)
    do(net, 1, set_weight(50))

    assert net.users(1) == net.users(2)


def test_the_latest_removals_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HOSTS_MAX", 2)
    hosts = MailHosts()
    for number, ip in enumerate(HOSTS[:3]):
        hosts.remember_removal(ip_address(ip), number + 1)

    assert {ip_address(HOSTS[1]): 2, ip_address(HOSTS[2]): 3} == hosts.removed_at
