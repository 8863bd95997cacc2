"""The native codec: every message under any cut, the documented bytes, and bad input."""

import re
import struct
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ring import limits
from ring.address import DirectorAddress
from ring.codec import native
from ring.errors import LimitExceeded, RemoteProtocolError
from ring.messages import (
    UNKNOWN_TIMESTAMP,
    Compare,
    Connect,
    Digests,
    Director,
    Done,
    Hello,
    Host,
    HostRemove,
    HostsStart,
    Message,
    Options,
    Ping,
    Quit,
    ShardsWanted,
    Sync,
    UserKick,
    UserKilled,
    UserMove,
    Users,
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
    hellos,
    streams,
    users,
)

DOCUMENT = (Path(native.__file__).parents[1] / "PROTOCOL.md").read_text()

SAMPLES: list[Message] = [
    Version(major=2, minor=100),
    Hello(director_hash="murmur3"),
    HostsStart(True),
    Host(stamp=None, ip=V6, weight=100, tag=b"\0\xff", is_down=True, changed_at=-1, hostname=b"h"),
    Host(stamp=None, ip=V6, weight=100, weight_set_at=1_700_000_000_123),
    HostRemove(stamp=STAMP, ip=V4, removed_at=1_700_000_000_123),
    UserKick(stamp=STAMP, user=b"\0\t\n"),
    Sync(origin=PLACE, sequence=1, minor=0, timestamp=UNKNOWN_TIMESTAMP, hosts_hash=0),
    Ping(wall=None, unsent_bytes=5),
    Options((b"a", b"b")),
    Digests(tag=b"", first=0, digests=(0, (1 << 64) - 1)),
    ShardsWanted(tag=b"gold", shards=(0, 255)),
    Compare(),
    Done(),
    Quit("por qu\u00e9"),
    users([(5, V4, 17), (6, V6, 18)]),
    users([(5, V4, 17), (6, V6, 18)], is_handshake=True, weak=frozenset([1])),
]


def frame(*values: object) -> bytes:
    return framed(msgpack.packb(values))


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def values_of(data: bytes) -> list[object]:
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    return list(msgpack.unpackb(data[4:]))


def decoded(data: bytes) -> Message:
    (message,) = native.Decoder().decode(data)
    return message


def refusal(data: bytes) -> RemoteProtocolError:
    messages, error = decode(native.Decoder(), data)
    assert error is not None, messages
    return error


# --- what PROTOCOL.md says ----------------------------------------------------------------------


def test_the_documented_example_is_what_we_send() -> None:
    example = users(
        [(1, V4, 1700000000), (0x01020304, V4 + 1, 1700000300), (0xFFFFFFFE, V4, 1700000001)],
        is_handshake=True,
        weak=frozenset([2]),
    )
    (block,) = re.findall(r"```\n(.*?)```", DOCUMENT, re.DOTALL)
    documented = bytes.fromhex("".join(line.partition("  ")[0] for line in block.splitlines()))

    assert documented == native.encode(example)


def test_every_message_stands_in_the_documented_table() -> None:
    documented = re.findall(r"^\| (\d+) \| (\w+) \| (.*?)\|$", DOCUMENT, re.MULTILINE)
    expected = [
        (str(native.GOSSIP_NUMBER), "Users", "gossip, section 5"),
        (str(native.EXPORT_NUMBER), "Users", "export, section 5"),
    ]
    for shape in native.SHAPES:
        fields = [f"{name}: {kind.name}" for name, kind in shape.fields]
        if shape.required < len(fields):
            fields[shape.required] = "[" + fields[shape.required]
            fields[-1] += "]"
        expected.append((str(shape.number), shape.make.__name__, ", ".join(fields)))

    assert {(n, name, fields.strip()) for n, name, fields in documented} == set(expected)
    assert len(documented) == len(expected)


def test_every_message_has_one_number() -> None:
    numbers = [shape.number for shape in native.SHAPES]
    kinds = {shape.make for shape in native.SHAPES}

    assert sorted([*numbers, native.GOSSIP_NUMBER, native.EXPORT_NUMBER]) == list(range(1, 30))
    assert kinds | {Users} == set(Message.__args__)


# --- any message --------------------------------------------------------------------------------


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_unknown_fields_at_the_end_are_ignored(message: Message) -> None:
    values = values_of(native.encode(message))
    if isinstance(message, Users) and not message.is_handshake:
        values.append(b"")  # the place of the weak rows
    longer = frame(*values, {"a": [1], 2: None}, msgpack.ExtType(5, b"x"))

    assert flat([decoded(longer)]) == flat([message])


def test_a_place_and_a_stamp_may_grow() -> None:
    ip = PLACE.ip.packed

    assert decoded(frame(26, [ip, 9090, "name"])) == Connect(PLACE)
    assert decoded(frame(18, [ip, 9090, 7, 1], b"u")) == UserKick(stamp=STAMP, user=b"u")


def test_optional_fields_may_be_missing() -> None:
    assert decoded(frame(4, [V4.packed, 9])) == Director(DirectorAddress(ip=V4, port=9))
    assert decoded(frame(4, [V4.packed, 9], 7)) == Director(DirectorAddress(ip=V4, port=9), 7)
    assert decoded(frame(8, None, V4.packed, 5)) == Host(stamp=None, ip=V4, weight=5)
    assert decoded(frame(8, None, V4.packed, 5, b"t")) == Host(
        stamp=None, ip=V4, weight=5, tag=b"t"
    )


@pytest.mark.slow
@given(streams, hellos, cuts)
def test_any_stream_survives_any_cut(
    messages: list[Message], hello: Message, cuts: list[int]
) -> None:
    messages = [hello, *messages]
    data = b"".join(map(native.encode, messages))
    received, error = decode(native.Decoder(), data, cuts)

    assert error is None
    assert flat(received) == flat(messages)


def test_every_frame_starts_with_a_zero_byte() -> None:
    # The receiver knows frames from lines by it (DESIGN.md decision 3).
    assert {native.encode(message)[0] for message in SAMPLES} == {0}
    assert limits.FRAME_BYTES_MAX < 1 << 24


# --- users --------------------------------------------------------------------------------------


def test_users_take_seven_bytes() -> None:
    rows = [(h, V4 + h % 200, 1700000000 + h % 900) for h in range(1, limits.FRAME_USERS_MAX + 1)]
    data = native.encode(users(rows))

    assert len(data) / len(rows) < 7.5
    assert len(native.encode(users(rows[:1]))) == 28
    assert flat([decoded(data)]) == [(*row, False, False) for row in rows]


def test_the_largest_frame_is_within_the_limit() -> None:
    count = limits.FRAME_USERS_MAX
    largest = Users(
        hashes=range(0xFFFFFFFF, 0xFFFFFFFF - count, -1),
        timestamps=[0, UNKNOWN_TIMESTAMP - 1] * (count // 2),
        hosts=[V6 + n for n in range(limits.HOSTS_MAX)],
        host_indexes=range(count),
        weak=frozenset(range(count)),
        is_handshake=True,
    )
    data = native.encode(largest)

    assert len(data) < limits.FRAME_BYTES_MAX
    assert flat([decoded(data)]) == flat([largest])


def test_a_column_is_left_out_if_all_rows_are_the_same() -> None:
    values = values_of(native.encode(users([(5, V4, 17), (6, V4, 17)])))

    assert values == [14, struct.pack("<II", 5, 6), 17, b"", [V4.packed], b""]


@pytest.mark.parametrize(("span", "width"), [(1, 1), (255, 1), (256, 2), (65535, 2), (65536, 4)])
def test_a_column_is_as_wide_as_needed(span: int, width: int) -> None:
    gossip = users([(5, V4, 1000), (6, V4, 1000 + span)])
    times = values_of(native.encode(gossip))[3]

    assert isinstance(times, bytes)
    assert len(times) == 2 * width
    assert flat([decoded(native.encode(gossip))]) == flat([gossip])


def test_no_users_are_no_frame() -> None:
    assert native.encode(users([])) == b""


def test_gossip_has_no_weak_users() -> None:
    marked = users([(5, V4, 17)], weak=frozenset([0]))

    assert flat([decoded(native.encode(marked))]) == [(5, V4, 17, False, False)]
    assert flat([decoded(frame(14, b"\5\0\0\0", 17, b"", [V4.packed], b"", b"\0\0"))]) == [
        (5, V4, 17, False, False)
    ]


@pytest.mark.parametrize(
    "bad",
    [
        users([(0, V4, 17)]),
        users([(5, V4, UNKNOWN_TIMESTAMP)]),
        users([(5, V4, 17)] * (limits.FRAME_USERS_MAX + 1)),
        Users(hashes=[5, 6], timestamps=[1], hosts=[V4], host_indexes=[0, 0]),
        Users(hashes=[5, 6], timestamps=[1, 2], hosts=[V4], host_indexes=[0]),
    ],
)
def test_bad_users_are_never_sent(bad: Users) -> None:
    with pytest.raises(AssertionError):
        native.encode(bad)


HASHES = b"\5\0\0\0\6\0\0\0"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ([HASHES, 17, b"", [V4.packed]], "4 fields, expected at least 5"),
        (["x", 17, b"", [V4.packed], b""], "hashes 'x', expected bytes"),
        ([b"", 17, b"", [V4.packed], b""], "hashes of 0 bytes, expected 4 for each of 1 to 4096"),
        ([b"12345", 17, b"", [V4.packed], b""], "hashes of 5 bytes, expected 4"),
        ([bytes(4) + b"abcd", 17, b"", [V4.packed], b""], "hash 0 in row 0, expected 1 to"),
        ([b"1234" * 4097, 17, b"", [V4.packed], b""], "hashes of 16388 bytes, expected 4"),
        ([HASHES, -1, b"", [V4.packed], b""], "time -1, expected 0 to 4294967294"),
        ([HASHES, True, b"", [V4.packed], b""], "time True, expected 0 to 4294967294"),
        ([HASHES, 0xFFFFFFFF, b"", [V4.packed], b""], "time 4294967295, expected 0 to 4294967294"),
        ([HASHES, 0xFFFFFFFE, b"\0\1", [V4.packed], b""], "time 4294967295, expected under"),
        ([HASHES, 17, b"abc", [V4.packed], b""], "times of 3 bytes, expected 0, 1, 2 or 4"),
        ([HASHES, 17, None, [V4.packed], b""], "times None, expected bytes"),
        ([HASHES, 17, b"", [], b""], "hosts array of 0, expected 1 to 4096 addresses"),
        ([HASHES, 17, b"", [b"1234"] * 4097, b""], "hosts array of 4097, expected 1 to 4096"),
        ([HASHES, 17, b"", {"a": 1}, b""], "hosts map of 1, expected 1 to 4096 addresses"),
        ([HASHES, 17, b"", [b"123"], b""], "hosts array of 1, expected an address of 4 or 16"),
        ([HASHES, 17, b"", [V4.packed], b"\0\1"], "host index 1, expected under 1"),
        ([HASHES, 17, b"", [V4.packed], b"\0" * 16], "host indexes of 16 bytes, expected 0"),
        ([HASHES, 17, b"", [V4.packed], b"", 0], "weak rows 0, expected bytes"),
        ([HASHES, 17, b"", [V4.packed], b"", b"\0"], "weak rows of 1 bytes, expected 2 each"),
        ([HASHES, 17, b"", [V4.packed], b"", b"\2\0"], "weak row 2, expected under 2"),
    ],
)  # fmt: skip
def test_refuses_bad_users(fields: list[object], reason: str) -> None:
    error = refusal(frame(native.EXPORT_NUMBER, *fields))

    assert str(error).startswith(f"Users at byte 0: {reason}")
    assert (error.token, error.is_stamped) == ("Users", True)
    assert error.quit_reason == "Invalid input: Users"


def test_no_weak_rows_may_be_said_as_empty() -> None:
    export = frame(native.EXPORT_NUMBER, HASHES, 17, b"", [V4.packed], b"", b"")

    assert flat([decoded(export)]) == flat([users([(5, V4, 17), (6, V4, 17)], is_handshake=True)])


# --- bad frames ---------------------------------------------------------------------------------


def test_a_frame_waits_for_its_end() -> None:
    decoder = native.Decoder()
    data = native.encode(Done()) + native.encode(UserKilled(5))

    assert list(decoder.decode(data[:3])) == []
    assert list(decoder.decode(data[3:9])) == [Done()]
    assert list(decoder.decode(data[9:])) == [UserKilled(5)]


def test_gossip_that_is_known_is_passed_over_unread() -> None:
    seen: list[bytes] = []

    def is_known(frame: bytes) -> bool:
        seen.append(frame)
        return len(seen) > 1

    gossip = native.encode(users([(5, V4, 17)]))
    decoder = native.Decoder(is_known)
    data = gossip + native.encode(Done()) + gossip

    assert [(5, V4, 17, False, False), Done()] == flat(decoder.decode(data))
    assert [gossip, gossip] == seen


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((27, b"", 0, bytes(7)), "expected 8 bytes for each of at most 256 shards"),
        ((27, b"", 0, bytes(8 * 257)), "expected 8 bytes for each of at most 256 shards"),
        ((28, b"", bytes(257)), "expected a byte for each of at most 256 shards"),
    ],
)
def test_refuses_bad_digests(values: tuple[object, ...], reason: str) -> None:
    assert reason in str(refusal(frame(*values)))


def test_a_frame_of_the_greatest_length_is_waited_for() -> None:
    length = limits.FRAME_BYTES_MAX - native.HEADER_BYTES

    assert decode(native.Decoder(), length.to_bytes(4, "big")) == ([], None)


def test_a_longer_frame_is_refused_at_once() -> None:
    length = limits.FRAME_BYTES_MAX - native.HEADER_BYTES + 1
    messages, error = decode(
        native.Decoder(), native.encode(Done()) + length.to_bytes(4, "big"), cuts=[3]
    )

    assert messages == [Done()]
    assert isinstance(error, LimitExceeded)
    assert error.quit_reason == "Too long frame"
    assert str(error).startswith("frame of 262145 bytes at byte 6, expected at most 262144")


@pytest.mark.parametrize(
    ("data", "token", "reason"),
    [
        (framed(b""), "frame", "Unpack failed: incomplete input, expected one msgpack array"),
        (framed(b"\x91"), "frame", "Unpack failed: incomplete input, expected one msgpack array"),
        (framed(b"\xc1"), "frame", ", expected one msgpack array"),
        (framed(b"\x90\x90"), "frame", "unpack(b) received extra data., expected one msgpack"),
        (framed(b"\x92\x01\xa1\xff"), "frame", "'utf-8' codec can't decode byte 0xff"),
        (framed(b"\x91" * 5000), "frame", ", expected one msgpack array"),
        (framed(b"\x05"), "frame", "5, expected a msgpack array"),
        (framed(b"\x80"), "frame", "map of 0, expected a msgpack array"),
        (frame(), "frame", "message number None, expected a number"),
        (frame("x"), "frame", "message number 'x', expected a number"),
        (frame(True), "frame", "message number True, expected a number"),
        (frame(0), "frame 0", "unknown message number"),
        (frame(9999), "frame 9999", "unknown message number"),
        (frame(1, 1), "Version", "1 fields, expected at least 2"),
        (frame(1, 1, -1), "Version", "minor -1, expected a number from 0 to 4294967295"),
        (frame(1, True, 1), "Version", "major True, expected a number from 0 to 4294967295"),
        (frame(2, [b"1234", 1], "x"), "Me", "wall 'x', expected a number from -92233"),
        (frame(3, b"md5"), "Hello", "director_hash b'md5', expected a string of at most 1000"),
        (frame(6, 1), "HostsStart", "is_complete 1, expected true or false"),
        (frame(8, 5, b"1234", 1), "Host", "stamp 5, expected an array of address, port and seq"),
        (frame(8, None, b"1234", 100001), "Host", "weight 100001, expected a number"),
        (frame(9, [b"1234", 5], b"1234"), "HostRemove", "stamp array of 2, expected an array of"),
        (frame(9, [b"1234", 5, -1], b"1234"), "HostRemove", "stamp array of 3, expected a seq"),
        (frame(11, b"x"), "Options", "names b'x', expected an array of bytes"),
        (frame(11, ["x"]), "Options", "names array of 1, expected bytes"),
        (frame(13, "x" * 1001), "Quit", "reason 'xxx"),
        (frame(17, [b"1234", 5, 1], 0, b"1234"), "UserMove", "user_hash 0, expected a number"),
        (frame(18, [b"1234", 5, 1], "x"), "UserKick", "user 'x', expected bytes"),
        (frame(18, [b"1234", 5, 1], b"x" * 1001), "UserKick", "user b'xxx"),
        (frame(21, 5, None, 7), "UserKilled", "path 7, expected an array of at most 1024"),
        (frame(21, 5, None, [7]), "UserKilled", "path array of 1, expected an array of address"),
        (frame(24, None, -1), "Ping", "unsent_bytes -1, expected a number from 0 to"),
        (frame(26, 5), "Connect", "address 5, expected an array of address and port"),
        (frame(26, [b"1234"]), "Connect", "address array of 1, expected an array of"),
        (frame(26, [b"1234", 0]), "Connect", "address array of 2, expected a port from 1 to 65535"),
        (frame(26, [b"123", 1]), "Connect", "address array of 2, expected an address of 4 or 16"),
    ],
)  # fmt: skip
def test_refuses_what_breaks_the_rules(data: bytes, token: str, reason: str) -> None:
    messages, error = decode(native.Decoder(), native.encode(Done()) + data)

    assert messages == [Done()]
    assert error is not None
    assert f"{token} at byte 6: " in str(error)
    assert reason in str(error)
    assert (error.token, error.is_stamped) == (token, True)


def test_a_text_the_peer_would_refuse_is_not_sent() -> None:
    longest = UserKick(stamp=STAMP, user=b"u" * limits.FRAME_TEXT_BYTES_MAX)
    too_long = UserKick(stamp=STAMP, user=b"u" * (limits.FRAME_TEXT_BYTES_MAX + 1))

    assert decoded(native.encode(longest)) == longest
    assert native.encode(too_long) == b""


def test_a_reason_is_cut_and_never_fails_to_be_said() -> None:
    assert decoded(native.encode(Quit("x" * 2000))) == Quit("x" * limits.FRAME_TEXT_BYTES_MAX)
    assert decoded(native.encode(Quit("\udcff"))) == Quit("\\udcff")


@pytest.mark.slow
@given(streams, damages, cuts)
def test_a_damaged_stream_raises_nothing_but_remote_errors_however_it_is_cut(
    messages: list[Message], damages: list[tuple[int, bytes, int]], cuts: list[int]
) -> None:
    data = damaged(b"".join(map(native.encode, messages)), damages)

    assert outcome(data, cuts) == outcome(data, [])


@pytest.mark.slow
@given(
    st.integers(0, 28),
    st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.binary(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=4,
        ),
        max_size=7,
    ),
)
def test_fields_of_any_type_raise_nothing_but_remote_errors(
    number: int, fields: list[object]
) -> None:
    decode(native.Decoder(), frame(number, *fields))


@given(st.binary())
def test_garbage_raises_nothing_but_remote_errors(body: bytes) -> None:
    decode(native.Decoder(), framed(body))
    decode(native.Decoder(), body)


def test_a_move_is_a_move_again() -> None:
    move = UserMove(stamp=STAMP, user_hash=5, ip=V6)

    assert decoded(native.encode(move)) == move


def test_report_of_a_kill_keeps_its_path() -> None:
    path = (DirectorAddress(ip=V4, port=9), DirectorAddress(ip=V6, port=10))
    report = UserKilled(5, move=STAMP, path=path, ip=V4, after=STAMP)

    assert decoded(native.encode(report)) == report
    assert decoded(frame(21, 5)) == UserKilled(5)


def outcome(data: bytes, cuts: list[int]) -> tuple[list[object], str | None]:
    messages, error = decode(native.Decoder(), data, cuts)
    return list(flat(messages)), error and str(error)
