"""What one node knows: the side tables of users that need care, and the clocks."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ring import hosts as hosts_module
from ring import limits
from ring.directors import Directors
from ring.state import Pool, State
from tests.ring.rig import HOSTS, NOW, director, settings

USER = 700


def state() -> State:
    node_settings = settings()
    directors = Directors(director("127.0.1.2"), node_settings.directors)
    return State(node_settings, directors, 1000.0, float(NOW))


def pool() -> Pool:
    return state().pool(b"")


def test_user_that_is_weak_and_moving_needs_care_until_it_is_neither() -> None:
    users = pool()
    users.mark_weak(USER)
    users.mark_moving(USER)
    users.clear_weak(USER)
    assert {USER} == users.special
    users.mark_weak(USER)
    users.clear_moving(USER)
    assert {USER} == users.special
    users.clear_weak(USER)

    assert set() == users.special


def test_clearing_a_mark_that_is_not_there_changes_nothing() -> None:
    users = pool()
    users.clear_weak(USER)
    users.clear_moving(USER)

    assert set() == users.special


def test_second_weak_mark_does_not_reset_the_copies_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "WEAK_COPIES_MAX", 2)
    users = pool()
    users.mark_weak(USER)
    assert users.may_forward_weak(USER)
    users.mark_weak(USER)
    assert users.may_forward_weak(USER)

    assert not users.may_forward_weak(USER)


def test_forgotten_user_is_not_weak_but_its_move_goes_on() -> None:
    known = state()
    users = known.pool(b"")
    host = known.hosts.get(ip_address(HOSTS[0]))
    assert host is not None
    users.table.store(USER, host.number, NOW)
    users.mark_weak(USER)
    users.mark_moving(USER)
    users.forget(USER)

    assert ({}, {USER}) == (users.weak, users.special)
    assert ({USER: False}, 0) == (users.moving, len(users.table))


def test_pool_exists_from_its_first_mention_on() -> None:
    known = state()

    assert known.pool(b"fast") is known.pool(b"fast")
    assert [b"fast"] == list(known.pools)


def test_wall_clock_follows_the_monotonic_one() -> None:
    known = state()
    known.now += 2.7

    assert NOW + 2 == known.wall
    assert known.now < known.next_turn < known.now + 1e-6


def test_director_without_links_is_alone() -> None:
    assert state().is_alone


def test_ring_is_native_only_after_a_handshake() -> None:
    known = state()
    known.ring.minor = 100
    assert not known.is_native_ring
    known.is_handshaked = True

    assert known.is_native_ring


def test_configured_hosts_are_kept_beside_the_live_ones() -> None:
    known = state()
    host = known.hosts.get(ip_address(HOSTS[0]))
    assert host is not None
    known.hosts.remove(host)

    assert (2, 3) == (len(known.hosts), len(known.configured_hosts))


def test_numbers_are_reclaimed_only_when_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    known = state()
    users = known.pool(b"")
    host = known.hosts.get(ip_address(HOSTS[0]))
    assert host is not None
    users.table.store(USER, host.number, NOW)
    known.hosts.forget_users(host)
    known.reclaim_host_numbers()
    assert users.table.count(1) == 1
    monkeypatch.setattr(hosts_module, "HOST_NUMBERS_MAX", len(known.hosts.by_number))
    known.reclaim_host_numbers()

    assert users.table.count(1) == 0
    assert known.hosts.numbers_left == 1


def test_notes_keep_the_order_of_their_fields() -> None:
    known = state()
    known.note("host_removed", host="b", reason="a")
    (note,) = known.effects

    assert "Noted(kind='host_removed', fields=(('host', 'b'), ('reason', 'a')))" == str(note)
