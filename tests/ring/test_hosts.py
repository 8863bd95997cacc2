"""Mail hosts: the circle and the hosts hash against the real director, and the rest by rule."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ring import hosts as hosts_module
from ring import limits
from ring.address import IpAddress, parse_ip
from ring.errors import LimitExceeded, ValueRefused
from ring.hashing import vhost_points
from ring.hosts import NO_NUMBER, MailHost, MailHosts, parse_mail_servers
from ring.settings import HostSetting
from tests.ring.vectors import load

VECTORS = load("placement.json")
HOST_SETS = {host_set["name"]: host_set for host_set in VECTORS["host_sets"]}


def add(hosts: MailHosts, ip: str, *, tag: bytes = b"", weight: int = 100) -> MailHost:
    return hosts.add(parse_ip(ip), tag=tag, hostname=b"", weight=weight)


def hosts_from(rows: list[list[Any]]) -> MailHosts:
    hosts = MailHosts()
    for ip, tag, weight, is_down in rows:
        host = add(hosts, ip, tag=tag.encode(), weight=weight)
        hosts.set_down(host, is_down, 1)
    return hosts


def text(host: MailHost | None) -> str | None:
    return None if host is None else host.ip_text.decode()


def resolve_nothing(name: str) -> Sequence[IpAddress]:
    return []


# --- against the real director ----------------------------------------------------------------


@pytest.mark.parametrize("name", HOST_SETS)
def test_every_hash_goes_where_the_real_director_sends_it(name: str) -> None:
    hosts = hosts_from(HOST_SETS[name]["hosts"])
    expected = {(tag, user_hash): ip for tag, user_hash, ip in HOST_SETS[name]["lookups"]}
    actual = {(tag, h): text(hosts.lookup(h, tag.encode())) for tag, h in expected}

    assert len(expected) > 200
    assert expected == actual


@pytest.mark.parametrize("name", HOST_SETS)
def test_the_circle_has_the_points_of_the_real_director(name: str) -> None:
    """Just above the last point and below the first one the first owner answers."""
    hosts = hosts_from(HOST_SETS[name]["hosts"])
    for tag, (size, first, last) in HOST_SETS[name]["circles"].items():
        weights = [h.weight for h in hosts if h.tag == tag.encode() and not h.is_down]

        assert size == sum(weights)
        for point, ip in first + last:
            assert ip == text(hosts.lookup(point, tag.encode()))
        if size:
            assert first[0][1] == text(hosts.lookup(last[-1][0] + 1, tag.encode()))
            assert first[0][1] == text(hosts.lookup(0, tag.encode()))


@pytest.mark.parametrize("name", HOST_SETS)
def test_the_hosts_hash_is_that_of_the_real_director(name: str) -> None:
    assert HOST_SETS[name]["hosts_hash"] == hosts_from(HOST_SETS[name]["hosts"]).hosts_hash()


@pytest.mark.parametrize(("rows", "hosts_hash"), VECTORS["hosts_hashes"])
def test_more_hosts_hashes_of_the_real_director(rows: list[list[Any]], hosts_hash: int) -> None:
    assert hosts_hash == hosts_from(rows).hosts_hash()


@pytest.mark.parametrize("name", HOST_SETS)
def test_the_configured_list_is_read_as_by_the_real_director(name: str) -> None:
    configured = parse_mail_servers(HOST_SETS[name]["director_mail_servers"], resolve_nothing)
    expected = {(ip, tag) for ip, tag, _, _ in HOST_SETS[name]["hosts"]}

    assert expected == {(str(setting.ip), setting.tag.decode()) for setting in configured}


# --- the circle -------------------------------------------------------------------------------

SHARED_POINT = 3144914449
"""Point 25 of 10.0.3.100 and point 35 of 10.0.4.1: a birthday among 150,000 points."""


@pytest.mark.parametrize(
    ("weights", "owner"),
    [
        ((26, 36), "10.0.4.1"),
        ((27, 37), "10.0.3.100"),
        ((28, 37), "10.0.4.1"),
        ((30, 40), "10.0.4.1"),
        ((100, 100), "10.0.4.1"),
        ((27, 35), "10.0.3.100"),  # not shared any more
    ],
)
def test_a_shared_point_belongs_to_whom_the_bisection_meets(
    weights: tuple[int, int], owner: str
) -> None:
    """The answers are those of the real director; beside the point nothing changes."""
    hosts = MailHosts()
    add(hosts, "10.0.4.1", weight=weights[1])
    add(hosts, "10.0.3.100", weight=weights[0])

    assert owner == text(hosts.lookup(SHARED_POINT, b""))
    assert text(hosts.lookup(SHARED_POINT - 1, b"")) == "10.0.3.100"
    if weights[0] < 100:
        assert text(hosts.lookup(SHARED_POINT + 1, b"")) == "10.0.3.100"


def lookup_by_the_book(hosts: MailHosts, user_hash: int, tag: bytes) -> str | None:
    """The original's search as users-and-hosts.md section 3 describes it."""
    usable = [host for host in hosts if host.tag == tag and not host.is_down]
    owned = [(p, h) for h in usable for p in vhost_points(h.ip_text, h.weight)]
    owned.sort(key=lambda pair: pair[0])
    low, high = 0, len(owned)
    while low < high:
        middle = (low + high) // 2
        if owned[middle][0] == user_hash:
            return text(owned[middle][1])
        if owned[middle][0] < user_hash:
            low = middle + 1
        else:
            high = middle
    return text(owned[low % len(owned)][1]) if owned else None


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "weight", "down", "tag", "remove"]), st.integers(0, 63)),
        max_size=10,
    ),
    st.lists(st.integers(0, 0xFFFFFFFF), min_size=1, max_size=3),
)
def test_the_circle_follows_every_change(changes: list[tuple[str, int]], wanted: list[int]) -> None:
    hosts = MailHosts()
    for change, value in changes:
        ip = f"10.0.0.{value % 4}"
        host = hosts.get(parse_ip(ip))
        if host is None:
            add(hosts, ip, tag=b"ab"[value % 2 : value % 2 + 1], weight=value % 16)
        elif change == "weight":
            hosts.set_weight(host, value % 16, set_at=0)
        elif change == "down":
            hosts.set_down(host, value > 31, value)
        elif change == "tag":
            hosts.set_tag(host, b"b")
        elif change == "remove":
            hosts.remove(host)
        for user_hash in wanted:
            for tag in (b"a", b"b"):
                expected = lookup_by_the_book(hosts, user_hash, tag)

                assert expected == text(hosts.lookup(user_hash, tag))


def test_a_tag_that_was_never_mentioned_has_no_host_and_leaves_no_trace() -> None:
    hosts = MailHosts()
    add(hosts, "10.0.0.1")

    assert hosts.lookup(1, b"nobody") is None
    assert hosts.tags == [b""]


# --- the list ---------------------------------------------------------------------------------


def test_hosts_are_presented_by_address_and_ipv4_first() -> None:
    hosts = MailHosts()
    for ip in ("::1", "10.0.0.10", "10.0.0.9", "2001:db8::1", "9.9.9.9"):
        add(hosts, ip)

    addresses = [text(host) for host in hosts]

    assert addresses == ["9.9.9.9", "10.0.0.9", "10.0.0.10", "::1", "2001:db8::1"]
    assert len(hosts) == 5


def test_all_hosts_can_be_removed_in_one_loop() -> None:
    hosts = hosts_from(HOST_SETS["A-equal-weights"]["hosts"])
    for host in hosts:
        hosts.remove(host)

    assert len(hosts) == 0
    assert hosts.get(parse_ip("10.1.0.1")) is None
    assert hosts.lookup(1, b"") is None
    assert hosts.hosts_hash() == 1


def test_a_tag_never_disappears() -> None:
    hosts = MailHosts()
    add(hosts, "10.0.0.1", tag=b"b")
    host = add(hosts, "10.0.0.2", tag=b"a")
    add(hosts, "10.0.0.3", tag=b"b")
    hosts.remove(host)

    assert hosts.tags == [b"b", b"a"]


def test_the_hosts_hash_follows_weight_state_and_tag_but_not_changed_at() -> None:
    hosts = MailHosts()
    host = add(hosts, "10.0.0.1")
    seen = [hosts.hosts_hash()]
    hosts.set_weight(host, 50, set_at=0)
    seen.append(hosts.hosts_hash())
    hosts.set_down(host, True, 5)
    seen.append(hosts.hosts_hash())
    hosts.set_tag(host, b"x")
    seen.append(hosts.hosts_hash())

    assert len(set(seen)) == 4
    assert seen[-1] == hosts.hosts_hash()


def test_the_time_of_a_change_counts_only_if_the_state_flips() -> None:
    hosts = MailHosts()
    host = add(hosts, "10.0.0.1")
    hosts.set_down(host, False, 5)

    assert host.changed_at == 0

    hosts.set_down(host, True, 6)
    hosts.set_down(host, True, 7)

    assert host.is_down
    assert host.changed_at == 6


def test_clear_desynced_clears_all() -> None:
    hosts = MailHosts()
    host = add(hosts, "10.0.0.1")
    host.is_desynced = True
    hosts.clear_desynced()

    assert not host.is_desynced


def test_one_host_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HOSTS_MAX", 1)
    hosts = MailHosts()
    add(hosts, "10.0.0.1")
    with pytest.raises(LimitExceeded, match=r"mail host 10\.0\.0\.2 would be one more than 1"):
        add(hosts, "10.0.0.2")

    assert len(hosts) == 1


# --- numbers ----------------------------------------------------------------------------------


def test_forgetting_users_and_removing_a_host_leave_dead_numbers() -> None:
    hosts = MailHosts()
    first, second = add(hosts, "10.0.0.1"), add(hosts, "10.0.0.2")
    hosts.forget_users(first)
    hosts.remove(second)

    assert hosts.by_number == [None, None, None, first]
    assert first.number == 3
    assert second.number == NO_NUMBER


def test_another_tag_means_another_number() -> None:
    hosts = MailHosts()
    host = add(hosts, "10.0.0.1", tag=b"a")
    hosts.set_tag(host, b"a")

    assert host.number == 1

    hosts.set_tag(host, b"b")

    assert host.number == 2
    assert hosts.by_number == [None, None, host]
    assert hosts.tags == [b"a", b"b"]


def test_a_number_comes_back_only_when_no_table_uses_it() -> None:
    hosts = MailHosts()
    host = add(hosts, "10.0.0.1")
    for _ in range(3):
        hosts.forget_users(host)
    hosts.reclaim_numbers(lambda number: number == 2)
    by_number = hosts.by_number
    hosts.forget_users(host)
    hosts.forget_users(host)
    hosts.forget_users(host)

    assert by_number is hosts.by_number
    assert len(by_number) == 6
    assert by_number[2] is None
    assert by_number[5] is host


def test_when_numbers_run_out_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts_module, "HOST_NUMBERS_MAX", 3)
    hosts = MailHosts()
    host = add(hosts, "10.0.0.1")
    hosts.forget_users(host)

    assert hosts.numbers_left == 0
    with pytest.raises(LimitExceeded, match="all 3 numbers are taken"):
        hosts.forget_users(host)
    with pytest.raises(LimitExceeded):
        hosts.set_tag(host, b"x")
    with pytest.raises(LimitExceeded):
        add(hosts, "10.0.0.2")

    assert host.number == 2
    assert host.tag == b""
    assert hosts.tags == [b""]
    assert len(hosts) == 1

    hosts.reclaim_numbers(lambda number: False)

    assert hosts.numbers_left == 1


# --- director_mail_servers --------------------------------------------------------------------


def parse(value: str) -> list[tuple[str, bytes, bytes]]:
    names = {"imap-1.example.com": ["10.0.0.7", "2001:db8::7"]}
    settings = parse_mail_servers(value, lambda name: [parse_ip(ip) for ip in names.get(name, [])])
    return [(str(setting.ip), setting.tag, setting.hostname) for setting in settings]


@pytest.mark.parametrize(
    ("value", "ips"),
    [
        ("10.0.0.1", ["10.0.0.1"]),
        ("  10.0.0.2 \t 10.0.0.1\n", ["10.0.0.2", "10.0.0.1"]),
        ("1", ["0.0.0.1"]),
        ("[2001:db8::1]", ["2001:db8::1"]),
        ("10.0.0.254-10.0.0.255", ["10.0.0.254", "10.0.0.255"]),
        ("10.0.0.1-10.0.0.1", ["10.0.0.1"]),
        ("2001:db8::fffe-2001:db8::ffff", ["2001:db8::fffe", "2001:db8::ffff"]),
    ],
)
def test_addresses_and_ranges(value: str, ips: list[str]) -> None:
    assert [(ip, b"", b"") for ip in ips] == parse(value)


def test_a_name_stands_for_all_its_addresses_and_stays_with_them() -> None:
    name = b"imap-1.example.com"
    expected = [("10.0.0.7", b"x@y", name), ("2001:db8::7", b"x@y", name)]

    assert expected == parse("imap-1.example.com@x@y")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (" ", "no mail server is given"),
        ("10.0.0.1 @blue", "'@blue': no address before the tag"),
        ("10.0.0.1,10.0.0.2", "'10.0.0.1,10.0.0.2' is neither an address nor a name"),
        ("a-b", "'a-b' is neither an address nor a name"),
        ("10.0.0.1-::1", "'10.0.0.1-::1': a range from IPv4 to IPv6"),
        ("10.0.0.2-10.0.0.1", "ends before it starts"),
        ("10.0.0.1-10.0.1.1", "may differ only in the last 8 bits"),
        ("2001:db8::1-2001:db8::1:1", "may differ only in the last 16 bits"),
        ("2001:db8::-2001:db8::ffff", "more than 4096 mail servers"),
        ("10.0.0.1@a 10.0.0.1@b", "10.0.0.1 was given before with the tag 'a'"),
        ("10.0.0.1@" + "x" * 1001, "longer than 1000 bytes"),
    ],
)
def test_a_bad_item_is_refused_and_named(value: str, message: str) -> None:
    with pytest.raises(ValueRefused) as caught:
        parse(value)

    assert message in str(caught.value)


def test_an_address_that_appears_twice_is_merged_and_reported() -> None:
    duplicates: list[HostSetting] = []
    value = "10.0.0.1 10.0.0.1-10.0.0.2 10.0.0.1"
    settings = parse_mail_servers(value, resolve_nothing, duplicates.append)
    first, second = (ipaddress.ip_address(f"10.0.0.{n}") for n in (1, 2))

    assert settings == (HostSetting(ip=first), HostSetting(ip=second))
    assert duplicates == [HostSetting(ip=first)] * 2
    assert settings == parse_mail_servers(value, resolve_nothing)
