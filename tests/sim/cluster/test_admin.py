"""What a node says of itself, asked as doveadm asks."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from sim.cluster.admin import GREETING, State, administrator
from sim.cluster.lines import Lines
from tests.sim.cluster.rig import served

ANSWERS = {
    b"DIRECTOR-LIST": (
        b"10.1.0.1\t9090\tself\t0\tring synced\t0\n"
        b"10.1.0.2\t9090\tleft\t0\tsynced\t1\n"
        b"10.1.0.2\t9090\tright\t0\tsynced\t1\n"
        b"10.1.0.9\t9090\tremoved\t0\t\t0\n\n"
    ),
    b"HOST-LIST": b"10.0.0.1\t100\t5\t\tU\t0\n10.0.0.2\t50\t0\ttag\tD\t0\n\n",
    b"USER-LIST": b"123\t1790000000\t10.0.0.1\t0\n\n",
}


async def answer(lines: Lines) -> None:
    assert GREETING == await lines.line() + b"\n"
    await lines.send(GREETING)
    while True:
        await lines.send(ANSWERS[await lines.line()])


async def test_a_node_is_asked_for_members_hosts_and_users(directory: Path) -> None:
    async with (
        served(directory / "director-admin", answer),
        administrator(directory / "director-admin", 5.0) as admin,
    ):
        state = await admin.state()

    assert state == State(
        is_synced=True,
        members=frozenset({"10.1.0.1", "10.1.0.2"}),
        neighbours=frozenset({"left", "right"}),
        hosts=(("10.0.0.1", "100", "", "U"), ("10.0.0.2", "50", "tag", "D")),
        users={"123": "10.0.0.1"},
    )


async def test_whoever_does_not_answer_in_time_is_an_os_error(
    directory: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async def silent(lines: Lines) -> None:
        await lines.line()
        await trio.sleep_forever()

    async with served(directory / "director-admin", silent):
        with pytest.raises(TimeoutError, match=r"director-admin: no answer within 5 s"):
            async with administrator(directory / "director-admin", 5.0) as admin:
                await admin.state()

    assert 5.0 == pytest.approx(autojump_clock.current_time(), abs=0.1)
