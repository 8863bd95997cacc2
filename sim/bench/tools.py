"""The C programs of the benches, built with the system's compiler when they are needed."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import attrs

SOURCES = Path(__file__).resolve().parent
COMPILER = ("cc", "-O2", "-Wall", "-Wextra")
RESULT_TIMEOUT_S = 240.0


@attrs.frozen
class Tools:
    """Built programs in a directory of their own."""

    directory: Path

    @classmethod
    def build(cls, directory: Path) -> Tools:
        """Compile what is older than its source.

        Raises:
            CalledProcessError: the compiler refused, and has said why.
        """
        directory.mkdir(parents=True, exist_ok=True)
        for source in SOURCES.glob("*.c"):
            program = directory / source.stem
            if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
                shared = ("-shared", "-fPIC") if source.stem == "dial" else ()
                subprocess.run(
                    [*COMPILER, *shared, "-o", str(program), str(source), "-ldl"], check=True
                )
        return cls(directory)

    @property
    def dial(self) -> Path:
        """A library to be preloaded."""
        return self.directory / "dial"

    @property
    def auth(self) -> Path:
        return self.directory / "auth"

    @property
    def load(self) -> Path:
        return self.directory / "load"


@attrs.frozen(kw_only=True)
class Outcome:
    """What a load met; a request that was never answered counts as failed, and as slow."""

    sent: int
    answered: int
    failed: int
    seconds: float
    p50_us: int
    p99_us: int
    worst_us: int
    slow: int
    """Requests that took more than 50 ms."""


class Load:
    """Logins on their way; see load.c for the options."""

    def __init__(self, tools: Tools, sockets: Sequence[Path], *options: str | int) -> None:
        self._process = subprocess.Popen(
            [str(word) for word in (tools.load, *options, *sockets)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> Outcome:
        """Wait until all is sent and answered.

        Raises:
            RuntimeError: the load could not be made.
        """
        try:
            output, complaints = self._process.communicate(timeout=RESULT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        if not output:
            raise RuntimeError(f"no load: {complaints.strip()}")
        return Outcome(**json.loads(output))

    def interrupt(self) -> None:
        """Send no more; what is under way is still waited for."""
        self._process.send_signal(signal.SIGINT)
