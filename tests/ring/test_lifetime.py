"""The predicates of users-and-hosts.md section 6, at the ages where they change."""

from __future__ import annotations

import pytest

from ring.lifetime import expiry_margin_s, is_expired, is_near_expiry, is_recently_updated
from tests.ring.vectors import load

WALL = 1_700_000_000


@pytest.mark.parametrize(
    ("expire_s", "age", "expired", "near_expiry", "recently_updated"), load("expiry.json")["rows"]
)
def test_the_lifetime_of_a_user(
    expire_s: int, age: int, expired: bool, near_expiry: bool, recently_updated: bool
) -> None:
    timestamp = WALL - age

    assert expired == is_expired(timestamp, WALL, expire_s)
    assert near_expiry == is_near_expiry(timestamp, WALL, expire_s)
    assert recently_updated == is_recently_updated(timestamp, WALL, expire_s)


@pytest.mark.parametrize(
    ("expire_s", "margin_s"), [(10, 3), (39, 3), (40, 4), (299, 29), (300, 30), (900, 30)]
)
def test_the_margin_before_expiry(expire_s: int, margin_s: int) -> None:
    assert margin_s == expiry_margin_s(expire_s)
