"""Rings of real directors and ours: whatever happens on one node, all nodes agree afterwards.

The ring of real directors only runs the same tests: that is how we know what they should expect.
"""

from __future__ import annotations

from collections.abc import Generator

import attrs
import pytest

from tests.interop.admin_client import HostRow
from tests.interop.lab import Lab
from tests.interop.programs import wait_until
from tests.interop.proxies import DirectorKind, Proxy
from tests.interop.rings import Ring, host_list, user_table

pytestmark = [pytest.mark.interop, pytest.mark.slow]

R, M, S = DirectorKind.REAL, DirectorKind.UNDER_MASTER, DirectorKind.STANDALONE
MIXTURES = {
    "2 real, 1 ours": [R, R, S],
    "1 real, 2 ours": [M, R, S],
    "3 real, 1 ours": [R, M, R, R],
    "3 ours": [S, M, S],
}
USERS = [f"user{n}@example.com" for n in range(1000)]


@pytest.fixture(scope="module", params=MIXTURES.values(), ids=list(MIXTURES))
def ring(request: pytest.FixtureRequest) -> Generator[Ring, None, None]:
    with Lab() as lab:
        made = Ring(lab, request.param, [lab.address() for _ in range(4)], {})
        made.start()
        yield made


@pytest.fixture(autouse=True)
def _whole_and_clean(ring: Ring) -> Generator[None, None, None]:
    """Every test begins and ends with a whole ring of which no real director complains."""
    assert not ring.down
    ring.wait_agreed()
    yield
    assert ring.complaints() == []


def ask(node: Proxy, *words: str) -> str:
    with node.admin() as admin:
        return admin.ask(*words)


def host_after(ring: Ring, node: Proxy, command: str, ip: str, *words: str) -> HostRow | None:
    """Let one node change a host; return what all nodes then say about it."""
    answer = ask(node, command, ip, *words)
    ring.wait_agreed()

    assert answer == "OK", f"{command} {ip} on {node.name}"
    return next((row for row in host_list(ring.nodes[-1]) if row.ip == ip), None)


def test_host_changes_from_any_node_reach_all_nodes(ring: Ring) -> None:
    for node in ring.one_of_each():
        ip = ring.lab.address()
        empty = HostRow(ip=ip, weight=100, users_count=0, tag="", state="U")
        light = attrs.evolve(empty, weight=50)

        assert host_after(ring, node, "HOST-SET", ip) == empty
        assert host_after(ring, node, "HOST-UPDATE", ip, "50") == light
        assert host_after(ring, node, "HOST-DOWN", ip) == attrs.evolve(light, state="D")
        assert host_after(ring, node, "HOST-UP", ip) == light
        ring.login_everywhere([f"{ip}-{user}" for user in USERS])
        filled = host_after(ring, node, "HOST-UPDATE", ip, "50")
        assert filled is not None
        assert filled.users_count > 0
        assert host_after(ring, node, "HOST-FLUSH", ip) == light
        assert host_after(ring, node, "HOST-REMOVE", ip) is None


def test_users_of_a_host_set_down_are_moved_by_a_flush(ring: Ring) -> None:
    for node in ring.one_of_each():
        reached = ring.login_everywhere(USERS[:100])
        host = reached[USERS[0]]
        with node.admin() as admin:
            assert admin.ask("HOST-DOWN", host) == "OK"
            assert admin.ask("HOST-RESET-USERS", host, "100000") == "OK"
            ring.wait_agreed()
            moved = ring.login_everywhere(USERS[:100])
            assert admin.ask("HOST-UP", host) == "OK"

        assert host not in moved.values()
        assert {u: h for u, h in reached.items() if h != host}.items() <= moved.items()


def test_a_user_moved_on_any_node_is_moved_on_all(ring: Ring) -> None:
    for node in ring.one_of_each():
        user = f"moved-on-{node.name}"
        before = ring.login_everywhere([user])[user]
        target = next(ip for ip in ring.hosts if ip != before)
        assert ask(node, "USER-MOVE", user, target) == "OK"
        ring.wait_agreed()
        after = [ring.login_everywhere([user], turn)[user] for turn in range(len(ring.nodes))]

        assert after == [target] * len(ring.nodes)


def test_a_move_ends_after_the_kick_delay(ring: Ring) -> None:
    """A move that lost its way between two kinds of directors would end after 30 s only."""
    for node in ring.one_of_each():
        user = f"quick-on-{node.name}"
        before = ring.login_everywhere([user])[user]
        target = next(ip for ip in ring.hosts if ip != before)
        ring.wait_agreed()

        assert ask(node, "USER-MOVE", user, target) == "OK"
        wait_move_ended(node, user, target)


def wait_move_ended(node: Proxy, user: str, target: str) -> None:
    """Return when the node would move the user again: it refuses as long as a move is on."""
    wait_until(lambda: ask(node, "USER-MOVE", user, target) == "OK", 10.0, f"end of {user}'s move")


@pytest.mark.parametrize("is_clean", [False, True], ids=["killed", "stopped"])
def test_the_ring_goes_on_without_a_node_and_takes_it_back(ring: Ring, is_clean: bool) -> None:
    for node in ring.one_of_each():
        before = ring.login_everywhere(USERS)
        (ring.stop if is_clean else ring.kill)(node)
        ring.wait_synced()
        absent = ring.login_everywhere(USERS, turn=1)
        newcomers = [f"{is_clean}-{node.name}-{user}" for user in USERS]
        meanwhile = ring.login_everywhere(newcomers)
        ring.restart(node)
        ring.wait_agreed()

        assert absent == before
        assert ring.login_everywhere(newcomers, turn=1) == meanwhile


def test_a_director_process_that_dies_is_refilled_by_its_neighbours(ring: Ring) -> None:
    for node in ring.one_of_each():
        before = ring.login_everywhere(USERS)
        node.kill_director()
        if node.settings.kind is DirectorKind.STANDALONE:
            node.start_director()
        ring.wait_agreed()

        assert ring.login_everywhere(USERS, turn=1) == before
        assert len(user_table(node)) >= len(USERS)


def test_the_ring_goes_on_without_a_hung_node_and_takes_it_back(ring: Ring) -> None:
    for node in ring.one_of_each():
        other = ring.nodes[ring.nodes.index(node) - 1]
        before = ring.login_everywhere(USERS)
        node.pause_director()
        ring.down.append(node)
        assert ask(other, "HOST-UPDATE", ring.hosts[0], "99") == "OK"
        meanwhile = ring.login_everywhere([f"hung-{node.name}-{user}" for user in USERS])
        node.resume_director()
        ring.down.remove(node)
        ring.wait_agreed()
        assert ask(node, "HOST-UPDATE", ring.hosts[0], "100") == "OK"

        assert ring.login_everywhere(USERS, turn=1) == before
        assert ring.login_everywhere(list(meanwhile), turn=1) == meanwhile


def test_a_member_removed_from_the_ring_is_forgotten_and_can_be_added_again(ring: Ring) -> None:
    for node in ring.one_of_each():
        other = ring.nodes[ring.nodes.index(node) - 1]
        ring.login_everywhere(USERS)
        ring.stop(node)
        ring.wait_synced()
        position = ring.nodes.index(node)
        ring.nodes.remove(node)
        ring.down.remove(node)
        assert ask(other, "DIRECTOR-REMOVE", node.ip) == "OK"
        ring.wait_synced()
        assert ask(other, "DIRECTOR-ADD", node.ip, str(node.ring_port)) == "OK"
        ring.nodes.insert(position, node)
        node.start()
        ring.wait_agreed()

        assert len(user_table(node)) >= len(USERS)


def test_a_kick_from_any_node_is_accepted(ring: Ring) -> None:
    for node in ring.one_of_each():
        with node.admin() as admin:
            assert admin.ask("USER-KICK", USERS[0]) == "OK"
            assert admin.ask("USER-KICK-ALT", "user_alternative", "value") == "OK"
    ring.wait_agreed()


@pytest.mark.parametrize("ring", [[M, R, S]], ids=["1 real, 2 ours"], indirect=True)
def test_nothing_is_lost_when_everybody_stops_but_one(ring: Ring) -> None:
    """The last one left is alone, and fills the others when they return.

    One mixture is enough: who is left alone waits 20 s before he believes it.
    """
    before = ring.login_everywhere(USERS)
    last = ring.one_of_each()[-1]
    others = [node for node in ring.nodes if node is not last]
    for node in others:
        ring.stop(node)
    ring.wait_synced()
    alone = ring.login_everywhere([f"alone-{user}" for user in USERS])
    for node in others:
        ring.restart(node)
        ring.wait_agreed()  # of two that start at a time, a real one fills itself from the other

    assert ring.login_everywhere(USERS, turn=1) == before
    assert ring.login_everywhere(list(alone), turn=1) == alone
    assert len(user_table(last)) == len(user_table(others[0]))


def test_20000_logins_leave_equal_tables_everywhere(ring: Ring) -> None:
    """Stands last, because a look at all tables takes a second from here on."""
    users = [f"many{n}@example.com" for n in range(20_000)]
    first = ring.login_everywhere(users)
    ring.wait_agreed()
    second = ring.login_everywhere(users, turn=1)

    assert set(first.values()) == set(ring.hosts)
    assert second == first
    assert len(user_table(ring.nodes[0])) >= len(users)
