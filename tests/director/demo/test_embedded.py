"""The whole story among stand-ins, with a real daemon."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest
import trio

from director.demo.embedded import play_embedded

pytestmark = pytest.mark.slow


async def test_the_story_ends_well() -> None:
    # Not tmp_path: paths of unix sockets must stay short.
    with tempfile.TemporaryDirectory(prefix="d-") as directory:
        said: list[str] = []
        with trio.fail_after(30):
            outcome = await play_embedded(Path(directory), said.append)

    assert [check.sentence for check in outcome.checks if not check.is_held] == []
    assert outcome.is_good
    assert any(line.startswith("$ director flush") for line in said)


async def test_the_command_leaves_nothing_behind() -> None:
    with tempfile.TemporaryDirectory(prefix="d-") as directory, trio.fail_after(30):
        result = await trio.run_process(
            [sys.executable, "-m", "director", "demo"],
            capture_stdout=True,
            check=False,
            env={**os.environ, "TMPDIR": directory},
        )
        left = [entry.name for entry in Path(directory).iterdir()]  # noqa: ASYNC240

    assert result.returncode == 0
    assert left == []
    assert b"nothing is left behind" in result.stdout
