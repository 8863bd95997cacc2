"""The page of conventions between systemd and us."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from director.systemd import Notifier, inherited_listeners

# Started with a listening socket and a FIFO as descriptors 3 and 4, as systemd would.
CHILD = """
import os
from director.systemd import inherited_listeners
os.environ["LISTEN_PID"] = str(os.getpid())
for item in inherited_listeners(os.environ):
    print(item.name, item.descriptor, item.kind.name, os.get_inheritable(item.descriptor))
"""
# Moves its standard input and output where systemd would put listeners.
STARTER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.executable, [sys.executable, "-c", sys.argv[3]])
"""


def notified(tmp_path: Path, environ: dict[str, str]) -> tuple[socket.socket, Notifier]:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.settimeout(5)
    manager.bind(str(tmp_path / "notify"))
    return manager, Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), **environ})


def test_the_manager_hears_every_state(tmp_path: Path) -> None:
    manager, notifier = notified(tmp_path, {})
    with manager:
        notifier.ready("serving")
        ready = manager.recv(1000)
        notifier.reloading()
        reloading = manager.recv(1000)
        notifier.is_alive()
        alive = manager.recv(1000)
        notifier.stopping()
        stopping = manager.recv(1000)

    assert ready == f"READY=1\nSTATUS=serving\nMAINPID={os.getpid()}".encode()
    assert reloading.startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert alive == b"WATCHDOG=1"
    assert stopping == b"STOPPING=1"


def test_an_abstract_address_works() -> None:
    name = f"ringdirector-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(5)
        manager.bind("\0" + name)
        Notifier({"NOTIFY_SOCKET": "@" + name}).stopping()

        assert manager.recv(1000) == b"STOPPING=1"


def test_without_a_manager_nothing_is_said() -> None:
    notifier = Notifier({})
    notifier.ready("serving")

    assert notifier.watchdog_interval_s == 0.0


def test_the_watchdog_is_fed_twice_per_interval_if_it_is_ours() -> None:
    ours = Notifier({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())})
    other = Notifier({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"})

    assert ours.watchdog_interval_s == 5.0
    assert other.watchdog_interval_s == 0.0


def test_listeners_meant_for_another_process_are_not_ours() -> None:
    assert inherited_listeners({"LISTEN_PID": "1", "LISTEN_FDS": "3"}) == ()


def test_listeners_are_inherited_with_their_names(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    fifo = os.open(tmp_path / "fifo", os.O_RDWR)
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            output = run_child(server.fileno(), fifo)
    finally:
        os.close(fifo)

    assert output.splitlines() == ["ring 3 INET False", "proxy-notify 4 FIFO False"]


def test_what_cannot_be_listened_on_is_refused(tmp_path: Path) -> None:
    with (
        (tmp_path / "file").open("w") as file,
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(subprocess.CalledProcessError) as failure,
    ):
        run_child(server.fileno(), file.fileno())

    assert "descriptor 4 (proxy-notify)" in failure.value.stderr


def run_child(*descriptors: int) -> str:
    return subprocess.run(
        [sys.executable, "-c", STARTER, *map(str, descriptors), CHILD],
        check=True,
        capture_output=True,
        text=True,
        pass_fds=descriptors,
        env={**os.environ, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "ring:proxy-notify"},
    ).stdout
