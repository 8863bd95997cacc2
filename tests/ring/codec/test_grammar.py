"""The grammar of classic lines: every command, its fields, and what each may be."""

import pytest

from ring import limits
from ring.codec import grammar
from ring.errors import ValueRefused
from ring.messages import (
    UNKNOWN_TIMESTAMP,
    Connect,
    Director,
    DirectorRemove,
    Done,
    Host,
    HostFlush,
    HostRemove,
    HostsEnd,
    HostsStart,
    Me,
    Message,
    Options,
    Ping,
    Pong,
    Quit,
    Sync,
    UserKick,
    UserKickField,
    UserKickHash,
    UserKilled,
    UserKilledEverywhere,
    UserMove,
    UserWeak,
    Version,
)
from tests.ring.codec.messages import PLACE, STAMP, V4, users

AT = b"10.0.0.1\t9090"
BY = AT + b"\t7"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"VERSION\tdirector\t1\t9\tmore", Version(major=1, minor=9)),
        (b"ME\t" + AT, Me(address=PLACE, wall=None)),
        (b"ME\t" + AT + b"\t-5", Me(address=PLACE, wall=-5)),
        (b"OPTIONS", Options(())),
        (b"OPTIONS\ta\tb", Options((b"a", b"b"))),
        (b"DONE\tmore", Done()),
        (b"HOST-HAND-START\t2", HostsStart(True)),
        (b"HOST-HAND-START\t0", HostsStart(False)),
        (b"HOST-HAND-END\t1", HostsEnd(True)),
        (b"HOST-HAND-END\tx", HostsEnd(False)),
        (b"HOST-HAND-END", HostsEnd(False)),
        (b"HOST\t" + BY + b"\t10.1.0.1\t0", Host(stamp=STAMP, ip=V4, weight=0)),
        (b"HOST\t" + BY + b"\t10.1.0.1\t5\tt", Host(stamp=STAMP, ip=V4, weight=5, tag=b"t")),
        (
            b"HOST\t" + BY + b"\t10.1.0.1\t100000\tt\tD-5\th\tmore",
            Host(
                stamp=STAMP,
                ip=V4,
                weight=limits.RING_WEIGHT_MAX,
                tag=b"t",
                is_down=True,
                changed_at=-5,
                hostname=b"h",
            ),
        ),
        (b"HOST\t" + BY + b"\t10.1.0.1\t5\ta\x010b", Host(stamp=STAMP, ip=V4, weight=5, tag=b"a")),
        (b"HOST-REMOVE\t" + BY + b"\t10.1.0.1", HostRemove(stamp=STAMP, ip=V4)),
        (b"HOST-FLUSH\t" + BY + b"\t10.1.0.1", HostFlush(stamp=STAMP, ip=V4)),
        (b"U\t5\t10.1.0.1\t17", users([(5, V4, 17)], is_handshake=True)),
        (
            b"U\t5\t10.1.0.1\t17\tweak",
            users([(5, V4, 17)], is_handshake=True, weak=frozenset([0])),
        ),
        (b"USER\t5\t10.1.0.1", users([(5, V4, UNKNOWN_TIMESTAMP)])),
        (b"USER-WEAK\t" + BY + b"\t5\t10.1.0.1", UserWeak(stamp=STAMP, user_hash=5, ip=V4)),
        (b"USER-MOVE\t" + BY + b"\t5\t10.1.0.1", UserMove(stamp=STAMP, user_hash=5, ip=V4)),
        (b"USER-KICK\t" + BY + b"\ta\x01tb", UserKick(stamp=STAMP, user=b"a\tb")),
        (b"USER-KICK\t" + BY + b"\t", UserKick(stamp=STAMP, user=b"")),
        (b"USER-KICK-ALT\t" + BY + b"\tf\tv", UserKickField(stamp=STAMP, field=b"f", value=b"v")),
        (
            b"USER-KICK-HASH\t" + BY + b"\t5\t10.1.0.1",
            UserKickHash(stamp=STAMP, user_hash=5, except_ip=V4),
        ),
        (b"USER-KILLED\t5", UserKilled(5)),
        (b"USER-KILLED-EVERYWHERE\t" + BY + b"\t5", UserKilledEverywhere(stamp=STAMP, user_hash=5)),
        (b"DIRECTOR\t" + AT + b"\tmore", Director(PLACE)),
        (b"DIRECTOR-REMOVE\t" + AT, DirectorRemove(PLACE)),
        (b"CONNECT\t" + AT, Connect(PLACE)),
        (
            b"SYNC\t" + BY,
            Sync(origin=PLACE, sequence=7, minor=0, timestamp=UNKNOWN_TIMESTAMP, hosts_hash=0),
        ),
        (
            b"SYNC\t" + BY + b"\t9\t17\t4",
            Sync(origin=PLACE, sequence=7, minor=9, timestamp=17, hosts_hash=4),
        ),
        (b"PING", Ping(wall=None, unsent_bytes=None)),
        (b"PING\t17\t4", Ping(wall=17, unsent_bytes=4)),
        (b"PONG\tx\t4", Pong(wall=None, unsent_bytes=4)),
        (b"PONG\t99999999999999999999", Pong(wall=(1 << 63) - 1, unsent_bytes=None)),
        (b"QUIT", Quit("")),
        (b"QUIT\ta b\tc\xff", Quit("a b c\\xff")),
    ],
    ids=lambda value: value.decode("ascii", "replace") if isinstance(value, bytes) else "",
)
def test_reads_every_command(line: bytes, message: Message) -> None:
    assert grammar.parse_line(line, False) == message


def test_a_host_has_no_stamp_inside_a_host_block() -> None:
    line = b"HOST\t10.1.0.1\t100\t\tU0\t"

    assert grammar.parse_line(line, True) == Host(stamp=None, ip=V4, weight=100)
    with pytest.raises(ValueRefused, match="sequence ''"):
        grammar.parse_line(line, False)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "unknown command"),
        (b"user\t5\t10.1.0.1", "unknown command"),
        (b"ME\t10.0.0.1", "1 fields, expected at least 2"),
        (b"CONNECT\t" + AT + b"\t1", "3 fields, expected 2"),
        (b"HOST-REMOVE\t" + BY, "3 fields, expected at least 4"),
        (b"HOST-FLUSH\t" + BY + b"\t10.1.0.1\t", "5 fields, expected 4"),
        (b"DIRECTOR\t10.0.0.1\t0", "port 0, expected 1 to 65535"),
        (b"DIRECTOR\t10.0.0.1\t65536", "port 65536, expected 1 to 65535"),
        (b"DIRECTOR\tlocalhost\t9090", "'localhost' is not an IP address"),
        (b"DIRECTOR\t10.0.0.1\xb2\t9090", "'10.0.0.1\\\\xb2' is not an IP address"),
        (b"ME\t" + AT + b"\t9223372036854775808", "time '9223372036854775808', expected a signed"),
        (b"ME\t" + AT + b"\t--1", "time '--1', expected a signed 64-bit number"),
        (b"HOST-HAND-START\t", "flag '', expected 0 to 4294967295"),
        (b"HOST\t" + BY + b"\t10.1.0.1\t100001", "vhosts 100001, expected at most 100000"),
        (b"HOST\t" + BY + b"\t10.1.0.1\t1\t\t", "state '', expected U or D and a time"),
        (b"HOST\t" + BY + b"\t10.1.0.1\t1\t\tX0", "state 'X0', expected U or D and a time"),
        (b"HOST\t" + BY + b"\t10.1.0.1\t1\t\tU", "state time '', expected a signed 64-bit"),
        (b"USER-WEAK\t" + BY + b"\t0\t10.1.0.1", "user hash 0, expected 1 to 4294967295"),
        (b"USER-MOVE\t" + BY + b"\t0\t10.1.0.1", "user hash 0, expected 1 to 4294967295"),
        (b"USER-KILLED\t0", "user hash 0, expected 1 to 4294967295"),
        (b"SYNC\t" + AT + b"\tx", "sequence 'x', expected 0 to 4294967295"),
        (b"SYNC\t" + BY + b"\t9\t17\tx", "hosts hash 'x', expected 0 to 4294967295"),
    ],
)
def test_refuses_what_breaks_the_grammar(line: bytes, reason: str) -> None:
    with pytest.raises(ValueRefused, match=reason) as refusal:
        grammar.parse_line(line, False)

    assert not isinstance(refusal.value, grammar.VersionRefused)


@pytest.mark.parametrize("fields", [b"imap\t1\t9", b"director\tx\t9", b"director\t1\t-9"])
def test_a_version_of_something_else_is_nobodys_mistake(fields: bytes) -> None:
    with pytest.raises(grammar.VersionRefused):
        grammar.parse_line(b"VERSION\t" + fields, False)
