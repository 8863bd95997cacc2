"""One real Dovecot instance: own base_dir, own configuration file, own log, in the foreground.

Nothing of the system's Dovecot is read or touched: neither its configuration nor its service.
"""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from tests.interop.lab import Lab
from tests.interop.programs import Program, signal_nowait, wait_until

DOVECOT = "/usr/sbin/dovecot"
DOVEADM = "/usr/bin/doveadm"
START_TIMEOUT_S = 30.0
NOBODY = 65534


def common_settings(directory: Path, *, name: str, addresses: list[str], protocols: str) -> str:
    """Return the part of a configuration that backends and proxies share."""
    return f"""\
base_dir = {directory}/run
state_dir = {directory}/state
instance_name = {name}
log_path = {directory}/log
info_log_path = {directory}/log
log_timestamp = "%Y-%m-%d %H:%M:%S.%{{usecs}} "
protocols = {protocols}
listen = {", ".join(addresses)}
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
first_valid_uid = 1
mail_max_userip_connections = 10000
default_client_limit = 4000
doveadm_password = lab
auth_failure_delay = 0
"""


def login_service(service: str, *, listener: str, port: int, settings: str) -> str:
    """Return the block of one login service, without its TLS-only twin listener."""
    twin = f"  inet_listener {listener}s {{\n    port = 0\n  }}\n"
    return f"""\
service {service} {{
{settings}
  inet_listener {listener} {{
    port = {port}
  }}
{twin if listener in ("imap", "pop3") else ""}}}
"""


class Dovecot:
    """A started instance; `configuration` is complete."""

    def __init__(self, lab: Lab, name: str, configuration: str) -> None:
        self._entrance = lab.entrance
        self.directory = directory_of(lab, name)
        self.configuration_file = self.directory / "dovecot.conf"
        self.configuration_file.write_text(configuration)
        self.log = self.directory / "log"
        self.run = self.directory / "run"
        for writable in ("mail", "home"):
            (self.directory / writable).mkdir(exist_ok=True)
            (self.directory / writable).chmod(0o777)
        self.program: Program | None = None
        lab.keep(self)

    def start(self) -> None:
        assert self.program is None
        self.run.mkdir(exist_ok=True)
        program = Program(
            [*self._entrance, DOVECOT, "-F", "-c", str(self.configuration_file)],
            log=self.directory / "output",
        )
        self.program = program

        def is_ready() -> bool:
            if not program.is_running:
                said = program.log.read_text() + self.log_text()
                raise AssertionError(f"Dovecot did not start:\n{said}")
            return (self.run / "master.pid").exists() and "starting up" in self.log_text()

        wait_until(is_ready, START_TIMEOUT_S, f"start of {self.directory}")

    @property
    def is_running(self) -> bool:
        return self.program is not None

    def stop(self) -> None:
        assert self.program is not None
        program, self.program = self.program, None
        program.stop()
        self.forget_run()

    def kill(self) -> None:
        """The machine loses power: SIGKILL for the master and all its children."""
        assert self.program is not None
        program, self.program = self.program, None
        program.kill()
        self.forget_run()

    def forget_run(self) -> None:
        (self.run / "master.pid").unlink(missing_ok=True)
        rotated = self.log.with_name(f"log.{len(list(self.directory.glob('log*')))}")
        if self.log.exists():
            self.log.rename(rotated)

    def service_pid(self, name: str) -> int:
        """Return the process id of a child like `auth` or `imap-login`, 0 if none runs."""
        assert self.program is not None
        return self.program.member_pid(name)

    def end_service(self, name: str) -> None:
        """End one child and wait until it is gone; the master starts another when needed."""
        pid = self.service_pid(name)
        assert pid, f"no {name} process runs in {self.directory}"
        signal_nowait(pid, signal.SIGTERM)
        wait_until(lambda: self.service_pid(name) != pid, 10.0, f"end of {name} {pid}")

    def log_text(self) -> str:
        """Return everything this instance has logged, restarts included."""
        files = sorted(self.directory.glob("log*"), key=lambda file: file.stat().st_mtime)
        return "".join(file.read_text(errors="replace") for file in files)

    def doveadm(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._entrance, DOVEADM, "-c", str(self.configuration_file), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def directory_of(lab: Lab, name: str) -> Path:
    directory = lab.directory / name
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)
    return directory
