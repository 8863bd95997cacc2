"""Who goes where and who waits: login-sockets.md section 5.2, users-and-hosts.md section 9."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ring import limits
from ring.commands import HostDown, HostSet, UserMove
from ring.effects import LookupAnswered, Refusal
from ring.messages import NATIVE_MINOR
from ring.settings import NodeSettings
from tests.ring.rig import HOSTS, NOW, Peer, Rig, settings

EXPIRE_S = 900
NEAR_S = 870  # older than this an entry is near its expiry


def alone(**changes: object) -> Rig:
    return Rig(settings(own="127.0.1.2", others=(), **changes))


def host_of(rig: Rig, user_hash: int, tag: bytes = b"") -> str | None:
    host = rig.node.lookup(("login", user_hash, tag), user_hash, tag, rig.now)
    rig.run()
    return str(host.ip) if host else None


def answers(rig: Rig) -> list[LookupAnswered]:
    return [effect for effect in rig.effects if isinstance(effect, LookupAnswered)]


def hashed(rig: Rig, user_hash: int) -> str:
    host = rig.node.hosts.lookup(user_hash, b"")
    assert host is not None
    return str(host.ip)


def other_host(rig: Rig, user_hash: int) -> str:
    return next(ip for ip in HOSTS if ip != hashed(rig, user_hash))


def desync(left: Peer, right: Peer) -> str:
    """Change a host behind the node's back; return the SYNC that would settle it."""
    left.say("HOST\t127.0.1.1\t19001\t1\t10.1.0.9\t1\t\tU0\t")
    return next(line for line in right.heard() if line.startswith("SYNC"))


def test_director_without_neighbours_answers_at_once() -> None:
    rig = alone()

    assert hashed(rig, 5) == host_of(rig, 5)
    assert rig.node.statistics().users == 1


def test_before_the_first_handshake_everybody_waits() -> None:
    rig = Rig()

    assert host_of(rig, 5) is None
    assert rig.node.statistics().parked == 1


def test_director_whose_ring_never_answers_serves_alone_after_21_seconds() -> None:
    rig = Rig()
    assert host_of(rig, 5) is None
    started = rig.now
    while not rig.node.is_synced:
        while rig.dialled:
            rig.refuse_dial(0)
            del rig.dialled[0]
        rig.pass_time(0.1)
        assert rig.now < started + 60

    assert 20 < rig.now - started < 22
    assert [hashed(rig, 5)] == [str(answer.ip) for answer in answers(rig)]


def test_known_user_is_answered_while_the_ring_is_unsynced_and_a_new_one_waits() -> None:
    rig = Rig()
    left, right = rig.ring()
    assert host_of(rig, 5) is not None
    sync = desync(left, right)

    assert hashed(rig, 5) == host_of(rig, 5)
    assert host_of(rig, 6) is None
    left.say(sync)
    assert [(("login", 6, b""), hashed(rig, 6))] == [(a.token, str(a.ip)) for a in answers(rig)]


def test_native_ring_assigns_new_users_while_it_re_forms() -> None:
    rig = native_ring()
    rig.hang_up(rig.peers[max(rig.peers)])
    assert not rig.node.is_synced

    assert hashed(rig, 6) == host_of(rig, 6)


def native_ring() -> Rig:
    """A node that believes to be in a native ring, with scripted classic text on its links."""
    rig = Rig(settings(minor=NATIVE_MINOR))
    rig.node._state.ring.minor = NATIVE_MINOR  # what a returned SYNC of native nodes would do
    right = rig.complete_right()
    left = rig.dial_in("127.0.1.1")
    left.shake()
    rig.sync(left, right)
    rig.node._state.ring.minor = NATIVE_MINOR
    return rig


def test_native_ring_parks_new_users_while_a_host_change_travels() -> None:
    rig = native_ring()
    rig.node.command("c", HostSet(ip=ip_address(HOSTS[0]), tag=b"", weight=7), rig.now)

    assert host_of(rig, 6) is None


def test_lookup_without_a_usable_host_waits_for_one() -> None:
    rig = alone()
    for ip in HOSTS:
        rig.node.command(ip, HostDown(ip_address(ip)), rig.now)
    assert host_of(rig, 5) is None
    assert host_of(rig, 5, b"nobody-has-this-tag") is None
    rig.node.command("new", HostSet(ip=ip_address("10.1.0.9"), tag=b"", weight=None), rig.now)
    rig.run()

    assert ["10.1.0.9"] == [str(answer.ip) for answer in answers(rig)]
    assert rig.node.statistics().parked == 1


def test_lookup_fails_after_exactly_thirty_seconds_with_the_classic_reason() -> None:
    rig = Rig()
    left, right = rig.ring()
    desync(left, right)
    host_of(rig, 6)
    rig.pass_time(10)
    host_of(rig, 7)
    rig.pass_time(19.9)
    assert [] == answers(rig)
    rig.pass_time(0.2)

    answer = answers(rig)[0]
    assert Refusal.TIMED_OUT is answer.refusal
    assert (
        "Timeout because ring not synced - queued for 30 secs"
        " (Ring not synced for 30 secs, hash=6)" == answer.detail
    )
    rig.pass_time(9.9)
    assert len(answers(rig)) == 2


def test_reason_names_a_ring_that_never_was_and_the_tag() -> None:
    rig = Rig()
    right = rig.complete_right()
    rig.node.lookup("t", 6, b"fast", rig.now)
    for _ in range(31):
        rig.pass_time(1)
        right.say("PONG", "PING")

    assert [
        "Timeout because ring not handshaked - queued for 30 secs"
        " (Ring has never been synced, hash=6, tag=fast)"
    ] == [answer.detail for answer in answers(rig)]


def test_reason_names_when_a_known_user_was_refreshed() -> None:
    rig, left, right, _ = near_expiry_ring()
    desync(left, right)
    host_of(rig, 5)
    host_of(rig, 6)
    rig.pass_time(30.1)

    assert [
        "Timeout because ring not synced - queued for 30 secs"
        f" (Ring not synced for 30 secs{refreshed}, hash={user_hash})"
        for user_hash, refreshed in ((5, ", user refreshed 905 secs ago"), (6, ""))
    ] == [answer.detail for answer in answers(rig)]


def test_lookup_abandoned_while_it_is_to_be_looked_at_again_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "WALK_USERS_MAX", 1)
    rig = Rig()
    left, right = rig.ring()
    sync = desync(left, right)
    host_of(rig, 6)
    host_of(rig, 7)
    left.say(sync)
    rig.node.abandon(("login", 7, b""))
    rig.node.tick(rig.now)

    assert [6] == [answer.user_hash for answer in answers(rig)]


def test_abandoned_lookup_is_not_answered() -> None:
    rig = Rig()
    host_of(rig, 6)
    rig.node.abandon(("login", 6, b""))
    rig.node.abandon("never heard of")
    rig.pass_time(31)

    assert [] == answers(rig)
    assert rig.node.statistics().parked == 0


def test_one_lookup_too_many_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PARKED_LOOKUPS_MAX", 2)
    rig = Rig()
    for user_hash in (5, 6, 7):
        host_of(rig, user_hash)

    assert [(("login", 7, b""), Refusal.TOO_MANY_PARKED)] == [
        (answer.token, answer.refusal) for answer in answers(rig)
    ]


def test_login_refreshes_and_gossips_once_a_second() -> None:
    rig = Rig()
    left, right = rig.ring()
    host_of(rig, 5)
    host_of(rig, 5)
    line = f"USER\t5\t{hashed(rig, 5)}\tNOW"
    assert [line] == right.heard()
    assert [line] == left.heard()
    rig.pass_time(1)
    host_of(rig, 5)

    assert [line] == right.heard()


def test_expired_user_is_placed_anew() -> None:
    rig = alone()
    stale = other_host(rig, 5)
    rig.node.restore_users(b"", [5], [ip_address(stale)], [NOW], rig.now)
    assert stale == host_of(rig, 5)
    rig.node.set_clock(rig.now, NOW + EXPIRE_S)

    assert hashed(rig, 5) == host_of(rig, 5)


def test_sweep_forgets_expired_users() -> None:
    rig = alone(user_expire_s=10)
    for user_hash in range(1, 1000):
        host_of(rig, user_hash * 4_000_000)
    rig.pass_time(13)

    assert rig.node.statistics().users == 0
    assert rig.node.statistics().expired == 999


def near_expiry_ring(**changes: object) -> tuple[Rig, Peer, Peer, str]:
    """A ring where user 5 is near its expiry on a host that its hash does not lead to."""
    rig = Rig(settings(**changes))
    left, right = rig.ring()
    stored = other_host(rig, 5)
    left.say(f"USER\t5\t{stored}\tNOW-{NEAR_S + 5}")
    right.heard()
    return rig, left, right, stored


def test_near_expiry_user_on_another_host_waits_until_the_ring_agrees() -> None:
    rig, left, right, stored = near_expiry_ring()

    assert host_of(rig, 5) is None
    weak = next(line for line in right.heard() if line.startswith("USER-WEAK"))
    assert f"\t5\t{stored}" in weak
    assert [weak] == left.heard()
    left.say(weak)
    assert [(("login", 5, b""), stored)] == [(a.token, str(a.ip)) for a in answers(rig)]
    assert rig.node.statistics().weak == 0


def test_native_ring_that_is_whole_again_is_asked_again_to_agree() -> None:
    rig, left, right, _ = near_expiry_ring(minor=NATIVE_MINOR)
    assert host_of(rig, 5) is None
    rig.node._lookups.ring_synced()
    rig.run()
    assert ["USER-WEAK"] == [line.split("\t")[0] for line in right.heard()]
    rig.node._state.ring.minor = NATIVE_MINOR  # what a returned SYNC of native nodes would do
    rig.node._lookups.ring_synced()
    rig.run()
    assert ["USER-WEAK"] == [line.split("\t")[0] for line in right.heard()]
    left.say(f"HOST-FLUSH\t127.0.1.1\t19001\t1\t{other_host(rig, 5)}")
    right.heard()
    rig.node._lookups.ring_synced()
    rig.run()

    assert [] == [line for line in right.heard() if line.startswith("USER-WEAK")]


def test_near_expiry_user_whose_hash_leads_to_the_same_host_is_answered() -> None:
    rig = Rig()
    left, _ = rig.ring()
    left.say(f"USER\t5\t{hashed(rig, 5)}\tNOW-{NEAR_S + 5}")

    assert hashed(rig, 5) == host_of(rig, 5)


def test_near_expiry_user_waits_while_the_ring_is_unsynced() -> None:
    rig, left, right, _ = near_expiry_ring()
    sync = desync(left, right)

    assert host_of(rig, 5) is None
    assert [] == [line for line in right.heard() if line.startswith("USER-WEAK")]
    left.say(sync)
    assert ["USER-WEAK"] == [
        line.split("\t")[0] for line in right.heard() if line.startswith("USER-WEAK")
    ]


def test_weak_user_that_timed_out_is_no_longer_weak() -> None:
    rig, *_ = near_expiry_ring()
    assert host_of(rig, 5) is None
    rig.pass_time(30.1)

    assert "weak user" in answers(rig)[0].detail
    assert rig.node.statistics().weak == 0


def test_user_stays_weak_though_it_expires_meanwhile() -> None:
    """Or it would be placed anew here while the ring agrees on where it was."""
    rig, left, right, stored = near_expiry_ring()
    host_of(rig, 5)
    weak = next(line for line in right.heard() if line.startswith("USER-WEAK"))
    rig.pass_time(26)
    rig.node.lookup("second", 5, b"", rig.now)
    assert [] == answers(rig)
    left.say(weak)

    assert [stored, stored] == [str(answer.ip) for answer in answers(rig)]


def test_who_else_waits_for_a_weak_user_is_looked_at_again_when_the_first_gives_up() -> None:
    rig, left, right, _ = near_expiry_ring()
    assert host_of(rig, 5) is None
    rig.pass_time(5)
    rig.node.lookup("second", 5, b"", rig.now)
    for _ in range(5):
        rig.pass_time(5.1)
        left.say("PING", "PONG")
        right.say("PING", "PONG")

    first, second = answers(rig)
    assert Refusal.TIMED_OUT is first.refusal
    assert hashed(rig, 5) == str(second.ip)  # the old entry has expired by now


def test_weak_user_whose_host_is_flushed_is_placed_anew_and_no_longer_weak() -> None:
    rig, left, _, stored = near_expiry_ring()
    assert host_of(rig, 5) is None
    left.say(f"HOST-FLUSH\t127.0.1.1\t19001\t9\t{stored}")
    rig.pass_time(2.0)
    assert rig.node.statistics().weak == 0
    left.say(f"SYNC\t{rig.own_fields}\t{rig.node._state.sync_sequence}\t9\tNOW\tHH")

    assert [hashed(rig, 5)] == [str(answer.ip) for answer in answers(rig)]
    assert hashed(rig, 5) == host_of(rig, 5)


def test_stuck_weak_user_is_dropped_after_its_grace() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("USER-WEAK\t127.0.1.1\t19001\t1\t900\t10.1.0.2")
    for _ in range(94):
        rig.pass_time(10, step=5.0)
        left.say("PONG", "PING")
        right.say("PONG", "PING")

    assert 1 == len(rig.notes("weak_user_dropped"))
    assert rig.node.statistics().weak == 0


def test_director_that_is_alone_needs_no_agreement() -> None:
    rig = alone()
    stored = other_host(rig, 5)
    rig.node.restore_users(b"", [5], [ip_address(stored)], [NOW - NEAR_S - 5], rig.now)

    assert stored == host_of(rig, 5)


def test_moving_user_waits_and_is_answered_when_the_move_ends() -> None:
    rig = alone()
    host_of(rig, 5)
    target = other_host(rig, 5)
    rig.node.command("m", UserMove(user_hash=5, ip=ip_address(target)), rig.now)
    assert host_of(rig, 5) is None
    rig.pass_time(1.9)
    assert [] == answers(rig)
    rig.pass_time(0.2)

    assert [target] == [str(answer.ip) for answer in answers(rig)]


def test_refresh_keeps_known_users_alive_in_every_tag_and_creates_nobody() -> None:
    rig = alone()
    rig.node.command("h", HostSet(ip=ip_address("10.1.0.9"), tag=b"b", weight=1), rig.now)
    host_of(rig, 5)
    host_of(rig, 5, b"b")
    rig.pass_time(600, step=100.0)
    rig.node.refresh(5, rig.now)
    rig.node.refresh(6, rig.now)
    rig.pass_time(600, step=100.0)

    for tag in (b"", b"b"):
        assert rig.node.user_status(5, tag, rig.now).current is not None
    assert rig.node.user_status(6, b"", rig.now).current is None
    rig.pass_time(400, step=100.0)
    rig.node.refresh(5, rig.now)
    assert rig.node.user_status(5, b"", rig.now).current is None


def test_lookups_that_time_out_together_do_so_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WALK_USERS_MAX", 100)
    rig = Rig()
    for user_hash in range(1, 251):
        host_of(rig, user_hash)
    rig.now += 30.1
    rig.node.tick(rig.now)
    assert 100 == len([e for e in rig.node.drain() if isinstance(e, LookupAnswered)])
    assert rig.node.deadline <= rig.now + 1e-9
    rig.now += 0.001
    rig.node.tick(rig.now)
    rig.now += 0.001
    rig.node.tick(rig.now)

    assert 150 == len([e for e in rig.node.drain() if isinstance(e, LookupAnswered)])
    assert rig.node.statistics().parked == 0


def test_lookups_of_one_user_are_answered_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WALK_USERS_MAX", 10)
    rig = alone()
    host_of(rig, 5)
    rig.node.command("m", UserMove(user_hash=5, ip=ip_address(other_host(rig, 5))), rig.now)
    for number in range(25):
        rig.node.lookup(number, 5, b"", rig.now)
    rig.run()
    rig.now += 2.1
    rig.node.tick(rig.now)
    rig.run()
    assert 10 == len(answers(rig))
    rig.node.tick(rig.now)
    rig.node.tick(rig.now)
    rig.run()

    assert list(range(25)) == [answer.token for answer in answers(rig)]


def test_a_thousand_parked_lookups_are_answered_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WALK_USERS_MAX", 100)
    rig = Rig()
    left, right = rig.ring()
    sync = desync(left, right)
    for user_hash in range(1, 251):
        host_of(rig, user_hash)
    left.say(sync)
    assert len(answers(rig)) == 100
    assert rig.node.deadline < rig.now
    rig.node.tick(rig.now)
    rig.node.tick(rig.now)
    rig.run()

    assert [("login", h, b"") for h in range(1, 251)] == [answer.token for answer in answers(rig)]


def test_settings_of_the_rig_are_the_classic_defaults() -> None:
    defaults: NodeSettings = settings()

    assert EXPIRE_S == defaults.user_expire_s
