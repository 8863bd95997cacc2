"""The keeper as a service: ready when it listens, and never done."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from director import cli
from director.sessions import keeping
from tests.director.keepers import TIMEOUT_S, Daemon
from tests.director.process import command


@pytest.mark.slow
def test_it_says_that_it_is_ready_and_stays(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.settimeout(TIMEOUT_S)
        notify.bind(str(tmp_path / "notify"))
        words = ("keep", "-o", f"base_dir={tmp_path}", "-o", "director_mail_servers=10.0.0.1")
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        with subprocess.Popen(command(*words), env=environment) as keeper:
            said = notify.recv(4096)
            for _ in range(2):  # nothing was kept, and it is still there
                Daemon.of(keeping.name_of(tmp_path)).hear().die()
            keeper.terminate()

    assert said.startswith(b"READY=1")


def test_one_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with keeping.listen(keeping.name_of(tmp_path)):
        status = cli.run(
            ["keep", "-o", f"base_dir={tmp_path}", "-o", "director_mail_servers=10.0.0.1"]
        )

    assert status == os.EX_UNAVAILABLE
    assert f"there is a keeper for {tmp_path}" in capsys.readouterr().err
