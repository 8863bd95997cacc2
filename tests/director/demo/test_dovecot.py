"""The same story with real Dovecots and a ring of two directors."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import trio

from director.demo.dovecot import play_with_dovecot


@pytest.mark.interop
@pytest.mark.slow
async def test_the_story_ends_well_with_real_dovecots() -> None:
    with tempfile.TemporaryDirectory(prefix="d-") as directory, trio.fail_after(60):
        outcome = await play_with_dovecot(Path(directory), lambda line: None)

    assert [check.sentence for check in outcome.checks if not check.is_held] == []
    assert outcome.is_good
