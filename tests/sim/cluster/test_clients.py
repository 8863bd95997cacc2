"""Logins at a node whose director is a script: who is sent where, and what the ledger learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from sim.cluster.clients import all_users, keep_logging_in, login_everybody
from sim.cluster.ledger import Ledger
from sim.cluster.lines import Lines
from sim.randomness import Stream
from tests.sim.cluster.rig import make_node, served


async def greet(lines: Lines) -> None:
    assert [b"VERSION\t1\t2", b"CPID"] == [await lines.line(), (await lines.line())[:4]]
    await lines.send(b"VERSION\t1\t2\nSPID\t1\nDONE\n")


async def send_to_the_host(lines: Lines) -> None:
    """Everybody goes to one host; a request whose number can be divided by 3 is refused."""
    await greet(lines)
    while True:
        word, number, *_ = (await lines.line()).split(b"\t")
        assert b"AUTH" == word
        is_refused = int(number) % 3 == 0
        await lines.send(b"%s\t%s\thost=10.0.0.1\n" % (b"FAIL" if is_refused else b"OK", number))


async def test_everybody_is_logged_in_once(directory: Path) -> None:
    node, ledger = make_node(directory), Ledger(limit_s=5.0)
    async with served(node.login_socket, send_to_the_host):
        reached = await login_everybody(node, all_users(30), ledger)

    assert all_users(30) == list(reached)
    assert 10 == list(reached.values()).count("")
    assert 20 == list(reached.values()).count("10.0.0.1")
    assert (30, 10) == (ledger.counts["logins"], ledger.counts["logins refused"])


async def hang_up_on_requests(lines: Lines) -> None:
    await greet(lines)
    await lines.line()


async def test_a_node_that_was_well_and_hangs_up_is_blamed(directory: Path) -> None:
    node, ledger = make_node(directory), Ledger(limit_s=5.0)
    node.is_well = True
    async with served(node.login_socket, hang_up_on_requests):
        with pytest.raises(ConnectionError):
            await login_everybody(node, ["alice"], ledger)

    assert 1 == len(ledger.broken)
    assert node.name in ledger.broken[0]


async def test_a_node_that_was_ill_may_hang_up(directory: Path) -> None:
    node, ledger = make_node(directory), Ledger(limit_s=5.0)
    async with served(node.login_socket, hang_up_on_requests):
        with pytest.raises(ConnectionError):
            await login_everybody(node, ["alice"], ledger)

    assert [] == ledger.broken


async def test_a_login_is_not_waited_for_longer_than_the_limit(
    directory: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async def say_nothing(lines: Lines) -> None:
        await greet(lines)
        await trio.sleep_forever()

    node, ledger = make_node(directory), Ledger(limit_s=30.0)
    async with served(node.login_socket, say_nothing):
        with pytest.raises(TimeoutError, match="no answer"):
            await login_everybody(node, ["alice"], ledger)

    assert 30.0 == pytest.approx(autojump_clock.current_time(), abs=0.1)


async def test_logins_go_on_when_a_connection_is_lost(
    directory: Path, autojump_clock: trio.testing.MockClock
) -> None:
    turns = iter([hang_up_on_requests, hang_up_on_requests, send_to_the_host])

    async def take_turns(lines: Lines) -> None:
        await next(turns)(lines)

    node, ledger = make_node(directory), Ledger(limit_s=30.0)
    async with served(node.login_socket, take_turns):
        with trio.move_on_after(1.0):
            await keep_logging_in(node, all_users(5), Stream(1, "clients"), ledger)

    assert 2 == ledger.counts["login connections lost"]
    assert ledger.counts["logins"] > 20


async def test_a_node_that_is_not_there_is_tried_until_it_is(
    directory: Path, autojump_clock: trio.testing.MockClock
) -> None:
    node, ledger = make_node(directory), Ledger(limit_s=30.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_logging_in, node, all_users(5), Stream(1, "clients"), ledger)
        await trio.sleep(1.0)
        assert 0 == ledger.counts["logins"]
        async with served(node.login_socket, send_to_the_host):
            await trio.sleep(1.0)
        nursery.cancel_scope.cancel()

    assert ledger.counts["logins"] > 20
