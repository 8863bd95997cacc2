"""`director check-config`: effective settings, refusals, explanations."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from director import cli
from director.definitions import BY_NAME


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("DIRECTOR_"):
            monkeypatch.delenv(name)


def test_prints_settings_of_file_and_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "d.conf"
    path.write_text("director_mail_servers = 10.0.0.1\ndirector_user_expire = 1 min\n")

    status = cli.run(["check-config", "-c", str(path), "-o", "director_user_expire = 2 min"])

    assert status == os.EX_OK
    assert "director_user_expire = 2 mins\n" in capsys.readouterr().out


def test_refused_configuration_has_its_own_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "d.conf"
    path.write_text("director_mail_servers = 10.0.0.1\ndirector_user_expire = 60\n")

    status = cli.run(["check-config", "-c", str(path)])

    assert status == os.EX_CONFIG
    expected = f"Configuration error: {path}:2:24: director_user_expire: got '60' without a unit"
    assert capsys.readouterr().err.startswith(expected)


def test_option_without_a_value_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.run(["check-config", "-o", "director_hash"])

    assert status == os.EX_USAGE
    assert "got 'director_hash', expected NAME=VALUE" in capsys.readouterr().err


def test_explains_one_setting_or_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["check-config", "--explain", "director_hash"]) == os.EX_OK
    assert "md5 | murmur3" in capsys.readouterr().out

    assert cli.run(["check-config", "--explain", "all"]) == os.EX_OK
    out = capsys.readouterr().out
    assert all(f"{name} =" in out for name in BY_NAME)

    assert cli.run(["check-config", "--explain", "x"]) == os.EX_USAGE
