"""Streams to Dovecot's services: real sockets, a scripted peer at the other end."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from director.streams import LineReader, connect_unix
from ring.errors import LimitExceeded


async def test_lines_come_in_batches_and_across_reads() -> None:
    writer, stream = trio.testing.memory_stream_one_way_pair()
    reader = LineReader(stream, 10, "peer")
    await writer.send_all(b"one\ntwo\nth")

    assert await reader.lines() == [b"one", b"two"]

    await writer.send_all(b"ree\n\n")

    assert await reader.lines() == [b"three", b""]

    await writer.aclose()

    assert await reader.lines() == []


async def test_line_without_end_is_refused() -> None:
    writer, stream = trio.testing.memory_stream_one_way_pair()
    await writer.send_all(b"x" * 11)
    with pytest.raises(LimitExceeded, match="peer: a line is longer than 10 bytes: xxx"):
        await LineReader(stream, 10, "peer").lines()


async def test_missing_socket_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"connect\(.*/nothing\) failed: No such file"):
        await connect_unix(tmp_path / "nothing")
