"""The world of the demo with real Dovecot 2.3: two proxies with a director each, four backends.

The two directors form a ring, so the second login, through the other proxy, shows that they agree.
All instances have directories, addresses and ports of their own; nothing of the system's Dovecot is
read or touched. Root is needed because Dovecot's master must be started by root.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import attrs
import trio

from director.demo.process import Director, LoginFailed, StoryFailed
from director.demo.standins import find_common_port
from director.demo.story import BACKEND_IPS, Outcome, Play, Say

PROXY_IPS = ("127.0.0.15", "127.0.0.16")
NOBODY = 65534
START_S = 8.0

_COMMON = """\
base_dir = {directory}/run
state_dir = {directory}/state
instance_name = {name}
log_path = {directory}/log
protocols = imap
listen = {ip}
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
mail_max_userip_connections = 1000
default_client_limit = 4000
service imap-login {{
  {executable}
  service_count = 0
  process_min_avail = 1
  client_limit = 1000
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service director {{
  unix_listener director-admin {{
    mode = 0
  }}
}}
userdb {{
  driver = static
  args = uid={nobody} gid={nobody} home={directory}/mail/%u
}}
mail_location = maildir:{directory}/mail/%u
"""

_BACKEND = """\
imap_capability = +XBACKEND={name}
service imap {{
  service_count = 0
  client_limit = 1000
}}
passdb {{
  driver = static
  args = nopassword=y
}}
"""

_PROXY = """\
passdb {{
  driver = static
  args = nopassword=y proxy=y port={port}
}}
service ipc {{
  unix_listener ipc {{
    user = dovecot
  }}
}}
"""

_RING = """\
  inet_listener ring {{
    address = {ip}
    port = {port}
  }}
"""


@attrs.define(eq=False, kw_only=True)
class Dovecot:
    """One real instance; a backend or a proxy."""

    name: str
    ip: str
    port: int
    directory: Path
    configuration: str
    _scope: trio.CancelScope | None = None

    @property
    def base_dir(self) -> Path:
        return self.directory / "run"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be up until `stop`.

        Raises:
            StoryFailed: it does not start.
        """
        self._prepare()
        process = await trio.lowlevel.open_process(
            ["dovecot", "-F", "-c", str(self.directory / "dovecot.conf")],
            stderr=subprocess.DEVNULL,  # it is in the log as well
            start_new_session=True,
        )
        try:
            with trio.CancelScope() as self._scope:
                await self._wait_accepting()
                task_status.started()
                await process.wait()
        finally:
            with trio.CancelScope(shield=True):
                await _end_session(process)

    def stop(self) -> None:
        """Go down, and take the sessions along."""
        assert self._scope is not None
        self._scope.cancel()

    def _prepare(self) -> None:
        for part in (self.directory, self.directory / "mail"):
            part.mkdir(exist_ok=True)
            part.chmod(0o755)
        os.chown(self.directory / "mail", NOBODY, NOBODY)
        (self.directory / "dovecot.conf").write_text(self.configuration)

    async def _wait_accepting(self) -> None:
        with trio.move_on_after(START_S):
            while True:
                try:
                    stream = await trio.open_tcp_stream(self.ip, self.port)
                except OSError:
                    await trio.sleep(0.05)
                    continue
                await stream.aclose()
                return
        log = self.directory / "log"
        raise StoryFailed(f"{self.name} did not start: {log.read_text() if log.exists() else ''}")


@attrs.define(eq=False, kw_only=True)
class ImapSession:
    """A session through a proxy."""

    user: str
    backend_name: str
    stream: trio.SocketStream

    async def is_alive(self) -> bool:
        """Return whether the backend still answers."""
        try:
            await self.stream.send_all(b"n NOOP\r\n")
            return b"n OK" in await self.stream.receive_some(1000)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False


@attrs.define(eq=False, kw_only=True)
class ImapProxy:
    """A proxy as mail clients see it."""

    name: str
    ip: str
    port: int
    sessions: list[ImapSession] = attrs.field(factory=list)

    async def log_in(self, user: str) -> ImapSession:
        """Log a user in, to wherever the director says.

        Raises:
            LoginFailed: the proxy refused, or the backend did not say who it is.
        """
        stream = await trio.open_tcp_stream(self.ip, self.port)
        await _read_answer(stream, "*")
        for command in (f"l LOGIN {user} secret", "c CAPABILITY"):
            await stream.send_all(f"{command}\r\n".encode())
            answer = await _read_answer(stream, f"{command[0]} ")
            if f"{command[0]} OK".encode() not in answer:
                raise LoginFailed(f"{user}: {self.name} answered {answer!r}")
        found = re.search(rb"XBACKEND=(\S+)", answer)
        if found is None:
            raise LoginFailed(f"{user}: no backend named itself in {answer!r}")
        session = ImapSession(user=user, backend_name=found[1].decode(), stream=stream)
        self.sessions.append(session)
        return session


async def play_with_dovecot(directory: Path, say: Say) -> Outcome:
    """Play the story below `directory`, which must be empty and have a short name.

    Raises:
        StoryFailed: there is no Dovecot 2.3, or we are not root.
    """
    if os.geteuid() != 0 or shutil.which("dovecot") is None:
        raise StoryFailed("Dovecot 2.3 must be installed, and only root can start it")
    await trio.Path(directory).chmod(0o755)  # Dovecot's unprivileged processes must get in
    imap_port = await find_common_port([*BACKEND_IPS, *PROXY_IPS])
    ring_port = await find_common_port(list(PROXY_IPS))
    backends = [
        _make_dovecot(directory, f"backend-{number}", ip, imap_port, is_proxy=False)
        for number, ip in enumerate(BACKEND_IPS, 1)
    ]
    proxies = [
        _make_dovecot(directory, f"proxy-{number}", ip, imap_port, is_proxy=True)
        for number, ip in enumerate(PROXY_IPS, 1)
    ]
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as starting:
            for dovecot in (*backends, *proxies):
                starting.start_soon(nursery.start, dovecot.run)
        members = " ".join(f"{ip}:{ring_port}" for ip in PROXY_IPS)
        directors = [
            Director(
                proxy.directory,
                ips=BACKEND_IPS,
                base_dir=proxy.base_dir,
                user="dovecot",
                login="ext/director",
                settings=f"director_servers = {members}",
                listeners=_RING.format(ip=proxy.ip, port=ring_port),
            )
            for proxy in proxies
        ]
        for director in directors:
            await nursery.start(director.run)
        first, second = (
            ImapProxy(name=proxy.name, ip=proxy.ip, port=imap_port) for proxy in proxies
        )
        say("4 Dovecot backends and 2 Dovecot proxies are up, with a ring of 2 directors.")
        play = Play(director=directors[0], backends=backends, proxies=(first, second), say=say)
        outcome = await play.run(nursery)
        for session in (*first.sessions, *second.sessions):
            await session.stream.aclose()
        nursery.cancel_scope.cancel()
    return outcome


def _make_dovecot(directory: Path, name: str, ip: str, port: int, *, is_proxy: bool) -> Dovecot:
    own = directory / name
    template = _COMMON + (_PROXY if is_proxy else _BACKEND)
    configuration = template.format(
        directory=own,
        name=name,
        ip=ip,
        port=port,
        nobody=NOBODY,
        executable="executable = imap-login ext/director" if is_proxy else "",
    )
    return Dovecot(name=name, ip=ip, port=port, directory=own, configuration=configuration)


async def _read_answer(stream: trio.SocketStream, tag: str) -> bytes:
    """Return what comes up to the end of the line that begins with `tag`, or of the stream."""
    data = b""
    while not any(line.startswith(tag.encode()) for line in data.split(b"\r\n")[:-1]):
        chunk = await stream.receive_some(4096)
        if not chunk:
            break
        data += chunk
    return data


async def _end_session(process: trio.Process) -> None:
    """End an instance and everything it started, as when the machine loses power."""
    if process.returncode is None:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    _kill_session(process.pid)


def _kill_session(session_id: int) -> None:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _session_of(entry) == session_id:
            try:
                os.kill(int(entry.name), signal.SIGKILL)
            except ProcessLookupError:
                pass


def _session_of(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[3])
    except OSError:
        return 0
