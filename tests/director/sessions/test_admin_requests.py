"""Lines of the admin protocol: what each means, and what means nothing."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from director.sessions.admin_requests import (
    CountSessions,
    ListDirectors,
    ListHosts,
    ListRemovedHosts,
    ListUsers,
    LookUpUser,
    Question,
    ShowUserState,
    parse_request,
)
from ring.address import DirectorAddress
from ring.commands import (
    Command,
    DirectorAdd,
    DirectorRemove,
    HostDown,
    HostFlush,
    HostRemove,
    HostResetUsers,
    HostSet,
    HostUp,
    HostUpdate,
    UserKick,
    UserKickField,
    UserKickHash,
    UserMove,
)
from ring.errors import ValueRefused

OWN = DirectorAddress(ip=IPv4Address("127.0.0.1"), port=9090)
ALONE = DirectorAddress(ip=IPv4Address("127.0.0.1"), port=0)
IP = IPv4Address("10.0.0.2")


def parse(line: bytes, own: DirectorAddress = OWN) -> Command | Question | CountSessions:
    return parse_request(line, lambda name: 1000 + len(name), own)


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        (b"HOST-LIST", ListHosts()),
        (b"HOST-LIST\tsurplus", ListHosts()),
        (b"HOST-LIST-REMOVED", ListRemovedHosts()),
        (b"SESSION-COUNTS", CountSessions()),
        (b"DIRECTOR-LIST", ListDirectors()),
        (b"DIRECTOR-ADD\t10.0.0.2", DirectorAdd(DirectorAddress(ip=IP, port=9090))),
        (b"DIRECTOR-ADD\t10.0.0.2\t9", DirectorAdd(DirectorAddress(ip=IP, port=9))),
        (b"DIRECTOR-REMOVE\t10.0.0.2", DirectorRemove(ip=IP, port=None)),
        (b"DIRECTOR-REMOVE\t10.0.0.2\t9", DirectorRemove(ip=IP, port=9)),
        (b"HOST-SET\t10.0.0.2", HostSet(ip=IP, tag=b"", weight=None)),
        (b"HOST-SET\t10.0.0.2@", HostSet(ip=IP, tag=b"", weight=None)),
        (b"HOST-SET\t10.0.0.2@a@b\t0", HostSet(ip=IP, tag=b"a@b", weight=0)),
        (b"HOST-SET\t10.0.0.2@a\x01tb\t1001", HostSet(ip=IP, tag=b"a\tb", weight=1001)),
        (b"HOST-SET\t[fd00::5]", HostSet(ip=IPv6Address("fd00::5"), tag=b"", weight=None)),
        (b"HOST-UPDATE\t10.0.0.2@a\t5", HostUpdate(ip=IP, tag=b"a", weight=5)),
        (b"HOST-UP\t10.0.0.2", HostUp(IP)),
        (b"HOST-DOWN\t10.0.0.2", HostDown(IP)),
        (b"HOST-REMOVE\t10.0.0.2", HostRemove(IP)),
        (b"HOST-FLUSH", HostFlush(None)),
        (b"HOST-FLUSH\t", HostFlush(None)),
        (b"HOST-FLUSH\t10.0.0.2", HostFlush(IP)),
        (b"HOST-RESET-USERS", HostResetUsers(ip=None, parallel_max=None)),
        (b"HOST-RESET-USERS\t\t7", HostResetUsers(ip=None, parallel_max=7)),
        (b"HOST-RESET-USERS\t10.0.0.2", HostResetUsers(ip=IP, parallel_max=None)),
        (b"HOST-RESET-USERS\t10.0.0.2\t1", HostResetUsers(ip=IP, parallel_max=1)),
        (b"USER-LOOKUP", LookUpUser(user_hash=1000, tag=b"")),
        (b"USER-LOOKUP\tu1\t", LookUpUser(user_hash=1002, tag=b"")),
        (b"USER-LOOKUP\tu\x01tx\tgold", LookUpUser(user_hash=1003, tag=b"gold")),
        (b"USER-LOOKUP\t0", LookUpUser(user_hash=0, tag=b"")),
        (b"USER-LOOKUP\t4294967295", LookUpUser(user_hash=4294967295, tag=b"")),
        (b"USER-LOOKUP\t4294967296", LookUpUser(user_hash=1010, tag=b"")),
        (b"USER-LOOKUP\t-5", LookUpUser(user_hash=1002, tag=b"")),
        (b"USER-LIST", ListUsers(None)),
        (b"USER-LIST\t", ListUsers(None)),
        (b"USER-LIST\t10.0.0.2", ListUsers(IP)),
        (b"USER-MOVE\tu1\t10.0.0.2", UserMove(user_hash=1002, ip=IP)),
        (b"USER-MOVE\t5\t10.0.0.2", UserMove(user_hash=5, ip=IP)),
        (b"USER-KICK\tu1", UserKick(user=b"u1", is_waiting=True)),
        (b"USER-KICK\t12345\tnowait", UserKick(user=b"12345", is_waiting=False)),
        (b"USER-KICK\t", UserKick(user=b"", is_waiting=True)),
        (b"USER-KICK-ALT\tf\tv", UserKickField(field=b"f", value=b"v", is_waiting=True)),
        (b"USER-KICK-ALT\tf\tv\tnowait", UserKickField(field=b"f", value=b"v", is_waiting=False)),
        (b"USER-KICK-HASH\t77", UserKickHash(77)),
        (b"USER-STATUS\tu1\tgold", ShowUserState(user_hash=1002, tag=b"gold")),
    ],
)
def test_a_line_becomes_a_command_or_a_question(line: bytes, request_: Command | Question) -> None:
    assert parse(line) == request_


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\t",
        b"NOSUCH",
        b"Host-List",
        b"HOST-LIST ",
        b"DIRECTOR-ADD",
        b"DIRECTOR-ADD\tx",
        b"DIRECTOR-ADD\t10.0.0.2\t0",
        b"DIRECTOR-ADD\t10.0.0.2\t65536",
        b"DIRECTOR-ADD\t10.0.0.2\t",
        b"DIRECTOR-REMOVE\t10.0.0.2\tx",
        b"HOST-SET",
        b"HOST-SET\tnotanip",
        b"HOST-SET\t\xff",
        b"HOST-SET\t10.0.0.2\tx",
        b"HOST-SET\t10.0.0.2\t",
        b"HOST-SET\t10.0.0.2\t-1",
        b"HOST-SET\t10.0.0.2\t4294967296",
        b"HOST-SET\t10.0.0.2\t00000000001",
        b"HOST-SET\t10.0.0.2@" + b"x" * 1000,
        b"HOST-UPDATE\t10.0.0.2",
        b"HOST-UP",
        b"HOST-DOWN\t10.0.0.2@a",
        b"HOST-REMOVE\t",
        b"HOST-FLUSH\tall",
        b"HOST-RESET-USERS\t\t0",
        b"HOST-RESET-USERS\t10.0.0.2\t",
        b"USER-LIST\tu1",
        b"USER-MOVE",
        b"USER-MOVE\tu1",
        b"USER-MOVE\tu1\tx",
        b"USER-MOVE\t0\t10.0.0.2",
        b"USER-KICK",
        b"USER-KICK\t" + b"x" * 1001,
        b"USER-KICK-ALT\tf",
        b"USER-KICK-HASH\tu1",
        b"USER-KICK-HASH\t0",
    ],
)
def test_a_line_that_means_nothing_is_refused(line: bytes) -> None:
    with pytest.raises(ValueRefused):
        parse(line)


def test_a_director_without_a_port_cannot_lend_it() -> None:
    assert parse(b"DIRECTOR-ADD\t10.0.0.2\t9", ALONE)

    with pytest.raises(ValueRefused, match=r"DIRECTOR-ADD: got no port"):
        parse(b"DIRECTOR-ADD\t10.0.0.2", ALONE)
