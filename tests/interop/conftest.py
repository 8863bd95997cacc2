"""Shows what the real programs logged when a test with them fails."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.interop.lab import LIVE_LABS

LOG_TAIL_LINES = 12


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for lab in LIVE_LABS:
            for file in sorted(lab.directory.glob("*/*log*")):
                tail = file.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
                report.sections.append((f"{file.parent.name}/{file.name}", "\n".join(tail)))
    return report
