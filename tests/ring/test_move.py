"""Which of two moves of one user wins, and which move a report belongs to."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ring.hosts import MailHost, MailHosts
from ring.messages import Stamp, UserMove
from ring.move import Move, is_of, wins
from ring.state import Pool
from ring.users import UserTable
from tests.ring.rig import director

HOSTS = MailHosts()
LOW, HIGH, DOWN = (
    HOSTS.add(ip_address(f"10.1.0.{n}"), tag=b"", hostname=b"", weight=weight)
    for n, weight in ((1, 100), (2, 100), (0, 0))
)
POOL = Pool(tag=b"", table=UserTable(HOSTS))
FIRST, SECOND = (Stamp(origin=director(f"127.0.1.{n}"), sequence=n) for n in (1, 2))


def move_to(host: MailHost, after: Stamp | None = None) -> Move:
    return Move(
        pool=POOL, user_hash=5, old=None, is_ours=False, target=host, stamp=FIRST, after=after
    )


def message_to(host: MailHost, after: Stamp | None = None) -> UserMove:
    return UserMove(stamp=SECOND, user_hash=5, ip=host.ip, after=after)


@pytest.mark.parametrize(
    ("other", "known", "is_won"),
    [(LOW, HIGH, True), (HIGH, LOW, False), (DOWN, HIGH, False), (HIGH, DOWN, True)],
)
def test_move_to_a_usable_host_wins_then_the_one_to_the_lower_address(
    other: MailHost, known: MailHost, is_won: bool
) -> None:
    assert is_won is wins(other, message_to(other), move_to(known))


def test_move_whose_author_knew_of_the_other_wins() -> None:
    assert wins(HIGH, message_to(HIGH, after=FIRST), move_to(LOW))
    assert not wins(LOW, message_to(LOW), move_to(HIGH, after=SECOND))


def test_report_that_names_no_move_counts_for_any() -> None:
    assert is_of(None, move_to(LOW))
    assert is_of(FIRST, move_to(LOW))
    assert not is_of(SECOND, move_to(LOW))
