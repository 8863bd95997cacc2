"""One connection to a neighbour: what may be said before the greeting is over."""

from __future__ import annotations

from ipaddress import IPv4Address

from ring.address import DirectorAddress
from ring.directors import Director
from ring.hosts import MailHosts
from ring.link import Link, RingVersion
from ring.messages import Me, Version

OWN = DirectorAddress(ip=IPv4Address("10.1.0.1"), port=9090)
PEER = DirectorAddress(ip=IPv4Address("10.1.0.2"), port=9090)
WALL = 1_700_000_000


def dialling_link() -> Link:
    """Return a link to a right neighbour that knows one mail host, number 1."""
    hosts = MailHosts()
    host = hosts.add(IPv4Address("10.2.0.1"), tag=b"", hostname=b"", weight=100)
    assert host.number == 1
    return Link(
        link_id=1,
        director=Director(address=PEER),
        source_ip=PEER.ip,
        own_minor=9,
        director_hash="md5",
        ring=RingVersion(9),
        by_number=hosts.by_number,
        output_bytes_max=10_000_000,
        now=0.0,
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
    link.gossip(b"", 77, WALL << 16 | 1)
    greet(link)

    assert output(link) == [b"VERSION\tdirector\t1\t9", b"ME\t10.1.0.1\t9090"]


def test_a_user_gossiped_during_the_greeting_has_his_time() -> None:
    """Only the peer's VERSION tells whether it understands the time."""
    link = dialling_link()
    greet(link)
    link.gossip(b"", 77, WALL << 16 | 1)
    output(link)
    (version,) = link.receive(b"VERSION\tdirector\t1\t9\n")
    assert isinstance(version, Version)
    link.become_versioned(version)

    assert output(link) == [b"USER\t77\t10.2.0.1\t1700000000"]


def test_what_cannot_be_sent_yet_is_no_output() -> None:
    """Else a writer that sends while there is output would never sleep."""
    link = dialling_link()
    link.gossip(b"", 77, WALL << 16 | 1)

    assert link.output_bytes == 0
    assert output(link) == []
