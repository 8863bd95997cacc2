"""A proxy of Dovecot 2.4 with our director beside it, or below its master.

STANDALONE follows `conf/dovecot-2.4/director.conf` and `conf/systemd`: the files are used as they
are, only the director's settings and this lab's ports are added. UNDER_MASTER follows
`conf/dovecot-2.4/director-service.conf`.

Everybody may log in with any password. The passdb answers `proxy=y` without a host, and for each
user the field `user_tenant`, the domain, by which administrators can kick.
"""

from __future__ import annotations

import enum
import json
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import attrs

from tests.interop.admin_client import AdminClient, DirectorRow
from tests.interop.dovecot import Dovecot, directory_of
from tests.interop.lab import Lab
from tests.interop.loopback import DOVEADM_PORT, RING_PORT
from tests.interop.programs import Program, is_alive, signal_nowait, wait_until
from tests.interop24.dovecot_settings import (
    LOGIN_SERVICES,
    MANY_CLIENTS,
    ONE_CLIENT,
    PORTS,
    Inet,
    common_settings,
    login_service,
    other_services,
)
from tests.interop24.ours import director_program, run_director
from tests.interop24.units import HeldSocket, held_sockets, service_values

CONF = Path(__file__).resolve().parents[2] / "conf" / "dovecot-2.4"
HERE = Path(__file__).resolve().parent
IMAPS_PORT = 20993
HAPROXY_PORT = 20144
START_TIMEOUT_S = 30.0

MORE_LISTENERS = (
    Inet(service="imap-login", name="imaps", port=IMAPS_PORT, flag="ssl = yes"),
    Inet(service="imap-login", name="imap_haproxy", port=HAPROXY_PORT, flag="haproxy = yes"),
)


class Way(enum.Enum):
    """How the director is started."""

    STANDALONE = "standalone"
    UNDER_MASTER = "under-master"


@attrs.frozen(kw_only=True)
class ProxySettings:
    """`director` are settings by name. `is_busy`: one login process serves many clients.

    `user` is whom the director runs as; empty for what our files in conf/ say. `has_events`: the
    director listens for Dovecot's event exporter.
    """

    way: Way
    director: Mapping[str, str]
    is_busy: bool = True
    is_ring_member: bool = False
    has_events: bool = False
    user: str = ""


class Proxy:
    """Not started by construction, so that a ring can be told its members first."""

    def __init__(self, lab: Lab, name: str, ip: str, settings: ProxySettings) -> None:
        self.ip = ip
        self.name = name
        self.settings = settings
        self._lab = lab
        self.directory = directory_of(lab, name)
        self._write_certificate()
        self.director_file = self.directory / "director.conf"
        self.dovecot = Dovecot(lab, name, self._dovecot_configuration())
        self.director_file.write_text(self._director_configuration())
        self.holder: Program | None = None

    # --- life -----------------------------------------------------------------------------

    def start(self) -> None:
        """As at boot: the sockets first, then Dovecot, whose login processes ask at once."""
        if self.settings.way is Way.STANDALONE:
            self.dovecot.run.mkdir(exist_ok=True)
            self.start_director()
        self.dovecot.start()
        self.wait_answering()

    def start_director(self, restart_s: float = 1.0) -> None:
        """Start what answers director-admin; return when it does."""
        if self.settings.way is Way.STANDALONE:
            assert self.holder is None
            self.holder = self._lab.keep(
                Program(
                    [*self._lab.entrance, "/usr/bin/python3", *self._holder_arguments(restart_s)],
                    log=self.directory / "director.log",
                )
            )
        self.wait_answering()

    def _holder_arguments(self, restart_s: float) -> list[str]:
        copy = self.directory / "holder.py"
        copy.write_text((HERE / "holder.py").read_text())
        unit = service_values()
        sockets = held_sockets(self.dovecot.run)
        if self.settings.has_events:
            path = f"{self.dovecot.run}/director-events"
            sockets.append(HeldSocket(path=path, mode=0o600, user=unit["User"]))
        specification = {
            "sockets": [attrs.asdict(item) for item in sockets],
            "user": self.settings.user or unit["User"],
            "groups": unit["SupplementaryGroups"].split(),
            "command": [director_program(), "serve", "-c", str(self.director_file)],
            "restart_s": restart_s,
            "pid_file": str(self._pid_file),
        }
        return [str(copy), json.dumps(specification)]

    @property
    def _pid_file(self) -> Path:
        return self.directory / "director.pid"

    def wait_answering(self) -> None:
        def is_answering() -> bool:
            if self.holder is not None and not self.holder.is_running:
                raise AssertionError(f"the director did not start:\n{self.log_text()}")
            with self.admin(timeout_s=1.0):
                return True

        wait_until(is_answering, START_TIMEOUT_S, f"director of {self.name}")

    def stop_director(self) -> None:
        """End the director and, if standalone, those who hold its sockets."""
        if self.holder is not None:
            holder, self.holder = self.holder, None
            holder.stop()
        else:
            self.end_director(signal.SIGTERM)

    def kill_director(self) -> None:
        self.end_director(signal.SIGKILL)

    def reload_dovecot(self) -> None:
        """Let Dovecot read its configuration again; return when a director of the master is new."""
        pid = self.director_pid
        assert self.dovecot.doveadm("reload").returncode == 0
        if self.holder is None:
            wait_until(lambda: not is_alive(pid), START_TIMEOUT_S, "end of the old director")

    def stop(self) -> None:
        if self.holder is not None:
            self.stop_director()
        self.dovecot.stop()

    def kill(self) -> None:
        if self.holder is not None:
            holder, self.holder = self.holder, None
            holder.kill()
        if self.dovecot.is_running:
            self.dovecot.kill()

    @property
    def is_running(self) -> bool:
        return self.dovecot.is_running or self.holder is not None

    @property
    def director_pid(self) -> int:
        if self.holder is None:
            return self.dovecot.service_pid("python3")
        pid = int(self._pid_file.read_text())
        return pid if is_alive(pid) else 0

    def end_director(self, number: signal.Signals) -> None:
        """Signal the daemon alone; whoever started it starts another."""
        pid = self.director_pid
        assert pid, f"no director runs in {self.directory}"
        signal_nowait(pid, number)
        wait_until(lambda: self.director_pid != pid, START_TIMEOUT_S, f"end of director {pid}")

    @property
    def certificate(self) -> Path:
        return self.directory / "cert.pem"

    # --- questions ------------------------------------------------------------------------

    @property
    def login_socket(self) -> Path:
        sub = "ext/" if self.settings.way is Way.STANDALONE else ""
        return self.dovecot.run / "login" / f"{sub}director"

    def admin(self, timeout_s: float = 60.0) -> AdminClient:
        return AdminClient(self.dovecot.run / "director-admin", timeout_s)

    def directors(self) -> list[DirectorRow]:
        with self.admin() as admin:
            return admin.directors()

    def named_by_director(self, users: list[str]) -> dict[str, str]:
        with self.admin() as admin:
            return {user: admin.where(user).current for user in users}

    def director(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a verb of our command line on the machine of this proxy."""
        return run_director(self.director_file, *arguments)

    def log_text(self) -> str:
        file = self.directory / "director.log"
        own = file.read_text(errors="replace") if file.exists() else ""
        return self.dovecot.log_text() + own

    # --- configuration --------------------------------------------------------------------

    def _write_certificate(self) -> None:
        key, certificate = self.directory / "key.pem", self.certificate
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 "
            f"-subj /CN=proxy.example -addext subjectAltName=IP:{self.ip} "
            f"-keyout {key} -out {certificate}"
        )
        subprocess.run(command.split(), check=True, capture_output=True)

    def _dovecot_configuration(self) -> str:
        mode = MANY_CLIENTS if self.settings.is_busy else ONE_CLIENT
        ours = (
            (CONF / "director.conf").read_text()
            if self.settings.way is Way.STANDALONE
            else self._service_configuration()
        )
        return (
            common_settings(self.directory, name=self.name, addresses=[self.ip])
            + "ssl = yes\n"
            + f"ssl_server_cert_file = {self.directory}/cert.pem\n"
            + f"ssl_server_key_file = {self.directory}/key.pem\n"
            + "haproxy_trusted_networks = 127.0.0.0/8\n"
            + passdb_answering_proxy()
            + ours
            + (event_exporter(self.directory / "run") if self.settings.has_events else "")
            + f"doveadm_port = {DOVEADM_PORT}\n"
            + other_services()
            + "".join(login_service(service, mode, *MORE_LISTENERS) for service in LOGIN_SERVICES)
        )

    def _service_configuration(self) -> str:
        text = (CONF / "director-service.conf").read_text()
        text = text.replace("/usr/bin/director", director_program())
        text = text.replace("/etc/ringdirector/director.conf", str(self.director_file))
        more = f"  user = {self.settings.user}\n" if self.settings.user else ""
        if self.settings.is_ring_member:
            more += (
                f"  inet_listener ring {{\n    listen = {self.ip}\n    port = {RING_PORT}\n  }}\n"
            )
        return text + f"service director {{\n{more}}}\n"

    def _director_configuration(self) -> str:
        sub = "ext/" if self.settings.way is Way.STANDALONE else ""
        memory = ""
        if self.settings.way is Way.UNDER_MASTER:
            place = self.directory / "memory"
            place.mkdir(mode=0o777)
            place.chmod(0o777)
            memory = f"director_snapshot_path = {place}/snapshot\n"
        ring = (
            f"  inet_listener ring {{\n    address = {self.ip}\n    port = {RING_PORT}\n  }}\n"
            if self.settings.is_ring_member
            else ""
        )
        user = f"  user = {self.settings.user}\n" if self.settings.user else ""
        return (
            f"base_dir = {self.dovecot.run}\n"
            + memory
            + "".join(f"{name} = {value}\n" for name, value in self.settings.director.items())
            + "service director {\n"
            + user
            + f"  unix_listener login/{sub}director {{\n    mode = 0666\n  }}\n"
            + "  unix_listener director-userdb {\n    mode = 0600\n  }\n"
            + "  unix_listener director-admin {\n    mode = 0600\n  }\n"
            + (EVENTS_LISTENER if self.settings.has_events else "")
            + ring
            + "}\n"
        )


EVENTS_LISTENER = "  unix_listener director-events {\n    mode = 0600\n  }\n"


def event_exporter(base_dir: Path) -> str:
    """Return what Dovecot is to be told, as `director doctor` says it."""
    return f"""\
event_exporter director {{
  driver = unix
  format = json
  unix_path = {base_dir}/director-events
}}
metric director_sessions {{
  exporter = director
  exporter_include = name fields
  filter = event=proxy_session_established OR event=proxy_session_finished
}}
"""


def passdb_answering_proxy() -> str:
    """Return passdbs that proxy everybody, to the port of the protocol."""
    text = """\
passdb static {
  fields {
    proxy = yes
    nopassword = yes
    user_tenant = %{user | domain}
  }
}
"""
    for protocol, port in PORTS.items():
        text += f"""\
protocol {protocol} {{
  passdb static {{
    fields {{
      port = {port}
    }}
  }}
}}
"""
    return text
