"""Our daemon as a child of Dovecot's master: started, heard, replaced at a reload, gone at the end.

Whether logins work through it is test_logins.py's business.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.dovecot import Dovecot, common_settings, directory_of
from tests.interop.lab import Lab
from tests.interop.programs import wait_until
from tests.interop.proxies import CHECKOUT, director_command

pytestmark = [pytest.mark.interop, pytest.mark.slow]

WAIT_S = 30.0


def configuration(lab: Lab) -> str:
    directory = directory_of(lab, "master")
    script = directory / "director"
    command = " ".join(director_command("serve", "-c", str(directory / "dovecot.conf")))
    script.write_text(f"#!/bin/sh\nexport PYTHONPATH={CHECKOUT}\nexec {command}\n")
    script.chmod(0o755)
    return (
        common_settings(directory, name="master", addresses=[lab.address()], protocols="")
        + f"""\
director_mail_servers = 10.0.0.1-10.0.0.3
service director {{
  executable = {script}
  process_min_avail = 1
  client_limit = 4000
  unix_listener login/director {{
    mode = 0666
  }}
  unix_listener director-userdb {{
    mode = 0600
  }}
  fifo_listener login/proxy-notify {{
    mode = 0666
  }}
}}
"""
    )


def starts(dovecot: Dovecot) -> int:
    return dovecot.log_text().count("director: Info: daemon_started ")


def test_the_master_starts_it_replaces_it_and_takes_it_along() -> None:
    with Lab() as lab:
        dovecot = Dovecot(lab, "master", configuration(lab))
        dovecot.start()
        wait_until(lambda: starts(dovecot) == 1, WAIT_S, "first start")
        program = dovecot.program
        assert program is not None
        first = program.member_pid("director")
        wait_until(lambda: not is_root(first), WAIT_S, "end of root")
        reload = dovecot.doveadm("reload")
        wait_until(lambda: starts(dovecot) == 2, WAIT_S, "second start")
        wait_until(lambda: first not in program.members(), WAIT_S, "end of the first")
        dovecot.stop()
        log = dovecot.log_text()

    assert reload.returncode == 0
    assert log.count("daemon_stopped reason=") == 2
    assert [line for line in log.splitlines() if "director: Error" in line] == []


def is_root(pid: int) -> bool:
    lines = Path("/proc", str(pid), "status").read_text().splitlines()
    return "0" in next(line for line in lines if line.startswith("Uid:")).split()[1:]
