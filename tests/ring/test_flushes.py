"""Flushes: the walk over the users of a host (users-and-hosts.md section 13)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ring import limits
from ring.commands import Answer, HostDown, HostFlush, HostRemove, HostResetUsers, UserMove
from ring.effects import KickHash
from ring.move import Stage
from tests.ring.rig import HOSTS, Rig, alone

USER = 700


def stage(rig: Rig, user_hash: int = USER) -> Stage | None:
    return rig.node.user_status(user_hash, b"", rig.now).stage


def current(rig: Rig, user_hash: int = USER) -> str:
    host = rig.node.user_status(user_hash, b"", rig.now).current
    assert host is not None
    return str(host.ip)


def users_on(rig: Rig, ip: str, count: int, *, is_hashed_there: bool) -> list[int]:
    """Place users on a host, all of whom (or none of whom) their hash leads there."""
    found: list[int] = []
    for user_hash in range(1, 1_000_000):
        host = rig.node.hosts.lookup(user_hash * 4000, b"")
        if host is not None and (str(host.ip) == ip) == is_hashed_there:
            found.append(user_hash * 4000)
            rig.place(user_hash * 4000, ip)
        if len(found) == count:
            return found
    raise AssertionError("not enough users")


def reset(ip: str | None, parallel_max: int | None = None) -> HostResetUsers:
    return HostResetUsers(ip=ip_address(ip) if ip else None, parallel_max=parallel_max)


def test_flush_of_an_unknown_host_is_not_found() -> None:
    assert [Answer.NOT_FOUND] == alone().command(reset("10.9.9.9"))


def test_flush_moves_only_users_whose_hash_leads_elsewhere() -> None:
    rig = alone()
    stay = users_on(rig, HOSTS[0], 5, is_hashed_there=True)
    move = users_on(rig, HOSTS[0], 5, is_hashed_there=False)

    assert [Answer.OK] == rig.command(reset(None))
    assert {HOSTS[0]} == {current(rig, user_hash) for user_hash in stay}
    for user_hash in move:
        assert str(rig.node.hosts.lookup(user_hash, b"").ip) == current(rig, user_hash)  # type: ignore[union-attr]
    assert 5 == len(rig.kicks())
    assert 5 == rig.notes("host_reset_finished")[0]["moved"]


def test_flush_keeps_to_its_limit_and_answers_when_the_last_move_has_begun() -> None:
    rig = alone()
    users_on(rig, HOSTS[0], 5, is_hashed_there=False)
    assert [] == rig.command(reset(HOSTS[0], parallel_max=2))
    assert rig.node.statistics().moving == 2
    rig.pass_time(2.1)
    assert rig.node.statistics().moving == 2
    rig.pass_time(2.1)
    rig.pass_time(0.1)

    assert [Answer.OK] == rig.answers()


def test_flush_empties_a_host_of_users_who_are_on_their_way_to_it() -> None:
    """As the original: the first move goes on, with another host at its end."""
    rig = alone()
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[0])), "move")
    rig.command(HostDown(ip_address(HOSTS[0])), "down")

    assert [Answer.OK] == rig.command(reset(HOSTS[0]))
    assert (Stage.DELAY, str(rig.node.hosts.lookup(USER, b"").ip)) == (stage(rig), current(rig))  # type: ignore[union-attr]
    assert HOSTS[0] != current(rig)


def test_flush_without_any_other_host_kicks_and_forgets() -> None:
    rig = alone()
    users = users_on(rig, HOSTS[0], 3, is_hashed_there=True)
    for ip in HOSTS:
        rig.command(HostDown(ip_address(ip)))

    assert [Answer.OK] == rig.command(reset(HOSTS[0]), "flush")
    assert [KickHash(user_hash=u, except_ip=None) for u in sorted(users)] == sorted(
        rig.kicks(),
        key=lambda kick: kick.user_hash,  # type: ignore[union-attr]
    )
    assert rig.node.user_status(users[0], b"", rig.now).current is None


def test_flush_without_any_other_host_kicks_on_every_node_and_waits_for_nobody() -> None:
    """The ring is not told of a move, so that nobody would ever confirm it."""
    rig = Rig()
    left, right = rig.ring()
    rig.place(USER, HOSTS[0])
    for ip in HOSTS:
        left.say(f"HOST\t127.0.1.1\t19001\t{ip[-1]}\t{ip}\t0\t\tU0\t")
    left.say(next(line for line in right.heard() if line.startswith("SYNC")))
    right.heard()
    rig.command(reset(HOSTS[0]), "flush")
    kicks = [line for line in right.heard() if line.startswith("USER-K")]

    assert [f"{USER}\t0.0.0.0"] == [line.split("\t", 4)[4] for line in kicks]
    assert ["USER-KICK-HASH"] == [line.split("\t")[0] for line in kicks]
    assert [KickHash(user_hash=USER, except_ip=None)] == rig.kicks()
    assert stage(rig) is Stage.DELAY


def test_flush_of_many_users_takes_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WALK_USERS_MAX", 10)
    rig = alone()
    users_on(rig, HOSTS[0], 50, is_hashed_there=True)

    assert [] == rig.command(reset(HOSTS[0]))
    ticks = 0
    while rig.node.deadline < rig.now:
        rig.node.tick(rig.now)
        ticks += 1
    rig.run()

    assert [Answer.OK] == rig.answers()
    assert 256 // 10 <= ticks <= (256 + 2 * 50) // 10


def test_one_flush_too_many_is_told_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COMMANDS_WAITING_MAX", 1)
    monkeypatch.setattr(limits, "WALK_USERS_MAX", 10)
    rig = alone()
    assert [] == rig.command(reset(HOSTS[0]), "first")

    assert [Answer.TRY_AGAIN] == rig.command(reset(HOSTS[1]))


def test_flush_waits_while_the_ring_is_unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WALK_USERS_MAX", 10)
    rig = Rig()
    left, right = rig.ring()
    rig.command(reset(HOSTS[0]))
    left.say(f"HOST\t127.0.1.1\t19001\t1\t{HOSTS[1]}\t10\t\tU0\t")
    sync = next(line for line in right.heard() if line.startswith("SYNC"))
    assert rig.node.deadline > rig.now
    left.say(sync)

    assert rig.node.deadline < rig.now


def test_user_that_left_the_host_before_its_turn_is_left_alone() -> None:
    rig = alone()
    first, second = users_on(rig, HOSTS[0], 2, is_hashed_there=False)
    rig.command(reset(HOSTS[0], parallel_max=1), "flush")
    waiting = first if stage(rig, first) is None else second
    assert stage(rig, waiting) is None
    rig.command(HostFlush(ip_address(HOSTS[0])), "forget")
    rig.pass_time(2.1)

    assert [Answer.OK] == rig.answers("flush")
    assert 1 == len(rig.kicks())
    assert stage(rig, waiting) is None


def test_host_removed_meanwhile_is_not_flushed_at_the_end() -> None:
    rig = alone()
    users_on(rig, HOSTS[0], 2, is_hashed_there=True)
    for ip in HOSTS:
        rig.command(HostDown(ip_address(ip)), ip)
    rig.command(reset(HOSTS[0], parallel_max=1), "flush")
    rig.command(HostRemove(ip_address(HOSTS[0])), "remove")
    rig.pass_time(2.1)

    assert [Answer.OK] == rig.answers("flush")
    assert [] == rig.notes("host_flushed")
