"""The command that becomes the daemon; the daemon itself is in test_daemon.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from director import cli


def test_a_wrong_configuration_ends_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "director.conf"
    config.write_text("director_mail_servers = 10.0.0.1\ndirector_user_expire = soon\n")
    status = cli.run(["serve", "-c", str(config)])

    assert status == os.EX_CONFIG
    assert "director.conf:2:" in capsys.readouterr().err


def test_an_option_without_a_value_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.run(["serve", "-o", "director_user_expire"])

    assert status == os.EX_USAGE
    assert "NAME=VALUE" in capsys.readouterr().err
