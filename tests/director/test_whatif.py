"""Who would belong elsewhere: on the real circle, with few users and with many."""

from __future__ import annotations

import pytest

from director.whatif import (
    Change,
    Outcome,
    Population,
    apply,
    compare,
    even_population,
    mail_hosts,
)
from ring.address import parse_ip
from ring.errors import ValueRefused
from ring.settings import HostSetting

FIRST, SECOND, THIRD, NEW = (parse_ip(f"10.0.0.{n}") for n in (1, 2, 3, 9))
HOSTS = tuple(HostSetting(ip=ip) for ip in (FIRST, SECOND, THIRD))
USERS_COUNT = 3000


def outcome_of(
    change: Change, population: Population | None = None, hosts: tuple[HostSetting, ...] = HOSTS
) -> Outcome:
    before, after = mail_hosts(hosts), mail_hosts(hosts)
    apply(after, change)
    return compare(population or even_population([b""], USERS_COUNT), before, after)


def test_nothing_changed_moves_nobody() -> None:
    outcome = outcome_of(Change())

    assert outcome.moves == ()
    assert outcome.moved.users == 0
    assert outcome.total.users == USERS_COUNT
    assert [load.before for load in outcome.hosts] == [load.after for load in outcome.hosts]


@pytest.mark.parametrize("change", [Change(removed=(SECOND,)), Change(down=(SECOND,))])
def test_only_users_of_a_host_that_goes_move(change: Change) -> None:
    outcome = outcome_of(change)

    left = next(load for load in outcome.hosts if load.host.ip == SECOND)
    assert {old.ip for old, _, _ in outcome.moves if old} == {SECOND}
    assert left.before.users == outcome.moved.users
    assert left.after.users == 0
    assert left.percent_of_fair is None
    assert sum(load.after.users for load in outcome.hosts) == USERS_COUNT


def test_users_move_only_to_a_host_that_comes() -> None:
    outcome = outcome_of(Change(added=(HostSetting(ip=NEW),)))

    assert {new.ip for _, new, _ in outcome.moves if new} == {NEW}
    assert 0.15 < outcome.moved.users / USERS_COUNT < 0.35
    assert outcome.hosts[-1].state == "added"


def test_load_is_compared_with_the_share_of_the_weight() -> None:
    outcome = outcome_of(Change(weights=((FIRST, 200),)))

    heavy = outcome.hosts[0]
    assert heavy.fair_sessions == USERS_COUNT / 2
    assert heavy.percent_of_fair == 100 * heavy.after.sessions / heavy.fair_sessions
    assert {new.ip for _, new, _ in outcome.moves if new} == {FIRST}


def test_a_user_counts_once_and_each_session_too() -> None:
    population = Population()
    for _ in range(5):
        population.add(b"", 7)
    population.add(b"", 8)

    outcome = outcome_of(Change(removed=(FIRST, SECOND)), population)

    kept = next(load for load in outcome.hosts if load.host.ip == THIRD)
    assert (kept.after.users, kept.after.sessions) == (2, 6)


def test_users_of_a_tag_stay_in_it_or_have_no_host() -> None:
    hosts = (*HOSTS, HostSetting(ip=NEW, tag=b"gold"))
    population = even_population([b"", b"gold"], 100)

    outcome = outcome_of(Change(removed=(NEW,)), population, hosts)

    assert (outcome.homeless.users, outcome.moved.users) == (100, 100)
    assert [new for _, new, _ in outcome.moves] == [None]


def test_moves_are_listed_with_most_users_first() -> None:
    outcome = outcome_of(Change(removed=(FIRST,), added=(HostSetting(ip=NEW),)))

    counts = [load.users for _, _, load in outcome.moves]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == outcome.moved.users


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (Change(removed=(NEW,)), "10.0.0.9 is no mail host, expected one of"),
        (Change(down=(NEW,)), "10.0.0.9 is no mail host"),
        (Change(weights=((NEW, 1),)), "10.0.0.9 is no mail host"),
        (Change(added=(HOSTS[0],)), "10.0.0.1 is a mail host already"),
        (Change(weights=((FIRST, 1001),)), "got weight 1001, expected 0 to 1000"),
    ],
)
def test_a_change_that_cannot_be_is_refused(change: Change, reason: str) -> None:
    with pytest.raises(ValueRefused, match=reason):
        outcome_of(change)
