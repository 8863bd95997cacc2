"""The command around the demo; the story itself has tests of its own."""

from __future__ import annotations

import os

import pytest

from director import cli


@pytest.mark.skipif(os.geteuid() == 0, reason="root may start Dovecot")
def test_real_dovecots_need_root(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.run(["demo", "--dovecot"])

    assert status == os.EX_UNAVAILABLE
    assert "only root can start it" in capsys.readouterr().err


def test_help_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.run(["demo", "--help"])

    assert status == os.EX_OK
    assert "a backend that dies" in capsys.readouterr().out
