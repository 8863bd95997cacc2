"""One member of a cluster: our daemon as a program, or a real Dovecot 2.3 with its director.

Ours is reached through the proxy by everybody (`places`), and by real directors too. A real one
cannot be given another listener than the one it announces, but it has an option to dial all others
at a port of its own (ring-protocol.md section 6): so what real directors dial passes the proxy, and
what ours dial at real ones does not. Those links meet only kills and hangs.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import attrs
import trio

from sim.bench.processes import Program, newest_member
from sim.cluster.admin import Admin, administrator
from sim.cluster.places import Place, listen
from sim.cluster.proxy import Network

CHECKOUT = Path(__file__).resolve().parents[2]
DOVECOT = "/usr/sbin/dovecot"
REAL_DIRECTOR = "/usr/lib/dovecot/director"
START_TIMEOUT_S = 30.0
POLL_S = 0.05
INHERIT = """\
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""
"""A program that passes a listener on as systemd does; shells know no descriptor above 9."""

COMPLAINT = re.compile(
    r"director: Error: bug|Traceback \(most recent|Error: link_broke_protocol|"
    r"director: (?:Panic|Fatal)|Error: director\(.*(?:Invalid|Unknown|Received)"
)


@attrs.frozen(kw_only=True)
class Shared:
    """What all nodes of a cluster have in common. `director` are settings by name."""

    directory: Path
    auth: Path
    director: Mapping[str, str]
    test_port: int


class Node:
    """Not started by construction. `impaired_at` and `well_since` are trio's time."""

    def __init__(self, place: Place, network: Network, shared: Shared, *, is_real: bool) -> None:
        self.place = place
        self.is_real = is_real
        self.name = f"{place.ip}{' (Dovecot)' if is_real else ''}"
        self.is_well = False
        self.well_since = 0.0
        self.directory = shared.directory / place.ip
        self.run = self.directory / "run"
        self._network = network
        self._shared = shared
        self._program: Program | None = None
        self._doors: list[trio.CancelScope] = []
        for directory in (self.directory, self.run):
            directory.mkdir()
            directory.chmod(0o755)

    @property
    def login_socket(self) -> Path:
        return self.run / "login" / "director"

    def was_well_since(self, time: float) -> bool:
        """Tell whether it has run without a break since then."""
        return self.is_well and self.well_since <= time

    def admin(self, timeout_s: float) -> AbstractAsyncContextManager[Admin]:
        return administrator(self.run / "director-admin", timeout_s)

    # --- life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start it; return when it answers administrators."""
        assert self._program is None
        place, hidden = self.place, (self.place.hidden_ip, self.place.port)
        if self.is_real:
            self._doors = [self._open_door(self._shared.test_port, (place.ip, place.port))]
            self._start_dovecot()
        else:
            self._doors = [self._open_door(port, hidden) for port in self._ports()]
            self._start_ours()
        with trio.move_on_after(START_TIMEOUT_S) as scope:
            await self._wait_answering()
        if scope.cancelled_caught:
            raise TimeoutError(f"{self.name} did not start:\n{self.log_text()[-2000:]}")
        self._become_well()

    def kill(self) -> None:
        """The machine loses power."""
        self.is_well = False
        if self._program is not None:
            self._program.kill()
        self._ended()

    async def stop(self) -> None:
        """End it cleanly."""
        self.is_well = False
        if self._program is not None:
            await trio.to_thread.run_sync(self._program.stop)
        self._ended()

    def pause(self) -> None:
        self.is_well = False
        os.kill(self._director_pid(), signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self._director_pid(), signal.SIGCONT)
        self._become_well()

    def complaints(self) -> list[str]:
        """Return the lines of its log that no fault explains."""
        return [
            f"{self.name}: {line[:300]}"
            for line in self.log_text().splitlines()
            if COMPLAINT.search(line)
        ]

    def log_text(self) -> str:
        file = self.directory / "log"
        return file.read_text(errors="replace") if file.exists() else ""

    def _become_well(self) -> None:
        self.is_well = True
        self.well_since = trio.current_time()

    def _ended(self) -> None:
        self._program = None
        while self._doors:
            self._doors.pop().cancel()

    async def _wait_answering(self) -> None:
        while True:
            assert self._program is not None
            if not self._program.is_running:
                raise RuntimeError(f"{self.name} ended:\n{self.log_text()[-2000:]}")
            try:
                async with self.admin(START_TIMEOUT_S) as admin:
                    await admin.ask_list("DIRECTOR-LIST")
                return
            except OSError:
                await trio.sleep(POLL_S)

    def _director_pid(self) -> int:
        assert self._program is not None
        return newest_member(self._program.pid, "director") if self.is_real else self._program.pid

    # --- how ours is started ------------------------------------------------------------------

    def _ports(self) -> tuple[int, int]:
        return self.place.port, self._shared.test_port

    def _open_door(self, port: int, target: tuple[str, int]) -> trio.CancelScope:
        return self._network.open_door(self.place, port, target)

    def _start_ours(self) -> None:
        (self.run / "login").mkdir(exist_ok=True)
        file = self.directory / "director.conf"
        file.write_text(self.our_configuration())
        command = [sys.executable, "-m", "director", "serve", "-c", str(file)]
        with listen("0.0.0.0", self.place.port) as listener:
            descriptor = listener.fileno()
            self._program = Program(
                [*_LEASH, sys.executable, "-c", INHERIT, str(descriptor), *command],
                log=self.directory / "log",
                environment={
                    **os.environ,
                    "PYTHONPATH": str(CHECKOUT),
                    "LISTEN_FDS": "1",
                    "LISTEN_FDNAMES": "ring",
                },
                descriptors=[descriptor],
            )

    def _settings(self) -> str:
        return "".join(f"{name} = {value}\n" for name, value in self._shared.director.items())

    def our_configuration(self) -> str:
        return f"""\
{self._settings()}\
base_dir = {self.run}
default_internal_user = {getpass.getuser()}
director_kick = none
director_auth_login_socket = {self._shared.auth}
service director {{
  user = {getpass.getuser()}
  unix_listener login/director {{
    mode = 0666
  }}
  unix_listener director-admin {{
    mode = 0600
  }}
{self._ring_listener()}}}
"""

    def _ring_listener(self) -> str:
        ip, port = self.place.ip, self.place.port
        return f"  inet_listener ring {{\n    address = {ip}\n    port = {port}\n  }}\n"

    # --- how a real one is started ------------------------------------------------------------

    def _start_dovecot(self) -> None:
        file = self.directory / "dovecot.conf"
        file.write_text(self.dovecot_configuration())
        (self.run / "master.pid").unlink(missing_ok=True)
        self._program = Program([*_LEASH, DOVECOT, "-F", "-c", file], log=self.directory / "output")

    def dovecot_configuration(self) -> str:
        return f"""\
{self._settings()}\
base_dir = {self.run}
state_dir = {self.directory}/state
instance_name = cluster-{self.place.ip}
log_path = {self.directory}/log
protocols =
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
default_client_limit = 4000
passdb {{
  driver = static
  args = proxy=y nopassword=y port=143
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}}
service director {{
  executable = director -t {self._shared.test_port}
  process_min_avail = 1
  unix_listener login/director {{
    mode = 0666
  }}
  unix_listener director-admin {{
    mode = 0600
  }}
{self._ring_listener()}}}
"""


def _leash() -> list[str]:
    """Return what makes a program end with us, however we end, where there is such a thing."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


_LEASH = _leash()


def can_run_dovecot() -> bool:
    """Return whether real directors can be started here: the package, and root."""
    return Path(REAL_DIRECTOR).exists() and os.geteuid() == 0


@asynccontextmanager
async def ended_at_last(nodes: list[Node]) -> AsyncIterator[None]:
    """Whatever happens, nothing that was started is left."""
    try:
        yield
    finally:
        for node in nodes:
            node.kill()
