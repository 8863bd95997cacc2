"""A proxy: real Dovecot login processes, lmtp and doveadm, with one of three directors behind them.

REAL is Dovecot's own director and the oracle: every test that runs with it proves that the
harness expects the right thing. UNDER_MASTER is ours in the place of the original, started by
Dovecot's master (dovecot-2.4-plug.md section 8.2). STANDALONE is ours on its own with its sockets
below base_dir/login/ext (section 8.3), which survives a restart of Dovecot.

Our director reads the same settings from the same syntax: under the master even the same file.
"""

from __future__ import annotations

import enum
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import attrs

from tests.interop.admin_client import AdminClient, DirectorRow
from tests.interop.backends import (
    PROBE_SUBJECT,
    mail_storage,
    make_maildir,
    put_message,
    self_description,
)
from tests.interop.clients import PASSWORD
from tests.interop.dovecot import Dovecot, common_settings, directory_of, login_service
from tests.interop.lab import Lab
from tests.interop.loopback import (
    DOVEADM_PORT,
    IMAP_PORT,
    LMTP_PORT,
    POP3_PORT,
    RING_PORT,
    SIEVE_PORT,
    SUBMISSION_PORT,
)
from tests.interop.programs import Program, signal_nowait, wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
LOCAL = "local"
"""What the proxy calls itself when a login was not proxied."""

PORTS = {
    "imap": IMAP_PORT,
    "pop3": POP3_PORT,
    "submission": SUBMISSION_PORT,
    "sieve": SIEVE_PORT,
    "lmtp": LMTP_PORT,
    "doveadm": DOVEADM_PORT,
}
LOGIN_SERVICES = {
    "imap-login": ("imap", IMAP_PORT),
    "pop3-login": ("pop3", POP3_PORT),
    "submission-login": ("submission", SUBMISSION_PORT),
    "managesieve-login": ("sieve", SIEVE_PORT),
}
ONE_PROCESS = "  service_count = 0\n  process_min_avail = 1\n  process_limit = 1\n"
START_TIMEOUT_S = 30.0


class DirectorKind(enum.Enum):
    REAL = "real"
    UNDER_MASTER = "ours-under-master"
    STANDALONE = "ours-standalone"


@attrs.frozen(kw_only=True)
class ProxySettings:
    """`director` are director_* settings by name, `users` passdb fields by user name.

    `is_ring_member`: the director gets a ring listener on the proxy's address. `accepts_everybody`:
    a user whom `users` does not name is proxied, with any password. `is_busy`: one login process
    serves all clients, instead of one process per client (Dovecot's default).
    """

    kind: DirectorKind
    director: Mapping[str, str]
    users: Mapping[str, str] = attrs.Factory(dict)
    protocols: tuple[str, ...] = ("imap", "pop3", "submission", "sieve", "lmtp")
    is_ring_member: bool = False
    accepts_everybody: bool = False
    is_busy: bool = False


class Proxy:
    """Not started by construction, so that a ring can be told its members first."""

    def __init__(self, lab: Lab, name: str, ip: str, settings: ProxySettings) -> None:
        self.ip = ip
        self.ring_port = RING_PORT
        self.name = name
        self.settings = settings
        self._lab = lab
        self._directory = directory_of(lab, name)
        self.dovecot = Dovecot(lab, name, self._dovecot_configuration())
        self.program: Program | None = None
        self._write_users()

    # --- life -----------------------------------------------------------------------------

    def start(self) -> None:
        self.dovecot.start()
        self.start_director()

    def start_director(self) -> None:
        """Start what answers director-admin; return when it does."""
        if self.settings.kind is DirectorKind.STANDALONE:
            assert self.program is None
            (self.dovecot.run / "login" / "ext").mkdir(mode=0o755, exist_ok=True)
            file = self._directory / "director.conf"
            file.write_text(
                f"base_dir = {self.dovecot.run}\n"
                + self._director_settings()
                + self._director_service()
            )
            self.program = self._lab.keep(
                Program(
                    director_command("serve", "-c", str(file)),
                    log=self._directory / "director.log",
                    environment={**os.environ, "PYTHONPATH": str(CHECKOUT)},
                )
            )
        self.wait_answering()

    def wait_answering(self) -> None:
        def is_answering() -> bool:
            if self.program is not None and not self.program.is_running:
                raise AssertionError(f"the director did not start:\n{self.log_text()}")
            with self.admin():
                return True

        wait_until(is_answering, START_TIMEOUT_S, f"director of {self.name}")

    def stop_director(self) -> None:
        """End the director cleanly. Under a master a new one starts with the next connection."""
        if self.program is not None:
            program, self.program = self.program, None
            program.stop()
        else:
            self._end_child(signal.SIGTERM)

    def kill_director(self) -> None:
        if self.program is not None:
            program, self.program = self.program, None
            program.kill()
        else:
            self._end_child(signal.SIGKILL)

    def pause_director(self) -> None:
        signal_nowait(self.director_pid, signal.SIGSTOP)

    def resume_director(self) -> None:
        signal_nowait(self.director_pid, signal.SIGCONT)

    def restart_director(self) -> None:
        self.stop_director()
        if self.settings.kind is DirectorKind.STANDALONE:
            self.start_director()
        else:
            self.wait_answering()

    def stop(self) -> None:
        if self.program is not None:
            self.stop_director()
        self.dovecot.stop()

    def kill(self) -> None:
        if self.program is not None:
            self.kill_director()
        self.dovecot.kill()

    @property
    def director_pid(self) -> int:
        if self.program is not None:
            return self.program.pid
        if self.settings.kind is DirectorKind.REAL:
            return self.dovecot.service_pid("director")
        return self.dovecot.service_pid("python") or self.dovecot.service_pid("director")

    def _end_child(self, number: signal.Signals) -> None:
        pid = self.director_pid
        assert pid, f"no director runs in {self._directory}"
        signal_nowait(pid, number)
        wait_until(lambda: self.director_pid != pid, START_TIMEOUT_S, f"end of director {pid}")

    # --- questions ------------------------------------------------------------------------

    @property
    def login_socket(self) -> Path:
        return self.dovecot.run / "login" / self._login_argument

    @property
    def userdb_socket(self) -> Path:
        return self.dovecot.run / "director-userdb"

    @property
    def admin_socket(self) -> Path:
        return self.dovecot.run / "director-admin"

    def admin(self) -> AdminClient:
        return AdminClient(self.admin_socket)

    def doveadm_director(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Dovecot's own `doveadm director`, which cannot tell the three kinds apart."""
        return self.dovecot.doveadm("director", *arguments)

    def director(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run our own command line."""
        return subprocess.run(
            director_command(*arguments),
            cwd="/",
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def directors(self) -> list[DirectorRow]:
        with self.admin() as admin:
            return admin.directors()

    def put_probe_message(self, user: str) -> None:
        """Give a user who lives on the proxy itself a message that says so."""
        put_message(self._directory / "mail" / LOCAL / user, f"{PROBE_SUBJECT}{LOCAL}\n\n")

    def log_text(self) -> str:
        file = self._directory / "director.log"
        own = file.read_text(errors="replace") if file.exists() else ""
        return self.dovecot.log_text() + own

    # --- configuration --------------------------------------------------------------------

    @property
    def _login_argument(self) -> str:
        return "ext/director" if self.settings.kind is DirectorKind.STANDALONE else "director"

    def _write_users(self) -> None:
        """One password file per service, because the port to proxy to differs."""
        for service, port in PORTS.items():
            lines = [
                f"{user}:{{PLAIN}}{PASSWORD}::::::{fields}"
                + (f" port={port}" if "proxy" in fields.split("=")[0] else "")
                for user, fields in self.settings.users.items()
            ]
            (self._directory / f"passwd.{service}").write_text("\n".join(lines) + "\n")
        make_maildir(self._directory / "mail" / LOCAL)

    def _dovecot_configuration(self) -> str:
        mode = ONE_PROCESS if self.settings.is_busy else ""
        everybody = (
            f"passdb {{\n  driver = static\n  args = nopassword=y proxy=y port={IMAP_PORT}\n}}\n"
            if self.settings.accepts_everybody
            else ""
        )
        return (
            common_settings(
                self._directory,
                name=self.name,
                addresses=[self.ip],
                protocols=" ".join(self.settings.protocols),
            )
            + mail_storage(self._directory, LOCAL)
            + self_description(self.ip, LOCAL)
            + f"submission_relay_host = {self.ip}\n"
            + f"submission_relay_port = {SUBMISSION_PORT}\n"
            + f"passdb {{\n  driver = passwd-file\n  args = {self._directory}/passwd.%s\n}}\n"
            + everybody
            + f"doveadm_port = {DOVEADM_PORT}\n"
            + "lmtp_proxy = yes\n"
            + "protocol lmtp {\n  auth_socket_path = director-userdb\n}\n"
            + "protocol doveadm {\n  auth_socket_path = director-userdb\n}\n"
            + "login_proxy_notify_path = proxy-notify\n"
            + self._director_settings()
            + (
                without_director_service()
                if self.settings.kind is DirectorKind.STANDALONE
                else self._director_service()
            )
            + "".join(
                login_service(
                    service,
                    listener=listener,
                    port=port,
                    settings=f"  executable = {service} {self._login_argument}\n{mode}",
                )
                for service, (listener, port) in LOGIN_SERVICES.items()
                if listener in self.settings.protocols
            )
        )

    def _director_settings(self) -> str:
        return "".join(f"{name} = {value}\n" for name, value in self.settings.director.items())

    def _director_service(self) -> str:
        sub = "ext/" if self.settings.kind is DirectorKind.STANDALONE else ""
        ring = (
            f"  inet_listener ring {{\n    address = {self.ip}\n    port = {RING_PORT}\n  }}\n"
            if self.settings.is_ring_member
            else ""
        )
        return f"""\
service director {{
{self._master_settings()}\
  client_limit = 4000
  unix_listener login/{sub}director {{
    mode = 0666
  }}
  unix_listener director-userdb {{
    mode = 0600
  }}
  unix_listener director-admin {{
    mode = 0600
  }}
  fifo_listener login/{sub}proxy-notify {{
    mode = 0666
  }}
{ring}}}
"""

    def _master_settings(self) -> str:
        if self.settings.kind is DirectorKind.STANDALONE:
            return ""
        if self.settings.kind is DirectorKind.REAL:
            return "  process_min_avail = 1\n"
        script = self._directory / "director"
        configuration = self._directory / "dovecot.conf"
        command = " ".join(director_command("serve", "-c", str(configuration)))
        script.write_text(f"#!/bin/sh\nexport PYTHONPATH={CHECKOUT}\nexec {command}\n")
        script.chmod(0o755)
        user = "drop_priv_before_exec = yes" if is_readable_by_everybody() else "user = root"
        return f"  executable = {script}\n  chroot =\n  process_min_avail = 1\n  {user}\n"


def without_director_service() -> str:
    """Return the block that keeps Dovecot from listening where a standalone director does."""
    return """\
service director {
  unix_listener director-admin {
    mode = 0
  }
  unix_listener login/director {
    mode = 0
  }
  fifo_listener login/proxy-notify {
    mode = 0
  }
}
"""


def director_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "director", *arguments]


@functools.cache
def is_readable_by_everybody() -> bool:
    """Return whether Dovecot's unprivileged user can run our program from where it is.

    On a developer's machine interpreter or checkout often live in a closed home directory.
    """
    try:
        attempt = subprocess.run(
            [sys.executable, "-c", "import director"],
            cwd="/",
            env={"PYTHONPATH": str(CHECKOUT)},
            user="dovecot",
            group="dovecot",
            extra_groups=[],
            capture_output=True,
            check=False,
        )
    except PermissionError:
        return False
    return attempt.returncode == 0
