"""What the tests of the command line share: one call of it, and everything that came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest

from director.cli import administration
from tests.director.cli.outcome import Outcome

Director: TypeAlias = Callable[..., Outcome]


@pytest.fixture
def director(
    capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Director:
    """Run `director WORDS...` in this process, without any configuration."""
    monkeypatch.setenv("DIRECTOR_CONFIG", "/dev/null")
    monkeypatch.setenv("TZ", "UTC")

    def call(*words: str) -> Outcome:
        status = administration.run(words, ("serve", "demo"))
        captured = capsysbinary.readouterr()
        return Outcome(status, captured.out.decode(), captured.err.decode())

    return call
