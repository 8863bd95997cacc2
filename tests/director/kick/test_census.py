"""How many sessions lead where: counted once for all who ask meanwhile."""

from __future__ import annotations

import ipaddress

import trio
import trio.testing

from director.kick.census import Census, counts_lines
from director.kick.listing import LiveSession
from director.kick.queue import KickFailed


def session(user_hash: int, ip: str) -> LiveSession:
    return LiveSession(
        user=b"",
        user_hash=user_hash,
        ip=ipaddress.ip_address(ip),
        service=b"imap",
        is_ours=True,
        alternatives=(),
        pid=0,
        guid=b"",
    )


SESSIONS = [
    session(1, "10.0.0.9"),
    session(1, "10.0.0.9"),
    session(2, "10.0.0.9"),
    session(2, "fd00::1"),
]
LINES = b"10.0.0.9\t3\t2\nfd00::1\t1\t1\n"


def test_sessions_and_their_users_are_counted_by_address() -> None:
    assert counts_lines(SESSIONS) == LINES


async def test_who_asks_meanwhile_shares_the_next_list() -> None:
    lists_count = 0
    told: list[tuple[str, bytes]] = []

    async def list_live() -> list[LiveSession]:
        nonlocal lists_count
        lists_count += 1
        if lists_count == 1:
            census.ask(lambda reply: told.append(("second", reply)))
            census.ask(lambda reply: told.append(("third", reply)))
        await trio.lowlevel.checkpoint()
        return SESSIONS

    census = Census(list_live)
    census.ask(lambda reply: told.append(("first", reply)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(census.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert told == [(name, LINES + b"\n") for name in ("first", "second", "third")]
    assert lists_count == 2


async def test_the_reason_is_told_if_dovecot_does_not_say() -> None:
    told: list[bytes] = []

    async def list_live() -> list[LiveSession]:
        await trio.lowlevel.checkpoint()
        raise KickFailed("no\tanvil")

    census = Census(list_live)
    census.ask(told.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(census.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert told == [b"ERROR\tno\x01tanvil\n\n"]
