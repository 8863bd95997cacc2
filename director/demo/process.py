"""The director as a process of its own, started and asked as an operator would."""

from __future__ import annotations

import math
import os
import pwd
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import trio

READY_S = 10.0

CONFIGURATION = """\
base_dir = {base_dir}
default_internal_user = {user}
director_mail_servers = {ips}
director_user_kick_delay = 0 s
{settings}
service director {{
  user = {user}
  unix_listener login/{login} {{
    mode = 0666
  }}
  unix_listener director-admin {{
    mode = 0600
  }}
{listeners}}}
"""


class StoryFailed(Exception):
    """The story could not be told to its end; the text says why."""


class LoginFailed(Exception):
    """A user did not get a session; the text says why."""


class Director:
    """The daemon as a process of its own, with its configuration and log in `directory`."""

    def __init__(
        self,
        directory: Path,
        *,
        ips: Sequence[str],
        base_dir: Path | None = None,
        user: str = "",
        login: str = "director",
        settings: str = "",
        listeners: str = "",
    ) -> None:
        """Write the configuration: `ips` are the backends, `login` the socket's name in login/.

        Dovecot lives in `base_dir` (by default in `directory`), the daemon becomes `user` (by
        default whoever runs the demo).
        """
        base_dir = base_dir or directory
        self.directory = directory
        self.login_socket = base_dir / "login" / login
        self.login_socket.parent.mkdir(exist_ok=True)
        self.config = directory / "director.conf"
        self.log = directory / "director.log"
        text = CONFIGURATION.format(
            base_dir=base_dir,
            user=user or pwd.getpwuid(os.geteuid()).pw_name,
            ips=" ".join(ips),
            login=login,
            settings=settings,
            listeners=listeners,
        )
        self.config.write_text(text)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run it until cancelled; it is started when it says so, as a service manager sees it.

        Raises:
            StoryFailed: it ended by itself, or was not ready in time.
        """
        command = [sys.executable, "-m", "director", "serve", "-c", str(self.config)]
        address = self.directory / "notify"
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            await notify.bind(str(address))
            await trio.Path(address).chmod(0o666)  # the daemon may be somebody else by then
            environ = {**os.environ, "NOTIFY_SOCKET": str(address)}
            with self.log.open("wb") as log:
                process = await trio.lowlevel.open_process(command, stderr=log, env=environ)
            try:
                with trio.move_on_after(READY_S) as patience:
                    await _wait_ready(notify, process)
                    patience.deadline = math.inf
                    if process.returncode is None:
                        task_status.started()
                    await process.wait()
                raise StoryFailed("the director did not stay up:\n" + self.log.read_text())
            finally:
                with trio.CancelScope(shield=True):
                    await _end(process)

    async def command(self, *words: str) -> str:
        """Run an administrator's command; return what it printed.

        Raises:
            StoryFailed: it did not work.
        """
        command = [sys.executable, "-m", "director", "-c", str(self.config), *words]
        result = await trio.run_process(
            command, check=False, capture_stdout=True, capture_stderr=True
        )
        if result.returncode:
            raise StoryFailed(f"director {' '.join(words)}: {result.stderr.decode()}")
        return result.stdout.decode()


async def _wait_ready(notify: trio.socket.SocketType, process: trio.Process) -> None:
    async with trio.open_nursery() as nursery:

        async def give_up_at_end() -> None:
            await process.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(give_up_at_end)
        while b"READY=1" not in await notify.recv(4096):
            pass
        nursery.cancel_scope.cancel()


async def _end(process: trio.Process) -> None:
    process.terminate()
    with trio.move_on_after(5):
        await process.wait()
        return
    process.kill()
    await process.wait()
