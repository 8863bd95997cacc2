"""The `director` command as an operator runs it: with a terminal around it, or without."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.interop.programs import wait_until
from tests.interop.proxies import CHECKOUT, director_command

COMMAND_TIMEOUT_S = 60.0


def director(socket: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a `director` command in a pipe; return how it ended and what it said."""
    return subprocess.run(
        [*director_command(*words), "-a", str(socket)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )


def _take_interrupts() -> None:
    """A shell that runs tests in the background lets them, and their children, ignore Control-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class OnTerminal:
    """A `director` command on a pseudo terminal; `shown` is everything it has written there."""

    def __init__(self, socket: Path, *words: str) -> None:
        self._terminal, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [*director_command(*words), "-a", str(socket)],
            cwd=CHECKOUT,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_take_interrupts,
        )
        os.close(theirs)
        self.shown = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self._terminal, 65536):
                self.shown += chunk.decode()
        except OSError:
            pass  # how Linux says that the last program on a terminal has closed it

    def wait_shown(self, text: str, count: int = 1) -> None:
        def is_shown() -> bool:
            return self.shown.count(text) >= count

        wait_until(is_shown, COMMAND_TIMEOUT_S, f"{count} times {text!r} on the terminal")

    def interrupt(self) -> None:
        """Press Control-C."""
        self._process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        status = self._process.wait(COMMAND_TIMEOUT_S)
        self._reader.join()
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.wait()
        os.close(self._terminal)
