"""Which directors the configuration names, and which of them we are."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import pytest

from director.addresses import can_bind_to, parse_directors, parse_port, resolve_name
from director.config import ConfigError
from director.settings import Settings, load_text
from ring.address import DirectorAddress, IpAddress, parse_ip
from ring.errors import ValueRefused

NAMES = {"ring.example": ["10.9.0.1", "10.9.0.2"]}


def resolve(name: str) -> Sequence[IpAddress]:
    return [parse_ip(text) for text in NAMES.get(name, [])]


def is_second(ip: IpAddress) -> bool:
    return ip == parse_ip("10.9.0.2")


def settings(text: str) -> Settings:
    return load_text(text, "t.conf", resolve=resolve, can_bind=is_second)


def director(ip: str, port: int = 9090) -> DirectorAddress:
    return DirectorAddress(ip=ipaddress.ip_address(ip), port=port)


HOSTS = "director_mail_servers = 10.0.0.1\n"


def ring(servers: str, listener: str = "port = 9090") -> str:
    return (
        f"{HOSTS}director_servers = {servers}\nservice director {{\n"
        "unix_listener login/director {\nmode = 0666\n}\n"
        f"inet_listener {{\n{listener}\n}}\n}}\n"
    )


def test_directors_are_sorted_resolved_and_merged() -> None:
    text = "[fd00::1]:9 fd00::2 ring.example 10.9.0.1:9090 10.1.0.1:77 [fd00::3]"

    assert (
        director("10.1.0.1", 77),
        director("10.9.0.1"),
        director("10.9.0.2"),
        director("fd00::1", 9),
        director("fd00::2"),
        director("fd00::3"),
    ) == parse_directors(text, 9090, resolve)


@pytest.mark.parametrize("text", ["nowhere", "10.0.0.1:0", "10.0.0.1:x", ":90", "10.0.0.1:99999"])
def test_bad_director_is_refused(text: str) -> None:
    with pytest.raises(ValueRefused, match=r"got '.*', expected"):
        parse_directors(text, 9090, resolve)


def test_own_address_is_the_one_we_listen_on() -> None:
    found = settings(ring("10.9.0.1 10.9.0.2", "port = 9090\naddress = 10.9.0.1"))

    assert director("10.9.0.1") == found.own


def test_own_address_is_the_first_that_can_be_bound() -> None:
    found = settings(ring("10.9.0.1 10.9.0.2 10.9.0.3"))

    assert director("10.9.0.2") == found.own
    assert len(found.directors) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ring("10.9.0.1"), "got '10.9.0.1', expected this machine among them: we listen on any "
         "address port 9090"),
        (ring("10.9.0.2:77"), "expected this machine among them"),
        (ring("10.9.0.2", "port = 9090\naddress = 10.9.0.7"), "we listen on 10.9.0.7 port 9090"),
        (ring("10.9.0.2", "port = 0"), "no TCP listener for the ring; expected an inet_listener"),
        (HOSTS + "director_servers = 10.9.0.2", "no TCP listener for the ring"),
    ],
)  # fmt: skip
def test_ring_without_ourselves_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(text)

    assert message in str(caught.value)


def test_port_is_a_number_up_to_65535() -> None:
    assert parse_port("0") == 0
    assert parse_port("65535") == 65535
    for text in ("65536", "-1", "http", ""):
        with pytest.raises(ValueRefused, match="expected a port from 0 to 65535"):
            parse_port(text)


def test_machine_knows_its_loopback_address_and_no_other() -> None:
    assert can_bind_to(parse_ip("127.0.0.1"))
    assert not can_bind_to(parse_ip("192.0.2.1"))
    assert not can_bind_to(parse_ip("2001:db8::1"))


def test_names_resolve_to_every_address_once() -> None:
    assert list(resolve_name("127.0.0.9")) == [parse_ip("127.0.0.9")]
    assert list(resolve_name("a" * 300)) == []
