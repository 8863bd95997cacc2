"""The daemon as a process of its own, for tests that need a real one."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

WAIT_S = 20.0
"""Nothing takes longer than this, not even on a machine that is busy with other tests."""

CONFIGURATION = """\
base_dir = {base_dir}
default_internal_user = {user}
director_mail_servers = 10.0.0.1-10.0.0.3
{settings}
service director {{
  user = {user}
  unix_listener login/director {{
    mode = 0666
  }}
  unix_listener director-userdb {{
    mode = 0600
  }}
  fifo_listener login/proxy-notify {{
    mode = 0666
  }}
  {listeners}
}}
"""


def write_configuration(directory: Path, settings: str = "", listeners: str = "") -> Path:
    """Write a configuration for a daemon that lives in `directory`; return its path."""
    (directory / "login").mkdir(exist_ok=True)
    path = directory / "director.conf"
    user = pwd.getpwuid(os.geteuid()).pw_name
    path.write_text(
        CONFIGURATION.format(base_dir=directory, user=user, settings=settings, listeners=listeners)
    )
    return path


@attrs.define(eq=False)
class Daemon:
    process: trio.Process
    log: str = ""
    _seen: int = 0

    async def wait_line(self, text: str) -> str:
        """Return the next log line with `text` in it.

        Raises:
            AssertionError: the daemon ended without, or it took too long.
        """
        assert self.process.stderr is not None
        with trio.move_on_after(WAIT_S):
            while True:
                *lines, _ = self.log[self._seen :].split("\n")
                for line in lines:
                    self._seen += len(line) + 1
                    if text in line:
                        return line
                data = await self.process.stderr.receive_some(65536)
                if not data:
                    break
                self.log += data.decode()
        raise AssertionError(f"no line with {text!r} in:\n{self.log}")

    async def signal(self, number: int) -> None:
        self.process.send_signal(number)
        await trio.lowlevel.checkpoint()

    async def stop(self) -> int:
        """End it as a service manager would; return its exit status."""
        self.process.terminate()
        return await self.wait_end()

    async def wait_end(self) -> int:
        assert self.process.stderr is not None
        with trio.fail_after(WAIT_S):
            while data := await self.process.stderr.receive_some(65536):
                self.log += data.decode()
            return await self.process.wait()


def command(*words: str) -> list[str]:
    """Return the command line of our command."""
    return [sys.executable, "-m", "director", *words]


@asynccontextmanager
async def running(
    words: Sequence[str],
    *,
    environ: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> AsyncIterator[Daemon]:
    """Run a command; it is dead at the end of the block."""
    process = await trio.lowlevel.open_process(
        list(words),
        stderr=subprocess.PIPE,
        env={**os.environ, **(environ or {})},
        pass_fds=tuple(pass_fds),
    )
    daemon = Daemon(process)
    try:
        yield daemon
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
            await process.wait()
            assert process.stderr is not None
            await process.stderr.aclose()


@asynccontextmanager
async def serving(config: Path, *options: str) -> AsyncIterator[Daemon]:
    """Run a daemon and wait until it serves."""
    async with running(command("serve", "-c", str(config), *options)) as daemon:
        await daemon.wait_line("daemon_started")
        yield daemon
