"""The command line as a whole: verbs are found, and statuses are sysexits."""

from __future__ import annotations

import os

import pytest

from director import cli


def test_version_names_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.run(["--version"])

    assert status == os.EX_OK
    assert capsys.readouterr().out.startswith("ringdirector, version ")


def test_wrong_usage_exits_as_doveadm_does(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.run(["no-such-verb"])

    assert status == os.EX_USAGE
    assert "no-such-verb" in capsys.readouterr().err


def test_every_verb_loads_and_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in cli.VERBS:
        status = cli.run([verb, "--help"])

        assert status == os.EX_OK
        assert f"Usage: director {verb}" in capsys.readouterr().out
