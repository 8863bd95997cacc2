"""Shows what the real programs logged when a test with them fails."""

from __future__ import annotations

from tests.interop.conftest import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]
