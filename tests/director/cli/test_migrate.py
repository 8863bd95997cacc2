"""`director migrate`: a file or standard input, all parts or one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from director import cli

FIXTURE = Path(__file__).parents[1] / "fixtures" / "doveconf-n-2.3.conf"


def test_prints_every_part_by_default(capfd: pytest.CaptureFixture[str]) -> None:
    status = cli.run(["migrate", str(FIXTURE)])
    out = capfd.readouterr().out

    assert status == os.EX_OK
    assert out.index("# /etc/ringdirector/") < out.index("login_socket_path = ext/director")
    assert "# doveconf:51:1: take out service director" in out


@pytest.mark.parametrize(
    ("part", "first_line"),
    [
        ("director", "# /etc/ringdirector/director.conf"),
        ("proxy", "# /etc/dovecot/conf.d/director.conf for Dovecot 2.4"),
        ("findings", "# doveconf:7:25: Dovecot 2.4 refuses"),
    ],
)
def test_prints_one_part(part: str, first_line: str, capfd: pytest.CaptureFixture[str]) -> None:
    status = cli.run(["migrate", "--part", part, str(FIXTURE)])

    assert status == os.EX_OK
    assert capfd.readouterr().out.startswith(first_line)


def test_refuses_what_is_no_director(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "n.conf").write_text("# 2.3.19.1 (x): y\nprotocols = imap\n")
    status = cli.run(["migrate", str(tmp_path / "n.conf")])

    assert status == os.EX_CONFIG
    assert "expected the addresses of the backends" in capfd.readouterr().err
