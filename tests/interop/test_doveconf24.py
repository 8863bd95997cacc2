"""Dovecot 2.4's own doveconf takes what we tell operators to write."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from director.migrate import migrate

pytestmark = pytest.mark.interop24

ROOT = Path(__file__).parents[2]
PROXY = ROOT / "conf" / "dovecot-2.4" / "director.conf"
SERVICE = PROXY.with_name("director-service.conf")
FIXTURE = ROOT / "tests" / "director" / "fixtures" / "doveconf-n-2.3.conf"
HEADER = (
    "dovecot_config_version = 2.4.1\ndovecot_storage_version = 2.4.1\n"
    "protocols = imap pop3 lmtp submission sieve\n"
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A private directory inside the chroot."""
    with tempfile.TemporaryDirectory(dir=Path(os.environ["DOVECOT24_CHROOT"], "tmp")) as name:
        yield Path(name)


@pytest.mark.parametrize(
    ("text", "login_socket"),
    [
        (PROXY.read_text(), "ext/director"),
        (re.sub("(?m)^  #(?=inet_|  listen|  port|})", "  ", SERVICE.read_text()), "director"),
        (migrate(FIXTURE.read_text()).proxy, "ext/director"),
    ],
    ids=["conf", "service", "migrate"],
)
def test_dovecot_24_takes_our_lines(text: str, login_socket: str, folder: Path) -> None:
    chroot = os.environ["DOVECOT24_CHROOT"]
    (folder / "dovecot.conf").write_text(HEADER + text)
    inside = "/" + str((folder / "dovecot.conf").relative_to(chroot))
    done = subprocess.run(
        ["chroot", chroot, "doveconf", "-n", "-c", inside],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == ""
    assert done.returncode == 0
    assert f"login_socket_path = {login_socket}" in done.stdout
