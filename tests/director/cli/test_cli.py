"""The command line as a whole: verbs are found, and statuses are sysexits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


def test_the_configuration_is_named_before_or_behind_the_verb(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "director.conf"
    path.write_text("director_mail_servers = 10.0.0.10\n")
    more = "director_user_expire=77 s"
    outputs = []
    for words in (
        ["check-config", "-c", str(path), "-o", more],
        ["-c", str(path), "-o", more, "check-config"],
        [f"-c{path}", "check-config", "-o", more],
    ):
        assert cli.run(words) == os.EX_OK
        outputs.append(capsys.readouterr().out)

    assert "director_user_expire = 77" in outputs[0]
    assert outputs[1:] == outputs[:1] * 2


@pytest.mark.slow
def test_a_reader_that_has_read_enough_is_no_error() -> None:
    """As in `director check-config | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "director", "check-config", "-o", "director_mail_servers=10.0.0.1"],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)

    assert (os.EX_OK, b"") == (done.returncode, done.stderr)
