"""An exclusive hold on a snapshot, so that two daemons never take turns in overwriting it.

When Dovecot's master reloads, it starts our successor at once and only then tells us to go. The
successor must load what we write at our end, so it waits for our hold; the kernel releases it
however we end. The lock is on a file beside the snapshot, because the snapshot itself is replaced.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import trio

_RETRY_S = 0.05


class Hold:
    """Not held by construction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    @property
    def is_held(self) -> bool:
        return self._descriptor >= 0

    async def take(self, timeout_s: float) -> bool:
        """Return whether we have it, waiting at most `timeout_s` for another process.

        Raises:
            OSError: the lock file cannot be made.
        """
        assert not self.is_held
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            with trio.move_on_after(timeout_s):
                while True:
                    try:
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        await trio.sleep(_RETRY_S)
                    else:
                        self._descriptor = descriptor
                        break
        finally:
            if not self.is_held:
                os.close(descriptor)
        await trio.lowlevel.checkpoint()
        return self.is_held

    def release(self) -> None:
        if self.is_held:
            os.close(self._descriptor)
            self._descriptor = -1
