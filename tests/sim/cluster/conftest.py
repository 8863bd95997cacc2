"""A directory for sockets, and servers that do as a test says."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest


@pytest.fixture
def directory() -> Generator[Path, None, None]:
    # Not tmp_path: the path of a unix socket is short.
    path = Path(tempfile.mkdtemp(prefix="cluster-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)
