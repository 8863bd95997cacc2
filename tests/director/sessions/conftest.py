"""One desk per test, closed after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.director.sessions.rig import Desk, End


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    desk.start_auth()
    yield desk
    desk.close()


@pytest.fixture
def pair(desk: Desk) -> tuple[End, End]:
    """A login process and the auth service's end behind it."""
    return desk.connect(), desk.accept_auth()
