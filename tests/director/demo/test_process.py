"""The director's own process: ready when it says so, and errors that say what went wrong."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import trio

from director.demo.process import Director, StoryFailed

pytestmark = pytest.mark.slow


async def test_it_answers_commands_once_it_is_started() -> None:
    with tempfile.TemporaryDirectory(prefix="d-") as directory, trio.fail_after(30):
        director = Director(Path(directory), ips=["10.0.0.1", "10.0.0.2"])
        async with trio.open_nursery() as nursery:
            await nursery.start(director.run)
            status = await director.command("status")
            with pytest.raises(StoryFailed, match=r"director down 10\.9\.9\.9: "):
                await director.command("down", "10.9.9.9")
            nursery.cancel_scope.cancel()

    assert "10.0.0.1" in status
    assert "10.0.0.2" in status


async def test_a_daemon_that_does_not_start_is_explained() -> None:
    with tempfile.TemporaryDirectory(prefix="d-") as directory:
        director = Director(Path(directory), ips=["10.0.0.1"])
        director.config.write_text("director_mail_servers =\n")
        with pytest.raises(StoryFailed, match="director_mail_servers"):
            await director.run()
