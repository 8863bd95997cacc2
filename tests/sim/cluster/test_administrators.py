"""Administrators at a node whose director is a script."""

from __future__ import annotations

from pathlib import Path

import trio
import trio.testing

from sim.cluster.administrators import Administrators
from sim.cluster.ledger import Ledger
from sim.cluster.lines import Lines
from sim.randomness import Stream
from tests.sim.cluster.rig import Script, make_node, served

HOSTS = ["10.0.0.1", "10.0.0.2"]


async def work(
    directory: Path, script: Script, seconds: float, *, has_flushes: bool = False
) -> Administrators:
    """Let one administrator type for so long at a node that was well all the time."""
    node = make_node(directory)
    node.is_well = True
    administrators = Administrators(
        nodes=[node],
        hosts=HOSTS,
        users=["alice"],
        ledger=Ledger(limit_s=5.0),
        has_flushes=has_flushes,
    )
    async with served(node.run / "director-admin", script):
        with trio.move_on_after(seconds):
            await administrators.work(Stream(1, "administrator"))
    return administrators


def answering(answer: bytes, heard: list[list[str]]) -> Script:
    async def script(lines: Lines) -> None:
        await lines.line()
        await lines.send(b"VERSION\tdirector-doveadm\t1\t0\n")
        while True:
            heard.append((await lines.line()).decode().split("\t"))
            await lines.send(answer)

    return script


async def test_all_commands_are_typed_and_their_answers_counted(
    directory: Path, autojump_clock: trio.testing.MockClock
) -> None:
    heard: list[list[str]] = []
    administrators = await work(directory, answering(b"OK\n", heard), 60.0)
    verbs = {words[0] for words in heard}

    assert {"USER-MOVE", "HOST-SET", "HOST-UPDATE", "HOST-DOWN", "HOST-UP"} < verbs
    assert {"HOST-REMOVE", "HOST-RESET-USERS"} < verbs
    assert {"OK": len(heard)} == administrators.answers
    assert [] == administrators.ledger.broken


async def test_one_host_is_always_left_alone(
    directory: Path, autojump_clock: trio.testing.MockClock
) -> None:
    heard: list[list[str]] = []
    await work(directory, answering(b"OK\n", heard), 60.0)

    assert {HOSTS[1]} == {words[1] for words in heard if words[0].startswith("HOST")}


async def test_only_some_have_the_habit_to_flush(
    directory: Path, autojump_clock: trio.testing.MockClock
) -> None:
    heard: list[list[str]] = []
    (directory / "one").mkdir()
    (directory / "two").mkdir()
    await work(directory / "one", answering(b"OK\n", heard), 60.0)
    assert "HOST-FLUSH" not in {words[0] for words in heard}
    await work(directory / "two", answering(b"OK\n", heard), 60.0, has_flushes=True)

    assert "HOST-FLUSH" in {words[0] for words in heard}


async def test_an_answer_that_no_director_gives_is_blamed(
    directory: Path, autojump_clock: trio.testing.MockClock
) -> None:
    administrators = await work(directory, answering(b"PERHAPS\n", []), 1.2)

    assert administrators.ledger.broken
    assert "answered 'PERHAPS'" in administrators.ledger.broken[0]


async def test_a_node_that_was_well_and_does_not_answer_is_blamed(
    directory: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async def hang_up(lines: Lines) -> None:
        await lines.line()

    administrators = await work(directory, hang_up, 1.2)

    assert administrators.answers["no answer"] == len(administrators.ledger.broken) > 0
    assert "127.0.3.1: closed by the director" in administrators.ledger.broken[0]
