"""A machine on which the README's guide can be followed to the letter, with an operator's hands.

A mount namespace makes a file system private: /run is empty as after a boot, and what is written to
/etc, /opt, /usr/bin and /var/lib stays in the lab. The root is this machine's, which has Dovecot
2.3, or the chroot with 2.4; an upgrade is a change of root that keeps /etc/ringdirector.

What a command needs from the world is played: `systemctl` starts and stops programs of the lab,
`editor` makes the change that the operator of this site would, `pip` has been there before.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.interop.dovecot import DOVECOT
from tests.interop.lab import Lab
from tests.interop.programs import Program, wait_until
from tests.interop.proxies import CHECKOUT, is_readable_by_everybody
from tests.interop24.ours import chroot, director_program
from tests.interop24.units import held_sockets, service_values

HOLDER = Path(__file__).with_name("holder.py")
PRIVATE = ("etc", "opt", "usr/bin", "var/lib")
PREFIX = "/opt/ringdirector"
PROVIDED = ("python3 -m venv ", f"{PREFIX}/bin/pip install ", "systemctl daemon-reload")
"""Commands that need nothing done here."""
UNITS = {
    "ringdirector.socket",
    "ringdirector-private.socket",
    "ringdirector-keeper.service",
    "ringdirector.service",
}
TIMEOUT_S = 30.0

Edit = Callable[[str], str]


class Machine:
    """One root of the file system, private. `edits` are an operator's changes by path."""

    def __init__(self, lab: Lab, name: str, root: Path, edits: dict[str, Edit]) -> None:
        self.name = name
        self.edits = edits
        self._lab = lab
        self._root = root
        self._place = lab.directory / name
        self._programs: dict[str, Program] = {}
        for part in PRIVATE:
            (self._place / "upper" / part).mkdir(parents=True)
            (self._place / "work" / part).mkdir(parents=True)
        self._install()
        self._namespace = lab.keep(Program(self._mount_command(), log=self._place / "mounts"))
        wait_until((self._place / "ready").exists, TIMEOUT_S, f"mounts of {name}")

    @property
    def is_24(self) -> bool:
        return self._root != Path("/")

    def _install(self) -> None:
        """Do what `pip install` does; Debian 13's Python has the libraries elsewhere."""
        prefix = self._place / "upper" / PREFIX[1:]
        (prefix / "bin").mkdir(parents=True)
        shutil.copytree(CHECKOUT / "conf", prefix / "share" / "ringdirector" / "conf")
        command = director_program() if self.is_24 else f"{sys.executable} -m director"
        script = prefix / "bin" / "director"
        script.write_text(
            f'#!/bin/sh\nexport PYTHONPATH={self._python_path}\nexec {command} "$@"\n'
        )
        script.chmod(0o755)

    @property
    def _python_path(self) -> str:
        return "" if self.is_24 else str(CHECKOUT)

    def _mount_command(self) -> list[str]:
        mounts = "".join(
            f"mount -t overlay overlay -o lowerdir={self._root / part},"
            f"upperdir={self._place}/upper/{part},workdir={self._place}/work/{part} "
            f"{self._root / part}\n"
            for part in PRIVATE
        )
        run = self._root / "run"
        script = (
            f"{mounts}mount -t tmpfs -o mode=0755 tmpfs {run}\n"
            f"touch {self._place}/ready\nexec sleep infinity"
        )
        return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script]

    # --- an operator ----------------------------------------------------------------------

    def follow(self, commands: list[str]) -> dict[str, str]:
        """Run the commands of the guide one after the other; return what each printed."""
        return {command: self.run(command) for command in commands}

    def run(self, command: str) -> str:
        """Run one command; it must succeed."""
        words = command.split()
        if command.startswith(PROVIDED):
            return ""
        if words[0] == "systemctl":
            self._systemctl(words[1], words[2:])
            return ""
        if words[0] == "editor":
            self.write(words[1], self.edits[words[1]](self.read(words[1])))
            return ""
        done = self._execute(["sh", "-ec", command])
        assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def read(self, path: str) -> str:
        return self._execute(["cat", path]).stdout

    def write(self, path: str, text: str) -> None:
        done = self._execute(["sh", "-ec", f"mkdir -p $(dirname {path}); cat > {path}"], text)
        assert done.returncode == 0, done.stderr

    def _execute(self, command: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._entrance, *command],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def _entrance(self) -> list[str]:
        enter = ["nsenter", "--mount", "--target", str(self._namespace.pid)]
        return [*enter, "chroot", str(self._root)] if self.is_24 else enter

    # --- systemd --------------------------------------------------------------------------

    def _systemctl(self, verb: str, words: list[str]) -> None:
        if words == ["dovecot"]:
            assert verb == "restart", verb
            self.stop_dovecot()
            self._start_dovecot()
            return
        assert words[0] == "--now", words
        assert set(words[1:]) == UNITS, words
        if verb == "disable":
            self._programs.pop("holder").stop()
            return
        assert verb == "enable", verb
        installed = {
            name: self.read(f"/etc/systemd/system/{name}")
            for name in ("ringdirector.socket", "ringdirector-private.socket")
        }
        assert all(installed.values()), "the units were not installed"
        self.write("/opt/holder.py", HOLDER.read_text())
        unit = service_values()
        state = f"/var/lib/{unit['StateDirectory']}"
        self.run(f"install -d -m {unit['StateDirectoryMode']} -o {unit['User']} {state}")
        self._start("holder", ["python3", "/opt/holder.py", self._specification()])

    def _specification(self) -> str:
        unit = service_values()
        sockets = [
            {"path": item.path, "mode": item.mode, "user": item.user}
            for item in held_sockets(Path("/run/dovecot"))
        ]
        return json.dumps(
            {
                "sockets": sockets,
                "user": unit["User"],
                "groups": unit["SupplementaryGroups"].split(),
                "command": unit["ExecStart"].split(),
                "restart_s": 1,
                "pid_file": "/run/director.pid",
            }
        )

    def _start_dovecot(self) -> None:
        self._execute(["rm", "-f", "/run/dovecot/master"])  # from before
        self._start("dovecot", [DOVECOT, "-F"])
        wait_until(
            lambda: self._execute(["test", "-S", "/run/dovecot/master"]).returncode == 0,
            TIMEOUT_S,
            f"start of Dovecot on {self.name}",
        )

    def _start(self, what: str, command: list[str]) -> None:
        log = self._place / f"{what}.log"
        self._programs[what] = self._lab.keep(
            Program([*self._entrance, *command], log=log, environment=dict(os.environ))
        )

    def stop_dovecot(self) -> None:
        program = self._programs.pop("dovecot", None)
        if program is not None:
            program.stop()

    def stop(self) -> None:
        for program in self._programs.values():
            program.stop()
        self._programs.clear()


def root_of_23() -> Path:
    return Path("/")


def root_of_24() -> Path:
    return chroot()


def account_setting() -> str:
    """Return the line a site needs whose interpreter only root can read, as some here are."""
    return "" if is_readable_by_everybody() else "  user = root\n"
