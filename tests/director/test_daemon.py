"""The daemon as a process: start, readiness, reload, end, and the ways it refuses to start."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from director.daemon import LIVE_SETTINGS
from director.settings import Settings
from tests.director.process import WAIT_S, command, running, serving, write_configuration

pytestmark = pytest.mark.slow


def test_live_settings_are_settings() -> None:
    names = {field.name for field in Settings.__attrs_attrs__}  # type: ignore[attr-defined]

    assert names >= LIVE_SETTINGS


async def test_it_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    config = write_configuration(tmp_path)
    async with serving(config) as daemon:
        paths = [tmp_path / "login/director", tmp_path / "login/proxy-notify"]
        are_there = [path.exists() for path in paths]
        status = await daemon.stop()

        assert are_there == [True, True]
        assert status == os.EX_OK
        assert "daemon_stopped reason=SIGTERM" in daemon.log
        assert [path.exists() for path in paths] == [False, False]


async def test_the_service_manager_is_told_everything(tmp_path: Path) -> None:
    config = write_configuration(tmp_path)
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        await manager.bind(str(tmp_path / "notify"))
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        words = command("serve", "-c", str(config))
        async with running(words, environ=environ) as daemon:
            await wait_states(manager, ["READY=1", "WATCHDOG=1", "WATCHDOG=1"])
            await daemon.signal(signal.SIGHUP)
            await wait_states(manager, ["RELOADING=1", "READY=1"])
            daemon.process.terminate()
            await wait_states(manager, ["STOPPING=1"])


async def wait_states(manager: trio.socket.SocketType, states: list[str]) -> None:
    """Wait for these, in this order; others may come between."""
    with trio.fail_after(WAIT_S):
        for state in states:
            while (await manager.recv(4096)).decode().partition("\n")[0] != state:
                pass


async def test_a_reload_applies_what_it_can_and_names_the_rest(tmp_path: Path) -> None:
    config = write_configuration(tmp_path)
    async with serving(config) as daemon:
        write_configuration(tmp_path, "director_log_format = json\ndirector_user_expire = 20 min\n")
        await daemon.signal(signal.SIGHUP)
        applied = json.loads(await daemon.wait_line("configuration_reloaded"))
        late = json.loads(await daemon.wait_line("restart_needed"))

        assert applied["changed"] == "log_format"
        assert late["settings"] == "user_expire_s"


async def test_a_wrong_configuration_is_refused_and_the_old_one_kept(tmp_path: Path) -> None:
    config = write_configuration(tmp_path)
    async with serving(config) as daemon:
        config.write_text("director_mail_servers = 10.0.0.1\ndirector_user_expire = soon\n")
        await daemon.signal(signal.SIGHUP)
        line = await daemon.wait_line("reload_refused")
        status = await daemon.stop()

        assert "director.conf:2:" in line
        assert status == os.EX_OK


async def test_inherited_sockets_are_served_and_outlive_us(tmp_path: Path) -> None:
    config = write_configuration(tmp_path)
    login = tmp_path / "login/director"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(login))
        listening.listen()
        number = listening.fileno()
        words = [sys.executable, "-c", STARTER, str(number), *command("serve", "-c", str(config))]
        async with running(words, pass_fds=[number]) as daemon:
            await daemon.wait_line("daemon_started")
            await daemon.stop()

    assert login.exists()


STARTER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Becomes the daemon, as systemd would start it."""


async def test_a_client_that_comes_while_the_daemon_is_away_is_served_by_the_next(
    tmp_path: Path,
) -> None:
    config = write_configuration(tmp_path)
    path = tmp_path / "director-admin"
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as client:
        listening.bind(str(path))
        listening.listen()
        number = listening.fileno()
        words = [sys.executable, "-c", STARTER, str(number), *command("serve", "-c", str(config))]
        async with running(words, pass_fds=[number]) as daemon:
            await daemon.wait_line("daemon_started")
            await daemon.stop()
        client.connect(str(path))
        async with running(words, pass_fds=[number]) as daemon:
            await daemon.wait_line("daemon_started")
            client.settimeout(WAIT_S)
            greeting = client.recv(100)

    assert greeting.startswith(b"VERSION\tdirector-doveadm\t")


async def test_a_second_daemon_refuses_to_take_the_sockets(tmp_path: Path) -> None:
    config = write_configuration(tmp_path)
    async with serving(config):
        result = await run(command("serve", "-c", str(config)))

        assert result.returncode == os.EX_UNAVAILABLE
        assert b"another process answers there" in result.stderr


async def test_a_killed_daemon_leaves_nothing_that_stops_the_next(tmp_path: Path) -> None:
    config = write_configuration(tmp_path)
    async with serving(config) as daemon:
        daemon.process.kill()
        await daemon.wait_end()
    async with serving(config) as daemon:
        status = await daemon.stop()

        assert status == os.EX_OK


async def test_directors_form_a_ring(tmp_path: Path) -> None:
    ports = []
    for number in (2, 3):
        with socket.create_server((f"127.0.0.{number}", 0)) as probe:
            ports.append(probe.getsockname()[1])
    members = f"127.0.0.2:{ports[0]} 127.0.0.3:{ports[1]}"
    configs = []
    for index, port in enumerate(ports):
        directory = tmp_path / str(index)
        directory.mkdir()
        listener = f"inet_listener ring {{\n  address = 127.0.0.{index + 2}\n  port = {port}\n  }}"
        configs.append(write_configuration(directory, f"director_servers = {members}\n", listener))
    async with serving(configs[0]) as first, serving(configs[1]) as second:
        await first.wait_line("ring_synced")
        await second.wait_line("ring_synced")
        statuses = [await second.stop(), await first.stop()]

        assert statuses == [os.EX_OK, os.EX_OK]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["-O", "-m", "director", "serve"], os.EX_SOFTWARE, b"leave out python -O"),
        (["-m", "director", "serve", "-o", "director_user_expire=1 s"], os.EX_CONFIG, b"10"),
        (["-m", "director", "serve", "-o", "base_dir=/nonexistent"], os.EX_UNAVAILABLE, b"No such"),
        (["-m", "director", "serve", "-c", "/nonexistent.conf"], os.EX_CONFIG, b"nonexistent"),
    ],
)
async def test_it_says_why_it_does_not_start(
    tmp_path: Path, words: Sequence[str], status: int, message: bytes
) -> None:
    config = write_configuration(tmp_path)
    result = await run([sys.executable, *words], {"DIRECTOR_CONFIG": str(config)})

    assert message in result.stderr
    assert result.returncode == status
    assert b"Traceback" not in result.stderr


async def run(
    words: Sequence[str], environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    with trio.fail_after(WAIT_S):
        return await trio.run_process(
            list(words),
            check=False,
            capture_stderr=True,
            env={**os.environ, **(environ or {})},
        )
