"""One private world: a directory, a block of addresses, and everything that was started in it.

The directory is made by `mkdtemp`, not by pytest: Dovecot's unprivileged processes must be able to
enter it (pytest's is closed to others), and paths of unix sockets must stay below 108 bytes.

A world may stand in a chroot, where another Dovecot is installed. Then the directory lies inside,
and a link to it outside has the same path: a configuration names the same files on both sides.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from tests.interop.loopback import AddressBlock


class Killable(Protocol):
    @property
    def is_running(self) -> bool: ...

    def kill(self) -> None: ...


K = TypeVar("K", bound=Killable)

LIVE_LABS: list[Lab] = []
"""Labs that exist now, for the report of a failed test."""


class Lab:
    """Use as a context manager: what was given to `keep` and still runs is killed at the end.

    Killed and not stopped: that takes a second less for each Dovecot. Tests that care how a program
    ends stop it themselves.
    """

    def __init__(self, chroot: Path | None = None) -> None:
        self.addresses = AddressBlock()
        self.directory = Path(tempfile.mkdtemp(prefix="director-lab-"))
        self._real_directory = self.directory
        self.entrance: list[str] = []
        """What stands before a command that is to run where this lab is."""
        if chroot is not None:
            self.entrance = ["chroot", str(chroot)]
            self._real_directory = chroot / self.directory.relative_to("/")
            self.directory.rmdir()
            self._real_directory.mkdir()
            self.directory.symlink_to(self._real_directory)
        self._real_directory.chmod(0o755)
        self._kept: list[Killable] = []
        LIVE_LABS.append(self)

    def keep(self, thing: K) -> K:
        self._kept.append(thing)
        return thing

    def address(self) -> str:
        return self.addresses.next_address()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for thing in reversed(self._kept):
            if thing.is_running:
                thing.kill()
        LIVE_LABS.remove(self)
        self.addresses.release()
        if self._real_directory != self.directory:
            self.directory.unlink()
        shutil.rmtree(self._real_directory)
