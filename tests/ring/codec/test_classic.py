"""The classic codec: spelling for each version, streams under any cut, and bad input."""

import ipaddress
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ring import limits
from ring.codec import classic
from ring.errors import LimitExceeded, RemoteProtocolError
from ring.messages import (
    UNKNOWN_TIMESTAMP,
    Director,
    DirectorRemove,
    Done,
    Hello,
    Host,
    HostsEnd,
    HostsStart,
    Me,
    Message,
    Options,
    Ping,
    Quit,
    Sync,
    UserKick,
    UserKickField,
    UserKickHash,
    UserKilled,
    Users,
    UserWeak,
    Version,
)
from tests.ring.codec.messages import (
    PLACE,
    STAMP,
    V4,
    V6,
    cuts,
    damaged,
    damages,
    decode,
    flat,
    streams,
    users,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/codec_lines.json").read_text())

# What the grammar accepts and the link refuses, because it is said at the wrong time.
REFUSED_BY_LINK = {"DONE", "ME", "VERSION", "OPTIONS", "HOST-HAND-START", "U", "QUIT"}

# Handshakes that break the grammar; the others are the link's and the node's to judge.
BAD_GRAMMAR = {
    "wrong protocol",
    "wrong major",
    "short VERSION",
    "ME bad time",
    "HOST-HAND-START without argument",
    "handshake HOST outside block",
    "U with 2 fields",
    "minor 2 peer, later bad line",
    "minor 99, extra VERSION field",
}


def encode_all(messages: list[Message], minor: int = 9, ring_minor: int = 9) -> bytes:
    return b"".join(classic.encode(message, minor, ring_minor) for message in messages)


def refusal(data: bytes) -> RemoteProtocolError:
    messages, error = decode(classic.Decoder(), data)
    assert error is not None, messages
    return error


def decoded(data: bytes) -> Message:
    (message,) = classic.Decoder().decode(data)
    return message


# --- what real directors said -------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS["malformed_input"], ids=lambda v: v["line"][:30])
def test_refuses_the_lines_the_original_refuses(vector: dict[str, str | None]) -> None:
    line, quit_line = str(vector["line"]), vector["quit"]
    line = line.replace("<1023 bytes, unknown word>", "x" * 1023).replace(
        "<1024 bytes>", "x" * 1024
    )
    line = line.replace("<time>", "1700000000")
    messages, error = decode(classic.Decoder(), line.encode() + b"\n")
    command = line.partition("\t")[0]

    if vector["outcome"] == "accepted" or command in REFUSED_BY_LINK:
        assert error is None
        assert classic.token(messages[0]) == command.rstrip("\r")
        return
    assert error is not None
    assert error.is_stamped
    expected = str(quit_line).replace("<the whole word>", "x" * 1023)
    assert f"QUIT\t{error.quit_reason}" == expected


@pytest.mark.parametrize("vector", VECTORS["handshake_input"], ids=lambda v: v["name"])
def test_reads_the_handshakes_the_original_was_sent(vector: dict[str, str]) -> None:
    data = "".join(f"{line}\n" for line in vector["lines"])
    for word in ("NOW+1000", "NOW-2000", "NOW-50", "NOW"):
        data = data.replace(word, "1700000000")
    messages, error = decode(classic.Decoder(), data.encode())

    assert (error is not None) == (vector["name"] in BAD_GRAMMAR)
    if error is not None:
        assert error.is_stamped == (vector["name"] not in ("wrong protocol", "wrong major"))
        if vector["quit"]:
            assert f"QUIT\t{error.quit_reason}" == vector["quit"]
    else:
        assert len(flat(messages)) == len(vector["lines"])


def test_a_wrong_major_version_is_told_before_it_is_refused() -> None:
    # The QUIT that follows needs the minor version.
    messages, error = decode(classic.Decoder(), b"VERSION\tdirector\t2\t9\nDONE\n")

    assert messages == [Version(major=2, minor=9)]
    assert error is not None
    assert (error.token, error.is_stamped) == ("VERSION", False)
    assert str(error) == "VERSION: major version 2, expected 1"


# --- spelling -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "minor", "line"),
    [
        (Version(major=1, minor=100), 0, b"VERSION\tdirector\t1\t100\n"),
        (Me(address=PLACE, wall=17), 0, b"ME\t10.0.0.1\t9090\t17\n"),
        (Me(address=PLACE, wall=None), 0, b"ME\t10.0.0.1\t9090\n"),
        (HostsStart(True), 9, b"HOST-HAND-START\t1\n"),
        (HostsEnd(False), 9, b"HOST-HAND-END\t0\n"),
        (users([(5, V4, 17)]), 9, b"USER\t5\t10.1.0.1\t17\n"),
        (users([(5, V6, 17)]), 8, b"USER\t5\t2001:db8::1\n"),
        (users([(5, V4, UNKNOWN_TIMESTAMP)]), 9, b"USER\t5\t10.1.0.1\n"),
        (users([(5, V4, 17)], is_handshake=True), 9, b"U\t5\t10.1.0.1\t17\n"),
        (users([(5, V4, 17)], is_handshake=True), 8, b"USER\t5\t10.1.0.1\t17\n"),
        (
            users([(5, V4, 17), (6, V4, 18)], is_handshake=True, weak=frozenset([1])),
            9,
            b"U\t5\t10.1.0.1\t17\nU\t6\t10.1.0.1\t18\tw\n",
        ),
        (
            Sync(origin=PLACE, sequence=3, minor=9, timestamp=17, hosts_hash=4),
            9,
            b"SYNC\t10.0.0.1\t9090\t3\t9\t17\t4\n",
        ),
        (
            Sync(origin=PLACE, sequence=3, minor=9, timestamp=17, hosts_hash=4),
            0,
            b"SYNC\t10.0.0.1\t9090\t3\n",
        ),
        (
            Sync(origin=PLACE, sequence=3, minor=0, timestamp=UNKNOWN_TIMESTAMP, hosts_hash=0),
            9,
            b"SYNC\t10.0.0.1\t9090\t3\n",
        ),
        (Ping(wall=17, unsent_bytes=0), 9, b"PING\t17\t0\n"),
        (Ping(wall=17, unsent_bytes=None), 9, b"PING\n"),
        (Quit("bad\tline\n"), 9, b"QUIT\tbad line \n"),
        (UserKick(stamp=STAMP, user=b"a\tb"), 9, b"USER-KICK\t10.0.0.1\t9090\t7\ta\x01tb\n"),
        (Hello(director_hash="md5"), 9, b""),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, (bytes, int)) else "",
)
def test_spells_messages_as_the_original_does(message: Message, minor: int, line: bytes) -> None:
    assert classic.encode(message, minor, 9) == line


HOST = Host(stamp=None, ip=V4, weight=100)
TAGGED_HOST = Host(stamp=None, ip=V4, weight=100, tag=b"t")
DOWN_HOST = Host(
    stamp=STAMP, ip=V4, weight=50, tag=b"t", is_down=True, changed_at=1700000000, hostname=b"h"
)
STAMPED_HOST = Host(stamp=STAMP, ip=V4, weight=50)


@pytest.mark.parametrize(
    ("host", "minor", "ring_minor", "line"),
    [
        (HOST, 9, 9, b"HOST\t10.1.0.1\t100\t\tU0\t\n"),
        (HOST, 6, 9, b"HOST\t10.1.0.1\t100\t\tU0\t\n"),
        (HOST, 5, 9, b"HOST\t10.1.0.1\t100\n"),
        (TAGGED_HOST, 5, 9, b"HOST\t10.1.0.1\t100\tt\n"),
        (DOWN_HOST, 9, 9, b"HOST\t10.0.0.1\t9090\t7\t10.1.0.1\t50\tt\tD1700000000\th\n"),
        (DOWN_HOST, 9, 7, b"HOST\t10.0.0.1\t9090\t7\t10.1.0.1\t50\tt\tD1700000000\th\n"),
        (DOWN_HOST, 9, 6, b""),
        (STAMPED_HOST, 9, 6, b"HOST\t10.0.0.1\t9090\t7\t10.1.0.1\t50\t\tU0\t\n"),
        (STAMPED_HOST, 9, 5, b"HOST\t10.0.0.1\t9090\t7\t10.1.0.1\t50\n"),
    ],
)
def test_a_host_has_the_fields_its_readers_know(
    host: Host, minor: int, ring_minor: int, line: bytes
) -> None:
    assert classic.encode(host, minor, ring_minor) == line


@pytest.mark.parametrize(
    ("message", "minor"),
    [
        (DirectorRemove(PLACE), 2),
        (Quit("why"), 3),
        (UserKick(stamp=STAMP, user=b"u"), 4),
        (UserKickHash(stamp=STAMP, user_hash=1, except_ip=V4), 4),
        (Options((b"consistent-hashing",)), 5),
        (UserKickField(stamp=STAMP, field=b"f", value=b"v"), 8),
    ],
    ids=lambda value: classic.token(value) if not isinstance(value, int) else "",
)
def test_a_peer_is_not_told_what_it_is_too_old_for(message: Message, minor: int) -> None:
    assert classic.encode(message, minor - 1, 9) == b""
    assert classic.encode(message, minor, 9) != b""


def test_weak_users_are_told_only_if_the_whole_ring_understands() -> None:
    weak = UserWeak(stamp=STAMP, user_hash=1, ip=V4)

    assert classic.encode(weak, 9, 0) == b""
    assert classic.encode(weak, 9, 1) == b"USER-WEAK\t10.0.0.1\t9090\t7\t1\t10.1.0.1\n"


def test_a_line_too_long_for_the_peer_is_not_sent() -> None:
    length = limits.CLASSIC_LINE_BYTES_MAX - len(b"USER-KICK\t10.0.0.1\t9090\t7\t")
    fits = classic.encode(UserKick(stamp=STAMP, user=b"u" * length), 9, 9)

    assert len(fits) == limits.CLASSIC_LINE_BYTES_MAX + 1
    assert classic.encode(UserKick(stamp=STAMP, user=b"u" * (length + 1)), 9, 9) == b""


def test_a_quit_is_cut_to_the_longest_line() -> None:
    line = classic.encode(Quit("x" * 2000), 9, 9)

    assert line == b"QUIT\t" + b"x" * (limits.CLASSIC_LINE_BYTES_MAX - 5) + b"\n"


def test_a_user_hash_of_zero_is_never_sent() -> None:
    # It would abort the peer (ring-protocol.md section 16, hazard 2).
    with pytest.raises(AssertionError):
        classic.encode(users([(0, V4, 17)]), 9, 9)
    with pytest.raises(AssertionError):
        classic.encode(UserWeak(stamp=STAMP, user_hash=0, ip=V4), 9, 9)


# --- lines and their limits ---------------------------------------------------------------------


def test_a_line_waits_for_its_end() -> None:
    decoder = classic.Decoder()

    assert list(decoder.decode(b"DO")) == []
    assert list(decoder.decode(b"NE\r")) == []
    assert list(decoder.decode(b"\nDON")) == [Done()]


def test_the_longest_line_is_read() -> None:
    user = b"u" * (limits.CLASSIC_LINE_BYTES_MAX - len(b"USER-KICK\t10.0.0.1\t9090\t7\t"))

    assert decoded(b"USER-KICK\t10.0.0.1\t9090\t7\t%s\n" % user) == UserKick(stamp=STAMP, user=user)


@pytest.mark.parametrize("end", [b"", b"\n", b"\nDONE\n"])
def test_a_longer_line_is_refused_after_what_came_before(end: bytes) -> None:
    data = b"DONE\n" + b"x" * (limits.CLASSIC_LINE_BYTES_MAX + 1) + end
    messages, error = decode(classic.Decoder(), data)

    assert messages == [Done()]
    assert isinstance(error, LimitExceeded)
    assert (error.token, error.is_stamped) == ("", True)
    assert error.quit_reason == "Too long input line"
    assert str(error).startswith("line of 1024 or more bytes, expected at most 1023")


def test_a_carriage_return_counts_to_the_line() -> None:
    assert decoded(b"PING" + b"\t" * 1018 + b"\r\n") == Ping(wall=None, unsent_bytes=None)
    assert isinstance(refusal(b"PING" + b"\t" * 1019 + b"\r\n"), LimitExceeded)


def test_a_zero_byte_at_the_start_of_a_line_ends_the_text() -> None:
    decoder = classic.Decoder()

    assert list(decoder.decode(b"DONE\nDONE\n\0\0\n\0frame")) == [Done(), Done()]
    assert decoder.native_rest() == b"\0\0\n\0frame"


def test_a_zero_byte_may_start_a_later_read() -> None:
    decoder = classic.Decoder()

    assert list(decoder.decode(b"DONE\n")) == [Done()]
    assert decoder.native_rest() == b""
    assert list(decoder.decode(b"\0")) == []
    assert decoder.native_rest() == b"\0"


def test_a_zero_byte_inside_a_line_hides_the_rest_of_it() -> None:
    assert decoded(b"DONE\0\tx\n") == Done()


def test_an_error_names_the_line_and_what_was_expected() -> None:
    error = refusal(b"USER\tx\t10.1.0.1\n")

    assert str(error) == (
        "USER: user hash 'x', expected 0 to 4294967295; line 'USER\\x09x\\x0910.1.0.1'"
    )


# --- user lines ---------------------------------------------------------------------------------


def test_consecutive_users_become_columns() -> None:
    data = b"USER\t5\t10.1.0.1\t17\nUSER\t6\t2001:db8::1\t18\nUSER\t7\t10.1.0.1\t17\nDONE\n"

    assert list(classic.Decoder().decode(data)) == [
        users([(5, V4, 17), (6, V6, 18), (7, V4, 17)]),
        Done(),
    ]


def test_gossip_and_export_do_not_mix() -> None:
    data = b"USER\t5\t10.1.0.1\t17\nU\t6\t10.1.0.1\t18\nU\t7\t10.1.0.1\t17\n"

    assert list(classic.Decoder().decode(data)) == [
        users([(5, V4, 17)]),
        users([(6, V4, 18), (7, V4, 17)], is_handshake=True),
    ]


def test_users_without_a_time_stand_apart() -> None:
    data = b"USER\t5\t10.1.0.1\t17\nUSER\t6\t10.1.0.1\nUSER\t7\t10.1.0.1\t18\tw\n"

    assert list(classic.Decoder().decode(data)) == [
        users([(5, V4, 17)]),
        users([(6, V4, UNKNOWN_TIMESTAMP)]),
        users([(7, V4, 18)], weak=frozenset([0])),
    ]


def test_a_run_of_users_is_cut_at_the_limit() -> None:
    data = b"".join(b"USER\t%d\t10.1.0.1\t17\n" % h for h in range(1, limits.FRAME_USERS_MAX + 3))
    runs = [message for message in classic.Decoder().decode(data) if isinstance(message, Users)]

    assert [len(run) for run in runs] == [limits.FRAME_USERS_MAX, 2]


@pytest.mark.parametrize(
    ("line", "row"),
    [
        (b"USER\t005\t10.1.0.1\t017\n", (5, V4, 17)),
        (b"USER\t5\t167837697\t17\n", (5, V4, 17)),
        (b"USER\t5\t[2001:db8::1]\t17\n", (5, V6, 17)),
        (b"USER\t\x015\t10.1.0.1\t17\r\n", (5, V4, 17)),
        (b"USER\t5\t10.1.0.1\t17\textra\n", (5, V4, 17)),
        (b"USER\t5\t10.1.0.1\t4294967295\n", (5, V4, UNKNOWN_TIMESTAMP - 1)),
    ],
)
def test_unusual_spellings_of_a_user_are_read(line: bytes, row: tuple[int, object, int]) -> None:
    assert flat([decoded(line)]) == [(*row, False, False)]


@pytest.mark.parametrize(
    "fields",
    [
        b"0\t10.1.0.1\t17",
        b"4294967296\t10.1.0.1\t17",
        b"+5\t10.1.0.1\t17",
        b" 5\t10.1.0.1\t17",
        b"5\tlocalhost\t17",
        b"5\t10.1.0.\xb2\t17",
        b"5\t10.1.0.1\t-1",
        b"5\t10.1.0.1\t4294967296",
        b"5\t10.1.0.1\t",
    ],
)
@pytest.mark.parametrize("command", [b"USER", b"U"])
def test_a_bad_user_costs_the_link_but_not_the_users_before(command: bytes, fields: bytes) -> None:
    good = b"%s\t5\t10.1.0.1\t17\n" % command
    data = good * 2 + b"%s\t%s\n" % (command, fields) + good
    messages, error = decode(classic.Decoder(), data)

    assert flat(messages) == [(5, V4, 17, False, command == b"U")] * 2
    assert error is not None
    assert (error.token, error.is_stamped) == (command.decode(), True)


def test_addresses_are_remembered_up_to_a_limit() -> None:
    decoder = classic.Decoder()
    ips = [ipaddress.IPv4Address(0x0A000000 + n) for n in range(limits.HOSTS_MAX + 2)]
    expected = [(5, ip, 17, False, False) for ip in ips]
    data = b"".join(b"USER\t5\t%s\t17\n" % str(ip).encode() for ip in ips)

    assert flat(decoder.decode(data)) == expected
    assert flat(decoder.decode(data)) == expected


# --- any stream ---------------------------------------------------------------------------------


@pytest.mark.slow
@given(streams, cuts)
def test_any_stream_survives_any_cut(messages: list[Message], cuts: list[int]) -> None:
    assert decode_flat(encode_all(messages), cuts) == flat(messages)


@given(streams, st.integers(0, 9), st.integers(0, 9))
def test_what_is_said_to_old_peers_is_well_formed(
    messages: list[Message], minor: int, ring_minor: int
) -> None:
    data = encode_all(messages, minor, ring_minor)

    assert decode(classic.Decoder(), data)[1] is None
    assert all(len(line) <= limits.CLASSIC_LINE_BYTES_MAX for line in data.split(b"\n"))


@pytest.mark.slow
@given(streams, damages, cuts)
def test_a_damaged_stream_raises_nothing_but_remote_errors_however_it_is_cut(
    messages: list[Message], damages: list[tuple[int, bytes, int]], cuts: list[int]
) -> None:
    data = damaged(encode_all(messages), damages)

    assert outcome(data, cuts) == outcome(data, [])


@given(
    st.lists(st.sampled_from([b"USER", b"HOST", b"\t", b"\n", b"1", b"::", b"\1", b"\r", b"\xff"]))
)
def test_garbage_raises_nothing_but_remote_errors(parts: list[bytes]) -> None:
    decode(classic.Decoder(), b"".join(parts))


def decode_flat(data: bytes, cuts: list[int]) -> list[object]:
    messages, error = decode(classic.Decoder(), data, cuts)
    assert error is None, error
    return list(flat(messages))


def outcome(data: bytes, cuts: list[int]) -> tuple[list[object], str | None]:
    """Return the messages and the QUIT; the text ends where native frames start."""
    end = 0 if data.startswith(b"\0") else data.find(b"\n\0") + 1 or len(data)
    messages, error = decode(classic.Decoder(), data[:end], cuts)
    return list(flat(messages)), error and error.quit_reason


def test_every_message_has_a_name_for_a_quit() -> None:
    assert classic.token(Director(PLACE)) == "DIRECTOR"
    assert classic.token(UserKilled(5)) == "USER-KILLED"
    assert classic.token(users([(5, V4, 1)])) == "USER"
    assert classic.token(users([(5, V4, 1)], is_handshake=True)) == "U"
    assert classic.token(Hello(director_hash="md5")) == "Hello"
