"""User hashes and vhost points, compared with what the real director answered."""

from __future__ import annotations

import mmh3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ring.errors import ValueRefused
from ring.hashing import HashKind, UserHasher, UsernameTemplate, shift4_hash, vhost_points
from tests.ring.vectors import load

USER_HASHES = load("user_hashes.json")
POINTS = load("placement.json")["points"]


def expand(template: str, name: bytes) -> bytes:
    return UsernameTemplate.parse(template).expand(name)


def test_all_recorded_names_have_the_hash_of_the_real_director() -> None:
    hasher = UserHasher(UsernameTemplate.parse(USER_HASHES["template"]), HashKind.MD5)
    expected = dict(USER_HASHES["names"])
    actual = {name: hasher.hash(name.encode()) for name in expected}

    assert len(expected) == 220
    assert expected == actual


@pytest.mark.parametrize("template", sorted({row[0] for row in USER_HASHES["templates"]}))
def test_a_template_expands_as_in_the_real_director(template: str) -> None:
    parsed = UsernameTemplate.parse(template)
    hasher = UserHasher(parsed, HashKind.MD5)
    for text, name, expanded, user_hash in USER_HASHES["templates"]:
        if text == template:
            assert user_hash == hasher.hash(name.encode())
            if expanded is not None:
                assert expanded.encode() == parsed.expand(name.encode())


@pytest.mark.parametrize(
    ("template", "expanded"),
    [
        ("%{user}", b"Ann@Example.Com"),
        ("%{user | lower}", b"ann@example.com"),
        ("%{user|upper}", b"ANN@EXAMPLE.COM"),
        ("%{ user | username }", b"Ann"),
        ("%{user | username | lower}", b"ann"),
        ("%{user | lower | domain | upper}", b"EXAMPLE.COM"),
        ("%{domain | lower}", b"example.com"),
        ("x-%{user | domain}-y", b"x-Example.Com-y"),
    ],
)
def test_the_spelling_of_dovecot_2_4_is_understood(template: str, expanded: bytes) -> None:
    assert expanded == expand(template, b"Ann@Example.Com")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("%q", "'%q': unknown variable or modifier 'q' at column 2"),
        ("a%{users}", "'a%{users}': unknown variable %{users} at column 3"),
        ("%{pid}", "'%{pid}': unknown variable %{pid} at column 2"),
        ("%{md4:user}", "unknown digest 'md4'"),
        ("%{if;a;b}", "unknown variable %{if;a;b}"),
        ("%{name | lower}", "unknown variable 'name'"),
        ("%{user | rot13}", "unknown filter 'rot13'"),
        ("%LLLLLLLLLLLu", "unknown variable or modifier 'L'"),
        ("%{sha1;rounds=2:user}", "unknown digest 'sha1;rounds=2'"),
        ("%u%{user", "'%u%{user': no } after this { at column 4"),
        ("%1.2.3u", "unknown variable or modifier '.'"),
        ("%010000u", "a number above 9999"),
        ("%1.10000u", "a number above 9999"),
    ],
)
def test_what_cannot_be_expanded_is_refused_at_once(template: str, message: str) -> None:
    with pytest.raises(ValueRefused) as caught:
        UsernameTemplate.parse(template)

    assert message in str(caught.value)


def test_numbers_of_any_length_are_read_for_hexadecimal() -> None:
    assert expand("%Xu", b"9" * 5000) == b"0"
    assert expand("%Xu", b"0" * 5000 + b"16") == b"10"


def test_an_empty_template_sends_everybody_to_one_place() -> None:
    assert expand("", b"ann") == b""


def test_murmur3_hashes_the_expanded_name() -> None:
    hasher = UserHasher(UsernameTemplate.parse("%Ln"), HashKind("murmur3"))

    assert mmh3.hash(b"ann", 0, signed=False) == hasher.hash(b"ANN@example.com")
    assert HashKind.MURMUR3 is hasher.kind


def test_murmur3_never_returns_zero() -> None:
    hasher = UserHasher(UsernameTemplate.parse("%u"), HashKind.MURMUR3)

    assert mmh3.hash(b"", 0) == 0
    assert hasher.hash(b"") == 1


def test_templates_are_equal_if_their_text_is() -> None:
    assert UsernameTemplate.parse("%Lu") == UsernameTemplate.parse("%Lu")
    assert UsernameTemplate.parse("%Lu") != UsernameTemplate.parse("%u")


@given(st.binary(max_size=60))
def test_both_spellings_and_both_variables_mean_the_same(name: bytes) -> None:
    assert expand("%Lu", name) == expand("%{user | lower}", name)
    assert expand("%Ln", name) == expand("%{username | lower}", name)
    assert expand("%d", name) == expand("%{user | domain}", name)


@given(st.text("%-0123456789.LURMTDEXHNund{}|: ", max_size=20), st.binary(max_size=20))
def test_any_template_is_refused_or_expands(template: str, name: bytes) -> None:
    try:
        parsed = UsernameTemplate.parse(template)
    except ValueRefused:
        return
    parsed.expand(name)


@pytest.mark.parametrize(("ip_text", "index", "point"), POINTS)
def test_points_are_those_of_the_real_director(ip_text: str, index: int, point: int) -> None:
    assert point == vhost_points(ip_text.encode(), index + 1)[index]


def test_points_of_a_smaller_weight_are_a_prefix() -> None:
    assert vhost_points(b"::1", 100)[:7] == vhost_points(b"::1", 7)
    assert vhost_points(b"::1", 0) == []


@given(st.binary(max_size=40))
def test_the_shift4_hash_keeps_its_upper_four_bits_clear(data: bytes) -> None:
    assert shift4_hash(data) >> 28 == 0
