"""Lines over a unix socket, however they are cut, and errors of one kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.cluster.lines import Lines
from tests.sim.cluster.rig import served


async def test_lines_are_read_one_by_one_however_they_arrive(directory: Path) -> None:
    async def script(lines: Lines) -> None:
        await lines.send(b"one\ntwo\n\nth")
        await lines.line()
        await lines.send(b"ree\n")

    async with served(directory / "socket", script):
        lines = await Lines.connect(directory / "socket")
        assert [b"one", b"two", b""] == [await lines.line() for _ in range(3)]
        await lines.send(b"more\n")

        assert b"three" == await lines.line()
        await lines.close()


async def test_half_a_line_at_the_end_is_an_error(directory: Path) -> None:
    async def script(lines: Lines) -> None:
        await lines.send(b"half")

    async with served(directory / "socket", script):
        lines = await Lines.connect(directory / "socket")
        with pytest.raises(ConnectionError, match="closed by the director"):
            await lines.line()
        await lines.close()


async def test_a_connection_that_was_closed_is_an_error_of_the_same_kind(directory: Path) -> None:
    async def script(lines: Lines) -> None:
        await lines.line()

    async with served(directory / "socket", script):
        lines = await Lines.connect(directory / "socket")
        await lines.close()
        with pytest.raises(ConnectionError, match="sending failed"):
            await lines.send(b"anybody?\n")
        with pytest.raises(ConnectionError, match="receiving failed"):
            await lines.line()


async def test_nobody_there_is_an_os_error(directory: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await Lines.connect(directory / "nobody")
