"""Programs that a bench starts: ended with everything they started, and asked for their CPU time.

CPU time comes from the kernel's CPU clock of the process (clock_getcpuclockid(3)): nanoseconds,
where /proc/PID/stat counts in hundredths of a second. What others do on the machine inflates it by
some percent, wall time by several times; that is why every bench compares CPU time where it can.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

END_TIMEOUT_S = 15.0
POLL_S = 0.01
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def wait_until(is_true: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Wait; return how many seconds it took.

    Raises:
        TimeoutError: it did not become true; errors of sockets and files count as "not yet".
    """
    started_at = time.monotonic()
    reason = "it is not so"
    while time.monotonic() - started_at < timeout_s:
        try:
            if is_true():
                return time.monotonic() - started_at
        except OSError as error:
            reason = str(error)
        time.sleep(POLL_S)
    raise TimeoutError(f"{what}: not within {timeout_s:.0f} s ({reason})")


class Program:
    """One started program, its own session, everything it prints in `log`."""

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                pass_fds=descriptors,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self.log = log

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        if self.is_running:
            os.kill(self.pid, number)

    def stop(self) -> None:
        """End it politely, by force if that takes too long, and all it has started."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._end_members()

    def kill(self) -> None:
        """End it and all it has started with SIGKILL, first the one that restarts others."""
        self.signal(signal.SIGKILL)
        self._process.wait()
        self._end_members()

    def _end_members(self) -> None:
        while members := session_members(self.pid):
            kill_all(members)
            time.sleep(POLL_S)


def session_members(session: int) -> list[int]:
    """Return the live processes of a session."""
    return [pid for pid, fields in _processes() if int(fields[3]) == session and fields[0] != "Z"]


def newest_member(session: int, name: str) -> int:
    """Return the process id of the newest program called `name` in a session, 0 if none runs."""
    return max((pid for pid in session_members(session) if command_name(pid) == name), default=0)


def _processes() -> list[tuple[int, list[str]]]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue  # it has just ended
            found.append((int(entry.name), text.rpartition(")")[2].split()))
    return found


def command_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def kill_all(pids: Sequence[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def cpu_s(pid: int) -> float:
    """Return the CPU seconds a process has used, user and system, all threads."""
    clock_of_process = (~pid << 3) | 2  # what clock_getcpuclockid(3) computes
    return time.clock_gettime(clock_of_process)


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
