"""Whatever happens to a ring, its nodes agree in the end, and equally over both wires.

Hypothesis draws a seed and a list of actions, nothing inside a run. A ring of three real nodes
(net.py) lives through them twice, once with every node classic and once with every node native, and
must end in the same state: the same hosts, the same users on the same hosts, the same directors.
"""

from __future__ import annotations

import enum
from ipaddress import ip_address

import attrs
import mmh3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ring.commands import Command, HostDown, HostFlush, HostResetUsers, HostSet, HostUp, UserMove
from ring.messages import CLASSIC_MINOR, NATIVE_MINOR
from ring.settings import HostSetting
from tests.ring.net import HOSTS, Net

SIZE = 3
USERS = tuple((k * 2_654_435_761) % (1 << 32) for k in range(1, 13))


class Do(enum.Enum):
    LOGIN = enum.auto()
    WEIGHT = enum.auto()
    DOWN = enum.auto()
    UP = enum.auto()
    MOVE = enum.auto()
    FLUSH = enum.auto()
    FORGET = enum.auto()
    KILL = enum.auto()
    RESTART = enum.auto()
    WAIT = enum.auto()


@attrs.frozen
class Action:
    do: Do
    number: int  # chooses the node, the user, the host and so on


def choice(action: Action, seed: int, stream: int, count: int) -> int:
    """Choose one of `count`, each stream of an action independently of the others."""
    return mmh3.mmh3_32_uintdigest(b"%d %d %d" % (action.number, seed, stream)) % count


def perform(net: Net, action: Action, seed: int) -> None:
    alive = sorted(net.nodes)
    node = alive[choice(action, seed, 1, len(alive))]
    user_hash = USERS[choice(action, seed, 2, len(USERS))]
    ip = ip_address(HOSTS[choice(action, seed, 3, len(HOSTS))])
    match action.do:
        case Do.LOGIN:
            net.login(node, user_hash)
        case Do.KILL if len(alive) > 1:
            net.kill(node)
            net.run(1 if len(alive) > 2 else 25)  # patience before it serves alone
        case Do.KILL | Do.RESTART:
            for number in set(range(1, SIZE + 1)) - set(alive):
                net.start(number)
            net.run(1)
        case Do.WAIT:
            net.run((1, 3, 65, 400)[choice(action, seed, 4, 4)])
        case _:
            net.command(node, command_for(action, ip, user_hash, choice(action, seed, 5, 200)))


def command_for(action: Action, ip: object, user_hash: int, weight: int) -> Command:
    assert not isinstance(ip, str)
    match action.do:
        case Do.WEIGHT:
            return HostSet(ip=ip, tag=b"", weight=weight)
        case Do.DOWN:
            return HostDown(ip)
        case Do.UP:
            return HostUp(ip)
        case Do.MOVE:
            return UserMove(user_hash=user_hash, ip=ip)
        case Do.FLUSH:
            return HostResetUsers(ip=ip, parallel_max=None)
        case _:
            return HostFlush(ip)


@attrs.frozen
class Ending:
    hosts: tuple[tuple[str, int, bool], ...]
    users: tuple[tuple[int, str], ...]
    directors: int


def live(minor: int, actions: list[Action], seed: int) -> Ending:
    """Return what all nodes agree on after these actions and a while of peace."""
    net = Net(SIZE, dict.fromkeys(range(1, SIZE + 1), minor))
    net.start_all()
    for action in actions:
        perform(net, action, seed)
    for number in set(range(1, SIZE + 1)) - set(net.nodes):
        net.start(number)
    net.run(100)

    assert net.is_synced()
    endings = {
        Ending(
            hosts=tuple(net.hosts(number)),
            users=tuple(sorted((h, ip) for h, (ip, _) in net.users(number).items())),
            directors=net.nodes[number].statistics().directors,
        )
        for number in net.nodes
    }
    assert 1 == len(endings), endings
    for number in net.nodes:
        assert [] == net.notes(number, "link_broke_protocol")
        assert 2 == len(net.roles(number))
    return endings.pop()


@pytest.mark.slow
@settings(max_examples=25)
@given(
    actions=st.lists(st.builds(Action, st.sampled_from(Do), st.integers(0, 99)), max_size=25),
    seed=st.integers(0, 9),
)
def test_any_history_ends_alike_on_all_nodes_and_over_both_wires(
    actions: list[Action], seed: int
) -> None:
    assert live(CLASSIC_MINOR, actions, seed) == live(NATIVE_MINOR, actions, seed)


KINDS = {
    "native": lambda number: NATIVE_MINOR,
    "classic": lambda number: CLASSIC_MINOR,
    "mixed": lambda number: NATIVE_MINOR if number % 2 else CLASSIC_MINOR,
}


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3, 5, 10])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=4)
@given(seed=st.integers(0, 10_000))
def test_nodes_started_in_any_order_come_to_the_same_ring(kind: str, size: int, seed: int) -> None:
    """They are configured with different hosts, and start up to three seconds apart."""
    net = Net(size, {number: KINDS[kind](number) for number in range(1, size + 1)})

    def chance(number: int, stream: int, count: int) -> int:
        return choice(Action(Do.RESTART, number), seed, stream, count)

    for number in sorted(range(1, size + 1), key=lambda n: chance(n, 1, 1 << 30)):
        host_count = 1 + chance(number, 2, len(HOSTS))
        net.start(number, hosts=tuple(HostSetting(ip=ip_address(ip)) for ip in HOSTS[:host_count]))
        net.run(chance(number, 3, 4))
    net.run_until(net.is_synced, 60)
    for user_hash in USERS:
        net.login(1 + user_hash % size, user_hash)

    assert {kind == "native"} == {node.is_native_ring for node in net.nodes.values()}
    for number in net.nodes:
        assert {"left": (number - 2) % size + 1, "right": number % size + 1} == net.roles(number)
        assert net.hosts(1) == net.hosts(number)
        assert net.users(1) == net.users(number)
        assert len(USERS) == len(net.users(number))
