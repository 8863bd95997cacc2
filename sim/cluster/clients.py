"""Login processes: at each node one that logs users in, again and again, whatever happens to it."""

from __future__ import annotations

import itertools
import os

import trio

from sim.cluster.auth import request
from sim.cluster.ledger import Answer, Ledger
from sim.cluster.lines import Lines
from sim.cluster.nodes import Node
from sim.randomness import Stream

BATCH_MAX = 20
PAUSE_S_MAX = 0.05
RETRY_S = 0.05
CONNECT_S = 5.0

_process_ids = itertools.count(os.getpid() * 1000 % 2**30)
"""The auth service refuses one that another live connection uses."""


_request_ids = itertools.count(1)


def all_users(count: int) -> list[str]:
    return [f"user{number}" for number in range(count)]


async def keep_logging_in(node: Node, users: list[str], stream: Stream, ledger: Ledger) -> None:
    """Log some users in at a time until cancelled."""
    while True:
        try:
            lines = await _connect(node)
        except OSError:
            await trio.sleep(RETRY_S)
            continue
        try:
            while True:
                batch = stream.sample(users, stream.integer(1, BATCH_MAX))
                await login(lines, node, batch, ledger)
                await trio.sleep(stream.uniform(0, PAUSE_S_MAX))
        except OSError:
            ledger.counts["login connections lost"] += 1
        finally:
            await lines.close()


async def login_everybody(node: Node, users: list[str], ledger: Ledger) -> dict[str, str]:
    """Log each user in once; return the host of each.

    Raises:
        OSError: the connection broke, or a login was not answered.
    """
    lines = await _connect(node)
    try:
        return await login(lines, node, users, ledger)
    finally:
        await lines.close()


async def login(lines: Lines, node: Node, users: list[str], ledger: Ledger) -> dict[str, str]:
    """Ask for all at a time; return when all are answered.

    Raises:
        OSError: the connection broke, or the node was well and did not answer in time.
    """
    asked_at = trio.current_time()
    waiting = {next(_request_ids): user for user in users}
    reached = {}
    try:
        await lines.send(b"".join(request(number, user) for number, user in waiting.items()))
        while waiting:
            with trio.move_on_after(ledger.limit_s) as scope:
                line = await lines.line()
            if scope.cancelled_caught:
                raise TimeoutError(f"{node.name}: no answer")
            verdict, number, *fields = line.decode().split("\t")
            user = waiting.pop(int(number))
            host = next((f[5:] for f in fields if f.startswith("host=")), "")
            reached[user] = host if verdict == "OK" else ""
            answer = Answer(
                node=node.name,
                host=reached[user],
                asked_at=asked_at,
                answered_at=trio.current_time(),
            )
            ledger.answered(user, answer, was_well=node.was_well_since(asked_at))
    except OSError:
        if node.was_well_since(asked_at):
            waited_s = trio.current_time() - asked_at
            for user in waiting.values():
                ledger.unanswered(user, node.name, waited_s)
        raise
    return reached


async def _connect(node: Node) -> Lines:
    with trio.move_on_after(CONNECT_S):
        lines = await Lines.connect(node.login_socket)
        try:
            await lines.send(b"VERSION\t1\t2\nCPID\t%d\n" % next(_process_ids))
            while await lines.line() != b"DONE":
                pass
        except BaseException:
            await lines.close()
            raise
        return lines
    raise TimeoutError(f"{node.name}: no greeting within {CONNECT_S:g} s")
