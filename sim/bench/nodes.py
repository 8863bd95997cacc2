"""One director of either kind with what it needs around it: an auth service, a run directory.

    REAL   a private Dovecot 2.3 instance with nothing but its director and its auth
    OURS   this checkout's daemon; a Dovecot instance only lends its auth process, if one is wanted

Both read the same director settings. `auth-login` and `auth-userdb` are symbolic links to Dovecot's
auth or to the stand-in, so that one director can be measured with either: a link is looked up with
each new connection. (Relative links, because the real director lives in a chroot.)
"""

from __future__ import annotations

import enum
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs

from sim.bench.admin import Admin
from sim.bench.processes import (
    Program,
    cpu_s,
    newest_member,
    resident_bytes,
    wait_until,
)
from sim.bench.results import Kind
from sim.bench.tools import Tools

CHECKOUT = Path(__file__).resolve().parents[2]
DOVECOT = Path("/usr/sbin/dovecot")
RING_PORT = 20190
TEST_PORT = 20191
"""Where a real director with `-t` dials its neighbours, so that a relay can stand between."""

START_TIMEOUT_S = 30.0


def has_dovecot() -> bool:
    """Return whether the real director can be measured here: its program, and root."""
    return Path("/usr/lib/dovecot/director").exists() and os.geteuid() == 0


class Auth(enum.Enum):
    DOVECOT = "dovecot"
    STAND_IN = "stand-in"


@attrs.frozen(kw_only=True)
class NodeSettings:
    """`director` are director_* settings by name."""

    ip: str
    director: Mapping[str, str]
    has_dovecot_auth: bool
    is_relayed: bool
    """The neighbours reach this node through a relay."""


class Node:
    """Not started by construction. `name` is its directory below `directory`."""

    def __init__(
        self, kind: Kind, name: str, directory: Path, tools: Tools, settings: NodeSettings
    ) -> None:
        self.kind = kind
        self.ip = settings.ip
        self.settings = settings
        self.directory = directory / name
        self.run = self.directory / "run"
        self._tools = tools
        self._dovecot: Program | None = None
        self._director: Program | None = None
        self._stand_in: Program | None = None

    # --- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything and do not wait."""
        self.start_surroundings()
        self.start_director()

    def start_surroundings(self) -> None:
        """Start what the director needs; a real one itself starts with its first client."""
        for directory in (self.directory, self.run):
            directory.mkdir(exist_ok=True)
            directory.chmod(0o755)
        self._start_auth()

    def start_director(self) -> None:
        if self.kind is Kind.OURS:
            file = self.directory / "director.conf"
            file.write_text(f"base_dir = {self.run}/ours\n{self.director_settings()}")
            (self.run / "ours" / "login").mkdir(parents=True, exist_ok=True)
            if self.settings.has_dovecot_auth and not (self.run / "ours" / "ipc").is_symlink():
                (self.run / "ours" / "ipc").symlink_to("../ipc")  # for kicks
            self._director = Program(
                [sys.executable, "-m", "director", "serve", "-c", file],
                log=self.directory / "director.log",
                environment={**os.environ, "PYTHONPATH": str(CHECKOUT), **self._preload()},
            )

    def wait_answering(self) -> None:
        """Return when the director answers administrators (a real one starts only then)."""
        wait_until(self._is_answering, START_TIMEOUT_S, f"start of {self.directory}")

    def _is_answering(self) -> bool:
        for program in (self._dovecot, self._director):
            if program is not None and not program.is_running:
                raise RuntimeError(f"it ended:\n{program.log.read_text(errors='replace')}")
        with self.admin():
            return True

    def stop(self) -> None:
        """End it as an operator does, the director before the auth service."""
        for program in (self._director, self._dovecot, self._stand_in):
            if program is not None:
                program.stop()
        self._director = self._dovecot = self._stand_in = None

    def kill(self) -> None:
        """The machine loses power."""
        for program in (self._director, self._dovecot, self._stand_in):
            if program is not None:
                program.kill()
        self._director = self._dovecot = self._stand_in = None

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    # --- the relay and the gate in front of it (dial.c) -------------------------------------------

    @property
    def is_at_gate(self) -> bool:
        """Return whether our director has come so far that it wants to open its port."""
        assert self._director is not None
        return self._gate.with_name(f"gate.{self._director.pid}").exists()

    def open_gate(self) -> None:
        self._gate.touch()

    @property
    def _gate(self) -> Path:
        return self.directory / "gate"

    def _preload(self) -> dict[str, str]:
        if not self.settings.is_relayed:
            return {}
        return {
            "LD_PRELOAD": str(self._tools.dial),
            "BENCH_PORT": str(RING_PORT),
            "BENCH_RELAY_PORT": str(TEST_PORT),
            "BENCH_GATE": str(self._gate),
        }

    # --- questions ----------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """Return the director's process."""
        if self._director is not None:
            return self._director.pid
        assert self._dovecot is not None
        pid = newest_member(self._dovecot.pid, "director")
        assert pid, f"no director runs in {self.directory}"
        return pid

    def cpu_s(self) -> float:
        return cpu_s(self.pid)

    def resident_bytes(self) -> int:
        return resident_bytes(self.pid)

    @property
    def sockets(self) -> Path:
        return self.run / "ours" if self.kind is Kind.OURS else self.run

    @property
    def login_socket(self) -> Path:
        return self.sockets / "login" / "director"

    @property
    def userdb_socket(self) -> Path:
        return self.sockets / "director-userdb"

    def admin(self, timeout_s: float = 60.0) -> Admin:
        return Admin(self.sockets / "director-admin", timeout_s)

    # --- auth ---------------------------------------------------------------------------------

    @property
    def auth_login_socket(self) -> Path:
        return self.run / "auth-login"

    @property
    def stand_in_socket(self) -> Path:
        return self.run / "stand-in-auth-login"

    def use_auth(self, auth: Auth) -> None:
        """Let new connections reach this auth service."""
        for name in ("login", "userdb"):
            self._link_auth(name, f"{auth.value}-auth-{name}")

    @contextmanager
    def refused_auth(self) -> Iterator[None]:
        """Refuse new connections to the auth service meanwhile: its socket does not listen."""
        refusing = self.run / "refusing-auth-login"
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.bind(str(refusing))
            refusing.chmod(0o666)
            self._link_auth("login", refusing.name)
            yield
        self.use_auth(Auth.STAND_IN)

    @contextmanager
    def login_client(self) -> Iterator[None]:
        """Be connected like a login process that has nothing to ask."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.login_socket))
            yield

    def _link_auth(self, name: str, target: str) -> None:
        fresh = self.run / f"fresh-{name}"
        fresh.symlink_to(target)
        fresh.replace(self.run / f"auth-{name}")

    def _start_auth(self) -> None:
        self._stand_in = Program(
            [
                self._tools.auth,
                self.stand_in_socket,
                self.run / "stand-in-auth-userdb",
            ],
            log=self.directory / "auth.log",
        )
        if self.kind is Kind.REAL or self.settings.has_dovecot_auth:
            file = self.directory / "dovecot.conf"
            file.write_text(self.dovecot_configuration())
            (self.run / "master.pid").unlink(missing_ok=True)
            self._dovecot = Program(
                [DOVECOT, "-F", "-c", file], log=self.directory / "dovecot.output"
            )
            wait_until(
                (self.run / "dovecot-auth-login").is_socket, START_TIMEOUT_S, "start of Dovecot"
            )
        wait_until((self.run / "stand-in-auth-userdb").is_socket, START_TIMEOUT_S, "start of auth")
        self.use_auth(Auth.STAND_IN)

    # --- configuration ------------------------------------------------------------------------

    def director_settings(self) -> str:
        lines = [f"{name} = {value}" for name, value in self.settings.director.items()]
        if self.kind is Kind.OURS:
            lines += [
                f"director_auth_login_socket = {self.run}/auth-login",
                f"director_auth_userdb_socket = {self.run}/auth-userdb",
            ]
        executable = f"  executable = director -t {TEST_PORT}\n"
        if self.kind is Kind.OURS or not self.settings.is_relayed:
            executable = ""
        user = "  user = root\n" if self.kind is Kind.OURS else ""
        return (
            "\n".join(lines)
            + f"""
service director {{
{executable}{user}  client_limit = 20000
  unix_listener login/director {{
    mode = 0666
  }}
  unix_listener director-userdb {{
    mode = 0600
  }}
  unix_listener director-admin {{
    mode = 0600
  }}
  inet_listener ring {{
    address = {self.ip}
    port = {RING_PORT}
  }}
}}
"""
        )

    def dovecot_configuration(self) -> str:
        director = self.director_settings() if self.kind is Kind.REAL else _NO_DIRECTOR
        return f"""\
base_dir = {self.run}
state_dir = {self.directory}/state
instance_name = bench-{self.ip}
log_path = {self.directory}/dovecot.log
protocols =
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
default_client_limit = 20000
passdb {{
  driver = static
  args = proxy=y nopassword=y port=143
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}}
service auth {{
  unix_listener auth-login {{
    mode = 0
  }}
  unix_listener auth-userdb {{
    mode = 0
  }}
  unix_listener dovecot-auth-login {{
    mode = 0666
  }}
  unix_listener dovecot-auth-userdb {{
    mode = 0600
    user = dovecot
  }}
}}
{director}"""


_NO_DIRECTOR = """\
service director {
  unix_listener director-admin {
    mode = 0
  }
}
"""
