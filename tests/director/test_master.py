"""What Dovecot's master gives us is found, whichever of the three descriptor layouts it uses."""

from __future__ import annotations

import os
import struct
import subprocess
import sys

import pytest

from director.errors import StartupRefused
from director.master import find_master

# Builds the descriptors that Dovecot's master would, from number argv[1] on, and looks at them.
CHILD = """
import os, socket, sys
from director.errors import StartupRefused
from director.master import find_master, report_status

first = int(sys.argv[1])
status = os.pipe()
listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
high = [os.dup2(listener.fileno(), 40 + n) for n, listener in enumerate(listeners)]
read_end = os.dup2(status[0], 50)
write_end = os.dup2(status[1], 51)
os.closerange(3, 40)
os.dup2(write_end, 5)
for number in range(7, first):  # the configuration, the pre-accepted client
    os.dup2(os.open(os.devnull, os.O_RDONLY), number)
for n, descriptor in enumerate(high):
    os.dup2(descriptor, first + n)
try:
    master = find_master(os.environ)
except StartupRefused as error:
    sys.exit(str(error))
print(master.service_name, master.generation, master.client_limit, master.dovecot_version)
print(master.restrictions)
for item in master.listeners:
    print(item.name, item.descriptor, item.kind.name, sorted(item.flags))
report_status(master)
print(os.read(read_end, 100).hex(), os.getpid())
"""
ENVIRONMENT = {
    "GENERATION": "3",
    "SOCKET_COUNT": "2",
    "SOCKET0_SETTINGS": "director",
    "SOCKET1_SETTINGS": "ring\tssl\ttype=x",
    "CLIENT_LIMIT": "4000",
    "SERVICE_NAME": "director",
    "DOVECOT_VERSION": "2.4.1",
    "RESTRICT_SETUID": "102",
    "RESTRICT_SETGID": "105",
    "RESTRICT_SETEXTRAGROUPS": "mail,dovenull",
}


def run_child(first: int, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHILD, str(first)],
        capture_output=True,
        text=True,
        env={**os.environ, **ENVIRONMENT, **environ},
    )


def test_without_its_variables_there_is_no_master() -> None:
    assert find_master({"SOCKET_COUNT": "1"}) is None


@pytest.mark.slow
@pytest.mark.parametrize("first", [7, 8, 9])
def test_listeners_are_found_in_every_layout(first: int) -> None:
    result = run_child(first)
    lines = result.stdout.splitlines()
    status, pid = lines[4].split()

    assert lines[:4] == [
        "director 3 4000 2.4.1",
        "Restrictions(user_id=102, group_id=105, extra_groups=('mail', 'dovenull'))",
        f"director {first} INET []",
        f"ring {first + 1} INET ['ssl', 'type=x']",
    ]
    assert struct.unpack("=iII", bytes.fromhex(status)) == (int(pid), 3, 3999)


@pytest.mark.slow
def test_a_missing_listener_is_named() -> None:
    result = run_child(8, SOCKET_COUNT="3", SOCKET2_SETTINGS="director-userdb")

    assert result.returncode == 1
    assert "number 10 (director-userdb) cannot be listened on" in result.stderr


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(StartupRefused, match="GENERATION is 'x', expected a number"):
        find_master({"SOCKET_COUNT": "1", "GENERATION": "x"})
