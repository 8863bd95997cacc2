"""The command around the demo; the story itself has tests of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from director import cli
from director.cli import demo as _imported_while_root_may_read_it  # noqa: F401

NOBODY = 65534


@pytest.fixture
def ordinary_person() -> Iterator[None]:
    """Whoever runs the test is not root while it lasts."""
    euid = os.geteuid()
    if euid == 0:
        os.seteuid(NOBODY)
    yield
    os.seteuid(euid)


@pytest.mark.usefixtures("ordinary_person")
def test_real_dovecots_need_root(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.run(["demo", "--dovecot"])

    assert status == os.EX_UNAVAILABLE
    assert "only root can start it" in capsys.readouterr().err


def test_help_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.run(["demo", "--help"])

    assert status == os.EX_OK
    assert "a backend that dies" in capsys.readouterr().out
