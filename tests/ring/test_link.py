"""One connection to a neighbour: what is legal when, and in which order things leave."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

import attrs
import pytest

from ring import limits
from ring.address import DirectorAddress
from ring.codec import native
from ring.directors import Director
from ring.errors import RemoteProtocolError
from ring.frames import Frames
from ring.hosts import MailHosts
from ring.link import Link, Phase, RingVersion
from ring.messages import (
    NATIVE_MINOR,
    Digests,
    Done,
    Hello,
    Host,
    HostsStart,
    Me,
    Message,
    Ping,
    UserKilled,
    Users,
    Version,
)

OWN = DirectorAddress(ip=IPv4Address("10.1.0.1"), port=9090)
PEER = DirectorAddress(ip=IPv4Address("10.1.0.2"), port=9090)
WALL = 1_700_000_000


def dialling_link(own_minor: int = 9, *, is_incoming: bool = False) -> Link:
    """Return a link to a right neighbour that knows one mail host, number 1."""
    by_number = one_host().by_number
    return Link(
        link_id=1,
        director=None if is_incoming else Director(address=PEER),
        source_ip=PEER.ip,
        own_minor=own_minor,
        director_hash="md5",
        ring=RingVersion(9),
        frames=Frames(by_number),
        by_number=by_number,
        output_bytes_max=10_000,
        now=0.0,
    )


def one_host() -> MailHosts:
    hosts = MailHosts()
    host = hosts.add(IPv4Address("10.2.0.1"), tag=b"", hostname=b"", weight=100)
    assert host.number == 1
    return hosts


def named_link(minor: int = 9, *, is_incoming: bool = True, own_minor: int = 9) -> Link:
    """Return a link whose peer has said its version and its name."""
    link = dialling_link(own_minor, is_incoming=is_incoming)
    if not is_incoming:
        link.become_connected(0.0)
    greeting = f"VERSION\tdirector\t1\t{minor}\nME\t{PEER.ip}\t{PEER.port}\n"
    for message in link.receive(greeting.encode()):
        if isinstance(message, Version):
            link.become_versioned(message, 0)
        else:
            link.become_named(Director(address=PEER))
    return link


def native_link(*, is_incoming: bool = True) -> Link:
    link = named_link(NATIVE_MINOR, is_incoming=is_incoming, own_minor=NATIVE_MINOR)
    assert [Hello(director_hash="md5")] == list(native.Decoder().decode(take(link)))
    return link


def take(link: Link) -> bytes:
    return link.take_output(1_000_000, WALL)


def users(*hashes: int, is_handshake: bool = False) -> Users:
    return Users(
        hashes=list(hashes),
        timestamps=[WALL] * len(hashes),
        hosts=(IPv4Address("10.2.0.1"),),
        host_indexes=[0] * len(hashes),
        is_handshake=is_handshake,
    )


def output(link: Link) -> list[bytes]:
    return link.take_output(100_000, WALL).splitlines()


def greet(link: Link) -> None:
    link.become_connected(0.0)
    link.send(Version(major=1, minor=9))
    link.send(Me(address=OWN, wall=None))


def test_a_user_gossiped_before_the_greeting_is_said_after_it() -> None:
    """A real director hangs up on whoever does not begin with VERSION, for a minute."""
    link = dialling_link()
    link.gossip_many(b"", {77: WALL << 16 | 1})
    greet(link)

    assert output(link) == [b"VERSION\tdirector\t1\t9", b"ME\t10.1.0.1\t9090"]


def test_a_user_gossiped_during_the_greeting_has_his_time() -> None:
    """Only the peer's VERSION tells whether it understands the time."""
    link = dialling_link()
    greet(link)
    link.gossip_many(b"", {77: WALL << 16 | 1})
    output(link)
    (version,) = link.receive(b"VERSION\tdirector\t1\t9\n")
    assert isinstance(version, Version)
    link.become_versioned(version, 0)

    assert output(link) == [b"USER\t77\t10.2.0.1\t1700000000"]


def test_what_cannot_be_sent_yet_is_no_output() -> None:
    """Else a writer that sends while there is output would never sleep."""
    link = dialling_link()
    link.gossip_many(b"", {77: WALL << 16 | 1})

    assert link.output_bytes == 0
    assert output(link) == []


def test_messages_held_back_for_a_mute_peer_count_as_output_too() -> None:
    link = dialling_link()
    greet(link)
    for user_hash in range(1, 151):
        link.send(UserKilled(user_hash))
    assert not link.is_overflowing
    for user_hash in range(151, 161):
        link.send(UserKilled(user_hash))

    assert link.is_overflowing


def test_messages_held_back_are_said_when_the_version_is_known() -> None:
    link = dialling_link()
    greet(link)
    link.send(UserKilled(5))
    output(link)
    (version,) = link.receive(b"VERSION\tdirector\t1\t9\n")
    assert isinstance(version, Version)
    link.become_versioned(version, 0)

    assert [b"USER-KILLED\t5"] == output(link)


# --- what is legal when (section 7.2) ---

VERSION = "VERSION\tdirector\t1\t9"
ME = "ME\t10.1.0.2\t9090"
START, END = "HOST-HAND-START\t0", "HOST-HAND-END\t0"
HOST = "HOST\t10.2.0.1\t100"


@pytest.mark.parametrize(
    ("phase", "line", "token"),
    [
        (Phase.NAMED, VERSION, "VERSION"),
        (Phase.NAMED, ME, "ME"),
        (Phase.NAMED, END, "HOST-HAND-END"),
        (Phase.DONE, VERSION, "VERSION"),
        (Phase.DONE, ME, "ME"),
        (Phase.DONE, START, "HOST-HAND-START"),
        (Phase.DONE, END, "HOST-HAND-END"),
        (Phase.DONE, "OPTIONS\tconsistent-hashing", "OPTIONS"),
        (Phase.DONE, "DONE", "DONE"),
        (Phase.DONE, f"U\t77\t10.2.0.1\t{WALL}", "U"),
    ],
)
def test_line_out_of_place_is_refused(phase: Phase, line: str, token: str) -> None:
    link = named_link()
    if phase is Phase.DONE:
        link.become_done()

    with pytest.raises(RemoteProtocolError) as caught:
        list(link.receive(line.encode() + b"\n"))
    assert token == caught.value.token
    assert "10.1.0.2:9090/in" in str(caught.value)


@pytest.mark.parametrize("line", ["ME\t10.1.0.2\t9090", "PING", "DONE"])
def test_nothing_comes_before_the_version(line: str) -> None:
    with pytest.raises(RemoteProtocolError, match=r"before VERSION from 10\.1\.0\.2/in"):
        list(dialling_link(is_incoming=True).receive(line.encode() + b"\n"))


def test_nothing_but_the_name_follows_the_version() -> None:
    link = dialling_link(is_incoming=True)
    for message in link.receive(VERSION.encode() + b"\n"):
        assert isinstance(message, Version)
        link.become_versioned(message, 0)

    with pytest.raises(RemoteProtocolError, match="PING before ME"):
        list(link.receive(b"PING\n"))


@pytest.mark.parametrize("line", ["PING", START, "DONE", f"U\t77\t10.2.0.1\t{WALL}"])
def test_only_hosts_stand_in_a_host_block(line: str) -> None:
    link = named_link()

    with pytest.raises(RemoteProtocolError, match="inside a host block"):
        list(link.receive(f"{START}\n{HOST}\n{line}\n".encode()))


def test_host_block_ends() -> None:
    link = named_link()
    kinds = [type(m).__name__ for m in link.receive(f"{START}\n{HOST}\n{END}\nPING\n".encode())]

    assert ["HostsStart", "Host", "HostsEnd", "Ping"] == kinds


@pytest.mark.parametrize("line", [START, f"U\t77\t10.2.0.1\t{WALL}"])
def test_right_neighbour_lists_neither_hosts_nor_users(line: str) -> None:
    link = named_link(is_incoming=False)

    with pytest.raises(RemoteProtocolError, match="from a right neighbour"):
        list(link.receive(line.encode() + b"\n"))


@pytest.mark.parametrize(("minor", "is_handshake"), [(8, True), (9, False)])
def test_timed_user_of_an_old_left_is_part_of_its_export(minor: int, is_handshake: bool) -> None:
    link = named_link(minor)
    (message,) = link.receive(f"USER\t77\t10.2.0.1\t{WALL}\n".encode())

    assert isinstance(message, Users)
    assert is_handshake == message.is_handshake


def test_after_the_handshake_news_go_on() -> None:
    link = named_link()
    link.become_done()

    assert link.is_done
    assert 2 == len(list(link.receive(b"PING\nUSER-KILLED\t5\n")))


# --- frames ---


def frames(*messages: Message) -> bytes:
    return b"".join(map(native.encode, messages))


def test_frames_follow_the_greeting_in_both_directions() -> None:
    link = native_link()
    received = list(link.receive(frames(Hello(director_hash="md5"), HostsStart(False))))
    assert [Hello(director_hash="md5"), HostsStart(False)] == received
    link.send(UserKilled(5))

    assert frames(UserKilled(5)) == take(link)


def test_rest_of_a_read_that_ends_the_lines_is_frames() -> None:
    link = dialling_link(NATIVE_MINOR, is_incoming=True)
    greeting = f"VERSION\tdirector\t1\t{NATIVE_MINOR}\n{ME}\n".encode()
    received: list[Message] = []
    for message in link.receive(greeting + frames(Hello(director_hash="md5"))):
        received.append(message)
        if isinstance(message, Version):
            link.become_versioned(message, 0)
        elif isinstance(message, Me):
            link.become_named(Director(address=PEER))

    assert Hello(director_hash="md5") == received[-1]


@pytest.mark.parametrize(
    "message",
    [Done(), Host(stamp=None, ip=IPv4Address("10.2.0.1"), weight=5)],
)
def test_first_frame_is_the_hello(message: Message) -> None:
    with pytest.raises(RemoteProtocolError, match="Hello comes first"):
        list(native_link().receive(frames(message)))


def test_second_hello_is_refused() -> None:
    hello = Hello(director_hash="md5")

    with pytest.raises(RemoteProtocolError, match="Hello comes first"):
        list(native_link().receive(frames(hello, hello)))


def test_host_of_a_block_is_refused_outside_of_one() -> None:
    host = Host(stamp=None, ip=IPv4Address("10.2.0.1"), weight=5)

    with pytest.raises(RemoteProtocolError, match="outside a host block"):
        list(native_link().receive(frames(Hello(director_hash="md5"), host)))


def test_host_of_a_block_is_refused_after_the_handshake() -> None:
    link = native_link()
    list(link.receive(frames(Hello(director_hash="md5"))))
    link.become_done()
    host = Host(stamp=None, ip=IPv4Address("10.2.0.1"), weight=5)

    with pytest.raises(RemoteProtocolError, match="HOST after the handshake"):
        list(link.receive(frames(host)))


def test_frame_of_a_classic_peer_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="native frame from a peer of minor 9"):
        list(named_link(own_minor=NATIVE_MINOR).receive(frames(Hello(director_hash="md5"))))


# --- what leaves, and in which order ---


def test_latest_of_several_gossiped_times_is_sent() -> None:
    link = named_link()
    link.gossip_many(b"", {77: WALL << 16 | 1})
    link.gossip_many(b"", {77: WALL + 1 << 16 | 1})

    assert [b"USER\t77\t10.2.0.1\t1700000001"] == output(link)
    assert 1 == link.users_sent


def test_any_other_message_goes_behind_the_users_gossiped_before_it() -> None:
    link = named_link()
    link.gossip_many(b"", {77: WALL << 16 | 1})
    link.send(UserKilled(5))
    link.gossip_many(b"", {78: WALL << 16 | 1})

    assert [b"USER\t77", b"USER-KILLED\t5", b"USER\t78"] == [
        b"\t".join(line.split(b"\t")[:2]) for line in output(link)
    ]


def test_output_is_given_in_pieces_and_counted() -> None:
    link = named_link()
    link.send(UserKilled(5))
    assert b"USER-" == link.take_output(5, WALL)
    assert b"KILLED\t5\n" == link.take_output(100, WALL + 1)
    assert b"" == link.take_output(100, WALL + 2)

    assert (14, WALL + 1, 14) == (link.bytes_sent, link.last_sent_wall, link.output_bytes_peak)


def test_export_pauses_while_the_peer_does_not_read() -> None:
    """So that a million users cost neither memory nor a pause."""
    taken: list[int] = []

    def export() -> Iterator[Users]:
        for step in range(100):
            taken.append(step)
            yield users(*range(step * 1000 + 1, step * 1000 + 1001), is_handshake=True)

    link = named_link(is_incoming=False)
    link.start_export(export())
    assert link.is_exporting
    link.take_output(10, WALL)
    assert len(taken) < 6
    assert limits.EXPORT_OUTPUT_BYTES_MAX <= link.output_bytes < 2 * limits.EXPORT_OUTPUT_BYTES_MAX
    data = b""
    while part := link.take_output(1 << 16, WALL):
        data += part

    assert b"U\t100000\t10.2.0.1\t1700000000" == data.splitlines()[-1]
    assert 100_000 == link.users_sent
    assert not link.is_exporting
    assert link.output_bytes == 0


def test_peer_that_does_not_read_overflows() -> None:
    link = named_link()
    for user_hash in range(1, 272):
        assert not link.is_overflowing
        link.gossip_many(b"", {user_hash: WALL << 16 | 1})

    assert link.is_overflowing


def test_last_words_are_everything_said_so_far_but_no_export() -> None:
    link = named_link(is_incoming=False)
    link.start_export(iter([users(1, is_handshake=True)]))
    link.gossip_many(b"", {77: WALL << 16 | 1})
    link.send(Ping(wall=None, unsent_bytes=None))
    link.gossip_many(b"", {78: WALL << 16 | 1})
    rest = link.take_rest().splitlines()

    assert [b"USER", b"PING", b"USER"] == [line.split(b"\t")[0] for line in rest]
    assert link.output_bytes == 0
    assert b"" == dialling_link().take_rest()


def test_discarded_output_is_gone() -> None:
    link = named_link(is_incoming=False)
    link.start_export(iter([users(1, is_handshake=True)]))
    link.gossip_many(b"", {77: WALL << 16 | 1})
    link.send(UserKilled(5))
    link.discard_output()

    assert b"" == take(link)


def test_only_gossiped_users_may_wait_a_little_to_be_many() -> None:
    link = named_link(is_incoming=False)
    link.gossip_many(b"", {77: WALL << 16 | 1})
    assert not link.has_urgent_output
    link.send(UserKilled(5))
    assert link.has_urgent_output
    take(link)
    link.start_export(iter([users(1, is_handshake=True)]))

    assert link.has_urgent_output


# --- gossip in frames, which all native links share ---


def frames_with(link: Link, *hashes: int) -> Frames:
    """Tell users over all links; return what the links share."""
    shared = link._frames
    shared.gossip_many(b"", dict.fromkeys(hashes, WALL << 16 | 1))
    return shared


def received(link: Link) -> list[Message]:
    return list(native.Decoder().decode(take(link)))


def test_users_told_over_all_links_are_output_of_a_native_one() -> None:
    link = native_link()
    assert not link.has_output
    frames_with(link, 5, 6)

    assert link.takes_frames
    assert link.has_output
    assert link.output_bytes > 0
    assert not link.has_urgent_output
    assert [[5, 6]] == [list(m.hashes) for m in received(link) if isinstance(m, Users)]
    assert 2 == link.users_sent
    assert not link.has_output


def test_users_told_over_one_link_follow_those_told_over_all() -> None:
    link = native_link()
    frames_with(link, 5)
    link.gossip_many(b"", {6: WALL << 16 | 1})

    assert [[5], [6]] == [list(m.hashes) for m in received(link) if isinstance(m, Users)]


def test_a_frame_of_another_neighbour_is_passed_on_as_it_came() -> None:
    link = native_link()
    frame = native.encode(users(7))
    frames_with(link, 5)
    link.pass_on(attrs.evolve(users(7), frame=frame))

    assert native.encode(users(5)) + frame == take(link)


def test_peer_that_does_not_read_frames_overflows_and_what_waits_can_be_discarded() -> None:
    link = native_link()
    assert not link.is_overflowing
    frames_with(link, *range(1, 5000))
    assert link.is_overflowing
    link.discard_output()

    assert not link.is_overflowing
    assert not link.has_output


def test_table_news_are_gossiped_while_tables_are_exported_or_compared() -> None:
    link = native_link()
    assert not link.is_telling
    link.is_comparing = True
    assert link.is_telling
    link.is_comparing = False
    link.start_export(iter([users(5, is_handshake=True)]))

    assert link.is_telling


def test_comparing_a_table_goes_in_small_steps() -> None:
    link = native_link()
    digests = Digests(tag=b"", first=0, digests=(1, 2))
    link.start_export(iter([digests, digests]))

    assert [digests] == received(link)
    assert [digests] == received(link)
    assert [] == received(link)


@pytest.mark.parametrize("is_user", [True, False])
def test_what_waits_for_a_classic_peer_is_output(*, is_user: bool) -> None:
    link = named_link()
    assert not link.has_output
    if is_user:
        link.gossip_many(b"", {5: WALL << 16 | 1})
    else:
        link.send(Done())

    assert link.has_output
    assert take(link)
    assert not link.has_output


def test_an_export_may_hold_more_than_users() -> None:
    link = native_link()
    link.start_export(iter([Done(), users(5, is_handshake=True)]))
    done, export = received(link)

    assert Done() == done
    assert isinstance(export, Users)
    assert 1 == link.users_sent
