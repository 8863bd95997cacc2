"""Addresses: every spelling the original reads, the canonical one, and the order of the ring."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ring.address import DirectorAddress, ip_key, ip_text, parse_ip
from ring.errors import ValueRefused


def director(text: str) -> DirectorAddress:
    ip, port = text.split(" ")
    return DirectorAddress(ip=parse_ip(ip), port=int(port))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("1", "0.0.0.1"),
        ("0", "0.0.0.0"),
        ("4294967295", "255.255.255.255"),
        ("127.1", "127.0.0.1"),
        ("10.1.2", "10.1.0.2"),
        ("10.0xffffff", "10.255.255.255"),
        ("010.0.0.1", "8.0.0.1"),
        ("0x0A.0.0.1", "10.0.0.1"),
        ("0X0A000001", "10.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("2001:DB8:0:1::A", "2001:db8:0:1::a"),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1"),
    ],
)
def test_spellings_of_an_address(text: str, canonical: str) -> None:
    assert canonical == ip_text(parse_ip(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "10.0.0.256",
        "256.1",
        "4294967296",
        "1.2.3.4.5",
        "1..2",
        "10.0.0.1 ",
        "09.0.0.1",
        "0x.1",
        "-1",
        "+1",
        "\u0661",
        "1_0",
        "[10.0.0.1]",
        "[::1",
        ":::",
        "1::2::3",
        "fe80::1%eth0",
        "[fe80::1%eth0]",
    ],
)
def test_what_is_no_address_is_refused_and_named(text: str) -> None:
    with pytest.raises(ValueRefused) as caught:
        parse_ip(text)

    assert repr(text.strip("[]"))[1:-1] in str(caught.value)


@given(st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 2**49), st.integers(0, 2**128 - 1)))
def test_the_canonical_spelling_is_what_inet_ntop_prints(number: int) -> None:
    ip = ipaddress.IPv6Address(number)
    small = ipaddress.IPv4Address(number & 0xFFFFFFFF)

    assert socket.inet_ntop(socket.AF_INET6, ip.packed) == ip_text(ip)
    assert socket.inet_ntop(socket.AF_INET, small.packed) == ip_text(small)
    assert ip == parse_ip(ip_text(ip))


@pytest.mark.parametrize("number", [0, 1, 0xFFFF, 0x10000, 0xFFFF << 32, (0xFFFF << 32) + 1])
def test_where_the_canonical_spelling_changes_its_form(number: int) -> None:
    ip = ipaddress.IPv6Address(number)

    assert socket.inet_ntop(socket.AF_INET6, ip.packed) == ip_text(ip)


def test_addresses_sort_by_family_then_bytes() -> None:
    texts = ["2001:db8::", "10.0.0.10", "::1", "9.0.0.1", "10.0.0.9"]
    in_order = sorted(map(parse_ip, texts), key=ip_key)

    assert [texts[n] for n in (3, 4, 1, 2, 0)] == [str(ip) for ip in in_order]


def test_directors_sort_by_address_then_port() -> None:
    texts = ["10.0.0.10 1", "10.0.0.9 10", "10.0.0.9 9", "::1 1"]
    in_order = sorted(map(director, texts), key=lambda address: address.key)

    assert [director(texts[n]) for n in (2, 1, 0, 3)] == in_order


def test_a_director_is_shown_with_its_port() -> None:
    assert str(director("10.0.0.1 9090")) == "10.0.0.1:9090"
    assert str(director("::ffff:10.0.0.1 9090")) == "[::ffff:10.0.0.1]:9090"
