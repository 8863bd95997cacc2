"""How an administrative verb ends when it does not end well, and what it says on stderr.

One line per event, beginning with its class (`Info:`, `Warning:`, `Error:`, `Fatal:`) as doveadm's
do, because scripts match on it. `Fatal` ends the verb at once, without finishing a half-printed
table; `UsageWrong` prints how the verb is used; an error that lets the verb go on only changes the
exit status (doveadm-director.md section 2.1).
"""

from __future__ import annotations

import enum
import os
import sys
import time

EXIT_OPTION_REFUSED = 89
"""doveadm's status for a global option it does not know; sysexits(3) has no name for it."""


class Level(enum.Enum):
    DEBUG = "Debug"
    INFO = "Info"
    WARNING = "Warning"
    ERROR = "Error"
    FATAL = "Fatal"


class Fatal(Exception):
    """The verb cannot go on; `status` is the exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class UsageWrong(Exception):
    """An argument is missing or wrong: show the usage, exit status 64."""


class Messages:
    """Lines on stderr; `Info` only if verbose, everything with a time of day when debugging."""

    def __init__(self, *, is_verbose: bool, is_debugging: bool) -> None:
        self.is_verbose = is_verbose or is_debugging
        self.is_debugging = is_debugging

    def debug(self, text: str) -> None:
        if self.is_debugging:
            self._write(Level.DEBUG, text)

    def info(self, text: str) -> None:
        if self.is_verbose:
            self._write(Level.INFO, text)

    def warning(self, text: str) -> None:
        self._write(Level.WARNING, text)

    def error(self, text: str) -> None:
        self._write(Level.ERROR, text)

    def fatal(self, text: str) -> None:
        self._write(Level.FATAL, text)

    def _write(self, level: Level, text: str) -> None:
        before = time.strftime("%b %d %H:%M:%S ") if self.is_debugging else ""
        write_error_line(f"{before}{level.value}: {text}")


def write_error_line(text: str) -> None:
    """Write one line to stderr, whatever bytes its names came from."""
    sys.stdout.flush()
    sys.stderr.write(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") + "\n")
    sys.stderr.flush()


def reader_left() -> int:
    """Return the status if the reader of our output went away (`director map | head`): all is well.

    What is still to be flushed at exit goes nowhere.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return os.EX_OK
