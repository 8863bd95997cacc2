"""Programs started by the tests: each in its own session, ended by id, with everything it started.

The session id is how leftovers are found: Dovecot's master stays in the foreground, so all its
children carry the session id of the process we started, even after the master is gone. If the test
run itself is killed, `setpriv --pdeathsig` ends the programs; therefore they must be started
from the main thread (the kernel ties the signal to the starting thread).
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

STOP_TIMEOUT_S = 15.0
POLL_S = 0.02


def wait_until(check: Callable[[], T], timeout_s: float, what: str) -> T:
    """Return the first true result of `check`; an OSError counts as "not yet".

    Raises:
        TimeoutError: names `what` and the last result.
    """
    end = time.monotonic() + timeout_s
    last: object = None
    while True:
        try:
            result = check()
        except OSError as error:
            last = error
        else:
            if result:
                return result
            last = result
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {timeout_s} s, last seen: {last!r}")
        time.sleep(POLL_S)


def stat_fields(pid: int) -> list[str]:
    """Return /proc/PID/stat from the state on, empty if there is no such process."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    fields = stat_fields(pid)
    return bool(fields) and fields[0] not in "ZX"


def command_name(pid: int) -> str:
    try:
        return Path("/proc", str(pid), "comm").read_text().strip()
    except OSError:
        return ""


def session_members(session_id: int) -> list[int]:
    """Return the live processes of a session, oldest first."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return sorted(
        pid
        for pid in pids
        if (fields := stat_fields(pid)) and fields[3] == str(session_id) and fields[0] not in "ZX"
    )


def signal_nowait(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


class Program:
    """One started program and its descendants; output is appended to `log`."""

    def __init__(
        self, arguments: list[str], *, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd="/",
                env=environment,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def members(self) -> list[int]:
        return session_members(self.pid)

    def member_pid(self, name: str) -> int:
        """Return the process id of the newest descendant with this command name, 0 if none."""
        return max((pid for pid in self.members() if command_name(pid) == name), default=0)

    def signal(self, number: signal.Signals) -> None:
        signal_nowait(self.pid, number)

    def wait(self, timeout_s: float) -> int:
        return self._process.wait(timeout_s)

    def stop(self) -> int:
        """End the program politely, then whatever is left of it by force; return its status."""
        if self.is_running:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        finally:
            self._kill_members()

    def kill(self) -> None:
        """End the program and its descendants with SIGKILL, first the one that restarts others."""
        self.signal(signal.SIGKILL)
        self._process.wait(STOP_TIMEOUT_S)
        self._kill_members()

    def _kill_members(self) -> None:
        while members := self.members():
            for pid in members:
                signal_nowait(pid, signal.SIGKILL)
            time.sleep(POLL_S)
