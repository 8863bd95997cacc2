"""Answers to questions, byte for byte as recorded (captures 03, 10 and 14)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from director.sessions import admin_replies
from director.sessions.admin_replies import reply_pieces
from director.sessions.admin_requests import (
    ListDirectors,
    ListHosts,
    ListRemovedHosts,
    ListUsers,
    LookUpUser,
    Question,
    ShowUserState,
)
from ring.commands import HostDown, HostFlush, HostRemove, HostSet, HostUp, UserMove
from ring.effects import Dial
from ring.messages import NATIVE_MINOR
from ring.settings import HostSetting
from tests.director.sessions.office import OTHER, OWN, USER_EXPIRE_S, WALL, Office

IP = IPv4Address("127.0.0.2")


@pytest.fixture
def office() -> Iterator[Office]:
    with_everything = Office()
    yield with_everything
    with_everything.close()


def ask(office: Office, question: Question) -> list[bytes]:
    return list(
        reply_pieces(
            office.node,
            question,
            now=office.time,
            wall=WALL + int(office.time),
            user_expire_s=USER_EXPIRE_S,
        )
    )


def lines(office: Office, question: Question) -> list[bytes]:
    return b"".join(ask(office, question)).split(b"\n")[:-1]


def settle_moves(office: Office) -> None:
    """Let the delay of all moves pass."""
    office.settle()
    office.let_pass(2.0)


def test_hosts_are_listed_by_address_with_users_and_state() -> None:
    office = Office(
        hosts=(
            HostSetting(ip=IPv4Address("127.0.0.10"), tag=b"t\tg"),
            HostSetting(ip=IPv4Address("127.0.0.9")),
        )
    )
    office.node.command(1, UserMove(user_hash=5, ip=IPv4Address("127.0.0.9")), 0.0)
    office.node.command(2, HostDown(IPv4Address("127.0.0.9")), 0.0)
    office.node.drain()

    assert ask(office, ListHosts()) == [
        b"127.0.0.9\t100\t1\t\tD\t%d\n127.0.0.10\t100\t0\tt\x01tg\tU\t0\n\n" % WALL
    ]
    office.close()


def test_removed_hosts_are_those_of_the_configuration(office: Office) -> None:
    assert ask(office, ListRemovedHosts()) == [b"\n"]

    office.node.command(1, HostRemove(IP), 0.0)
    office.node.command(2, HostSet(ip=IPv4Address("127.0.0.77"), tag=b"", weight=None), 0.0)
    office.node.drain()

    assert ask(office, ListRemovedHosts()) == [b"127.0.0.2\n\n"]


def test_a_user_is_looked_up_before_and_after_it_has_a_host(office: Office) -> None:
    u1 = office.hash_user(b"u1")

    assert lines(office, LookUpUser(user_hash=u1, tag=b"")) == [b"\t0\t127.0.0.3\t127.0.0.3"]
    assert lines(office, LookUpUser(user_hash=u1, tag=b"tagA")) == [b"\t0\t127.0.0.4\t127.0.0.4"]
    assert lines(office, LookUpUser(user_hash=u1, tag=b"nosuch")) == [b"\t0\t\t"]
    assert lines(office, LookUpUser(user_hash=0, tag=b""))

    office.node.command(1, UserMove(user_hash=u1, ip=IP), 0.0)
    office.node.drain()

    assert lines(office, LookUpUser(user_hash=u1, tag=b"")) == [
        b"127.0.0.2\t%d\t127.0.0.3\t127.0.0.3" % (WALL + USER_EXPIRE_S)
    ]

    office.time = USER_EXPIRE_S

    assert lines(office, LookUpUser(user_hash=u1, tag=b"")) == [b"\t0\t127.0.0.3\t127.0.0.3"]


def test_a_user_shows_its_move(office: Office) -> None:
    question = ShowUserState(user_hash=5, tag=b"")

    assert lines(office, question) == [b"none\t"]

    office.node.command(1, UserMove(user_hash=5, ip=IP), 0.0)
    office.node.drain()

    assert lines(office, question) == [b"delay\t"]

    settle_moves(office)

    assert lines(office, question) == [b"none\t"]


def move_users(office: Office, *moves: tuple[int, str]) -> None:
    for user_hash, ip in moves:
        office.node.command(1, UserMove(user_hash=user_hash, ip=IPv4Address(ip)), office.time)
    office.node.drain()


def test_users_are_listed_tag_by_tag_and_oldest_first(office: Office) -> None:
    move_users(office, (7, "127.0.0.2"))
    office.time = 5.0
    move_users(office, (0xFFFFFFFF, "127.0.0.3"), (9, "127.0.0.4"))
    office.time = 9.0
    move_users(office, (1, "127.0.0.3"))
    expires = [WALL + USER_EXPIRE_S + seconds for seconds in (0, 5, 9)]

    assert lines(office, ListUsers(None)) == [
        b"7\t%d\t127.0.0.2" % expires[0],
        b"4294967295\t%d\t127.0.0.3" % expires[1],
        b"1\t%d\t127.0.0.3" % expires[2],
        b"9\t%d\t127.0.0.4" % expires[1],
        b"",
    ]
    assert lines(office, ListUsers(IPv4Address("127.0.0.4"))) == [
        b"9\t%d\t127.0.0.4" % expires[1],
        b"",
    ]
    assert lines(office, ListUsers(IPv4Address("127.0.0.77"))) == [b""]


def test_users_that_are_gone_are_not_listed(office: Office) -> None:
    move_users(office, (7, "127.0.0.2"), (8, "127.0.0.3"))
    office.node.command(1, HostFlush(IP), 0.0)
    office.node.drain()

    assert lines(office, ListUsers(None)) == [
        b"8\t%d\t127.0.0.3" % (WALL + USER_EXPIRE_S),
        b"",
    ]

    office.time = USER_EXPIRE_S

    assert lines(office, ListUsers(None)) == [b""]


def test_many_users_are_listed_in_pieces(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_replies, "SORTED_USERS_MAX", 2)
    move_users(office, (0x05000001, "127.0.0.2"), (0x05000002, "127.0.0.3"), (7, "127.0.0.3"))
    move_users(office, (9, "127.0.0.4"))
    expires = WALL + USER_EXPIRE_S

    pieces = [piece for piece in ask(office, ListUsers(None)) if piece]

    assert pieces == [
        b"7\t%d\t127.0.0.3\n" % expires,
        b"83886081\t%d\t127.0.0.2\n83886082\t%d\t127.0.0.3\n" % (expires, expires),
        b"9\t%d\t127.0.0.4\n" % expires,
        b"\n",
    ]


def test_a_lone_director_lists_itself() -> None:
    office = Office(OWN)

    assert lines(office, ListDirectors()) == [b"127.0.0.1\t9090\tself\t0\tring synced\t0", b""]
    office.close()


def test_directors_without_a_connection_have_an_empty_status() -> None:
    office = Office(OWN, OTHER)
    dial = next(effect for effect in office.node.drain() if isinstance(effect, Dial))

    assert lines(office, ListDirectors())[0] == b"127.0.0.1\t9090\tself\t0\tring handshaking\t0"

    office.node.link_failed(dial.link_id, "refused", 0.0)

    assert lines(office, ListDirectors())[1].split(b"\t")[:3] == [b"127.0.0.9", b"9090", b""]
    assert len(lines(office, ListDirectors())[1].split(b"\t")) == 5
    office.close()


def test_connections_have_twelve_columns_even_unnamed_ones() -> None:
    """The original leaves the address out and shifts the rest (captures/14)."""
    office = Office(OWN, OTHER)
    dial = next(effect for effect in office.node.drain() if isinstance(effect, Dial))
    office.node.link_connected(dial.link_id, 0.0)
    office.node.link_accepted(OTHER.ip, 0.0)

    rows = [line.split(b"\t") for line in lines(office, ListDirectors())[:-1]]

    assert [len(row) for row in rows if row[2] != b"self"] == [12, 12]
    assert rows[0][:5] == [b"127.0.0.9", b"0", b"in", b"0", b"handshaking - 0 USERs received"]
    assert rows[-1][:5] == [b"127.0.0.9", b"9090", b"out", b"0", b"handshaking - 0 USERs sent"]
    office.close()


def test_the_status_of_a_link_tells_when_it_speaks_native() -> None:
    """In a column that Dovecot's own doveadm shows too."""
    office = Office(OWN, OTHER)
    dial = next(effect for effect in office.node.drain() if isinstance(effect, Dial))
    office.node.link_connected(dial.link_id, 0.0)
    office.node.received(dial.link_id, b"VERSION\tdirector\t1\t%d\n" % NATIVE_MINOR, 0.0)

    row = lines(office, ListDirectors())[1].split(b"\t")

    assert row[4] == b"handshaking - 0 USERs sent (native)"
    office.close()


def test_a_host_that_came_back_up_keeps_the_time(office: Office) -> None:
    office.node.command(1, HostDown(IP), 0.0)
    office.time = 3.0
    office.node.command(2, HostUp(IP), 3.0)
    office.node.drain()

    assert lines(office, ListHosts())[0] == b"127.0.0.2\t100\t0\t\tU\t%d" % (WALL + 3)
