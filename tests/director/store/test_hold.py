"""One process at a time writes a snapshot."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from director.store.hold import Hold


async def test_second_waits_until_the_first_is_gone(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    first, second = Hold(tmp_path / "lock"), Hold(tmp_path / "lock")

    assert await first.take(0)
    assert not await second.take(5)
    assert not second.is_held

    async with trio.open_nursery() as nursery:
        nursery.start_soon(second.take, 5)
        await trio.sleep(1)
        first.release()
        first.release()

    assert second.is_held

    second.release()


async def test_lock_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await Hold(tmp_path / "no" / "lock").take(5)
