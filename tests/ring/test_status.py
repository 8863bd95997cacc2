"""Answers to questions: doveadm-director.md sections 1.5 and 1.7."""

from __future__ import annotations

from ipaddress import ip_address

from ring.commands import HostSet, UserMove
from ring.messages import NATIVE_MINOR
from ring.move import Stage
from ring.status import DirectorStatus
from tests.ring.rig import HOSTS, NOW, Rig, alone, director, settings

USER = 700


def entry(rig: Rig, role: str) -> DirectorStatus:
    return next(e for e in rig.node.directors_status(rig.now) if e.role == role)


# --- a user ---


def test_unknown_user_is_nowhere_but_would_be_somewhere() -> None:
    rig = alone()
    status = rig.node.user_status(USER, b"", rig.now)

    assert (None, 0, False, None) == (
        status.current,
        status.expires_at,
        status.is_weak,
        status.stage,
    )
    assert status.hashed is rig.node.hosts.lookup(USER, b"")
    assert status.initial is rig.node.configured_hosts.lookup(USER, b"")


def test_known_user_is_somewhere_until_it_expires() -> None:
    rig = alone()
    rig.place(USER, HOSTS[0])
    status = rig.node.user_status(USER, b"", rig.now)
    assert status.current is rig.node.hosts.get(ip_address(HOSTS[0]))
    assert NOW + 900 == status.expires_at
    rig.node.set_clock(rig.now, NOW + 900)

    assert rig.node.user_status(USER, b"", rig.now).current is None


def test_user_being_moved_shows_its_stage() -> None:
    rig = alone()
    rig.command(UserMove(user_hash=USER, ip=ip_address(HOSTS[0])))

    assert Stage.DELAY is rig.node.user_status(USER, b"", rig.now).stage


def test_weak_user_is_shown_as_such() -> None:
    rig = Rig()
    left, _ = rig.ring()
    left.say(f"USER-WEAK\t127.0.1.1\t19001\t1\t{USER}\t{HOSTS[0]}")

    assert rig.node.user_status(USER, b"", rig.now).is_weak
    assert rig.node.statistics().weak == 1


def test_user_of_an_unknown_tag_is_nowhere_at_all() -> None:
    status = alone().node.user_status(USER, b"fast", 1000.0)

    assert (None, None, None) == (status.current, status.hashed, status.initial)


# --- directors ---


def test_every_director_and_link_has_an_entry_in_the_order_of_addresses() -> None:
    rig = Rig()
    rig.ring()
    entries = rig.node.directors_status(rig.now)

    assert [
        ("127.0.1.1:19001", "left"),
        ("127.0.1.2:19001", "self"),
        ("127.0.1.3:19001", "right"),
    ] == [(str(e.address), e.role) for e in entries]
    assert ["synced", "ring synced", "synced"] == [e.status for e in entries]


def test_ring_of_two_shows_its_other_director_twice() -> None:
    rig = Rig(settings(others=("127.0.1.1",)))
    rig.complete_right()
    rig.dial_in("127.0.1.1").shake()

    assert ["right", "left", "self"] == [e.role for e in rig.node.directors_status(rig.now)]


def test_caller_without_a_name_is_listed_by_its_address() -> None:
    rig = Rig()
    rig.dial_in("127.0.1.1")
    first = rig.node.directors_status(rig.now)[0]

    assert (None, "127.0.1.1", "in") == (first.address, str(first.source_ip), first.role)
    assert "handshaking - 0 USERs received" == first.status


def test_handshake_shows_how_far_it_is() -> None:
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    left.greet()
    left.say(f"U\t{USER}\t{HOSTS[0]}\tNOW")
    right = rig.accept_dial()
    right.greet()

    assert "handshaking - 1 USERs received" == entry(rig, "in").status
    assert "handshaking - 1 USERs sent" == entry(rig, "out").status
    assert "ring handshaking" == entry(rig, "self").status


def test_change_that_travels_shows_as_syncing() -> None:
    rig = Rig()
    rig.ring()
    rig.command(HostSet(ip=ip_address(HOSTS[0]), tag=b"", weight=5))
    rig.pass_time(1)

    assert "syncing" == entry(rig, "right").status
    assert "ring syncing - last sync 1 secs ago" == entry(rig, "self").status


def test_director_that_is_gone_shows_when_it_failed() -> None:
    rig = Rig()
    left, _ = rig.ring()
    rig.hang_up(left)
    gone = rig.node.directors_status(rig.now)[0]

    assert ("127.0.1.1:19001", "", NOW) == (str(gone.address), gone.role, gone.last_failed)


def test_removed_director_shows_as_such_until_the_ring_is_synced() -> None:
    rig = Rig()
    left, _ = rig.ring()
    left.say("DIRECTOR\t127.0.1.9\t19001", "DIRECTOR-REMOVE\t127.0.1.9\t19001")

    assert director("127.0.1.9") == entry(rig, "removed").address


def test_figures_of_a_link() -> None:
    rig = Rig()
    left, _ = rig.ring()
    rig.pass_time(16)
    rig.now += 0.25
    left.say("PONG")
    figures = entry(rig, "left").link

    assert figures is not None
    assert 1000 <= (figures.ping_ms or 0) <= 1500
    assert not figures.is_native
    assert figures.bytes_received > 100
    assert figures.bytes_sent > 80
    assert figures.output_bytes == 0
    assert figures.output_bytes_peak > 0
    assert NOW + 16 == figures.last_received
    assert NOW + 15 == figures.last_sent


def test_link_that_was_never_asked_has_no_round_trip() -> None:
    rig = Rig()
    rig.dial_in("127.0.1.1")

    assert entry(rig, "in").link.ping_ms is None  # type: ignore[union-attr]


def test_last_round_of_the_ring_is_timed() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("HOST\t127.0.1.1\t19001\t1\t10.1.0.1\t50\t\tU0\t")
    rig.pass_time(0.25)
    left.say(next(line for line in right.heard() if line.startswith("SYNC")))

    assert 250 == entry(rig, "self").sync_ms


# --- figures ---


def test_statistics_count_what_is_there() -> None:
    rig = Rig(settings(minor=NATIVE_MINOR))
    rig.node.lookup("login", USER, b"", rig.now)
    figures = rig.node.statistics()
    assert (0, 3, 3, 1, 1) == (
        figures.users,
        figures.hosts,
        figures.directors,
        figures.links,
        figures.parked,
    )
    assert not figures.is_handshaked
    rig.serve_alone()
    figures = rig.node.statistics()

    assert (1, 0, 0) == (figures.users, figures.links, figures.parked)
    assert figures.is_handshaked
    assert figures.is_synced
    assert figures.is_native_ring
