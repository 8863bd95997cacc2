"""The director-admin socket itself, byte for byte: the original's replies and ours to one script.

The scripts are those of the recordings (captures 10 and 11). Where a line means nothing the
original closes without a word and ours says ERROR first; that is the one difference allowed.
"""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.admin_client import GREETING
from tests.interop.lab import Lab
from tests.interop.programs import Program, wait_until
from tests.interop.proxies import (
    CHECKOUT,
    DirectorKind,
    Proxy,
    ProxySettings,
    director_command,
)
from tests.interop.rings import Ring

pytestmark = [pytest.mark.interop, pytest.mark.slow]

ADMIN_PORT = 20091
HOSTS = ["127.0.0.2", "127.0.0.3", "127.0.0.4@tagA"]
LAST_QUESTION = b"USER-LOOKUP\tthe-end\tno-such-tag\n"
LAST_REPLY = b"\t0\t\t\n"
UNIX_TIME = re.compile(rb"(?<=\t)1[789]\d{8}(?=[\t\n])")

# Each script runs on a connection of its own, one after another on the same director.
SCRIPTS: dict[str, list[bytes]] = {
    "questions": [
        b"HOST-LIST",
        b"HOST-LIST-REMOVED",
        b"DIRECTOR-LIST",
        b"USER-LIST",
        b"USER-LIST\t127.0.0.4",
        b"USER-LIST\t127.0.0.77",
        b"USER-LOOKUP\tu1",
        b"USER-LOOKUP\t3833023709\t",
        b"USER-LOOKUP",
        b"USER-LOOKUP\tu1\ttagA",
        b"USER-LOOKUP\tU1\ttagA\tsurplus",
        b"USER-LOOKUP\t4294967296",
        b"USER-LOOKUP\t0",
    ],
    "pipelined": [
        b"HOST-LIST",
        b"USER-LOOKUP\tu1",
        b"HOST-UP\t127.0.0.77",
        b"HOST-UPDATE\t127.0.0.2\t100",
    ],
    "host changes": [
        b"HOST-SET\t127.0.0.20\t50",
        b"HOST-SET\t127.0.0.21@new\x01ttag",
        b"HOST-SET\t127.0.0.2\t1001",
        b"HOST-UPDATE\t127.0.0.66\t5",
        b"HOST-UPDATE\t127.0.0.66\t5000",
        b"HOST-SET\t127.0.0.2@zz",
        b"HOST-SET\t127.0.0.2@zz\t1001",
        b"HOST-UPDATE\t127.0.0.4@tagA\t7",
        b"HOST-UPDATE\t127.0.0.4@other\t7",
        b"HOST-SET\t127.0.0.4",
        b"HOST-DOWN\t127.0.0.3",
        b"HOST-DOWN\t127.0.0.3",
        b"HOST-DOWN\t127.0.0.66",
        b"HOST-UP\t127.0.0.3",
        b"HOST-SET\tfd00:0::5\t0",
        b"HOST-LIST",
        b"HOST-REMOVE\t127.0.0.20",
        b"HOST-REMOVE\t127.0.0.20",
        b"HOST-REMOVE\t127.0.0.2",
        b"HOST-LIST-REMOVED",
        b"HOST-SET\t127.0.0.2",
        b"HOST-LIST-REMOVED",
        b"HOST-REMOVE\tfd00::5",
        b"HOST-REMOVE\t127.0.0.21",
        b"HOST-LIST",
    ],
    "moves": [
        b"USER-MOVE\tu1\t127.0.0.66",
        b"USER-MOVE\tu1\t127.0.0.2",
        b"USER-MOVE\tu1\t127.0.0.2",
        b"USER-MOVE\tU1\t127.0.0.3",
        b"USER-MOVE\t5\t127.0.0.4",
        b"USER-LOOKUP\tu1",
        b"USER-LOOKUP\t5\ttagA",
        b"USER-LOOKUP\t5",
        b"USER-LIST",
        b"USER-LIST\t127.0.0.4",
        b"HOST-LIST",
    ],
    "kicks": [
        b"USER-KICK\tnobody",
        b"USER-KICK\tnobody\tnowait",
        b"USER-KICK\t",
        b"USER-KICK-ALT\tuser_x\tv",
        b"USER-KICK-ALT\tuser_x\tv\tnowait",
    ],
    "flushes": [
        b"HOST-RESET-USERS\t127.0.0.66",
        b"HOST-RESET-USERS\t\t7",
        b"HOST-RESET-USERS\t127.0.0.2\t50",
        b"HOST-RESET-USERS",
        b"HOST-FLUSH\t127.0.0.66",
        b"HOST-FLUSH\t127.0.0.4",
        b"USER-LIST\t127.0.0.4",
        b"HOST-FLUSH\t",
        b"USER-LIST",
    ],
    "directors": [b"DIRECTOR-REMOVE\t127.0.66.66", b"DIRECTOR-REMOVE\t127.0.66.66\t5"],
    "unknown command": [b"NOSUCH", b"HOST-LIST"],
    "lower case": [b"host-list"],
    "empty line": [b""],
    "bad address": [b"HOST-SET\tnotanip"],
    "bad weight": [b"HOST-SET\t127.0.0.2\tx"],
    "negative weight": [b"HOST-SET\t127.0.0.2\t-1"],
    "no weight": [b"HOST-UPDATE\t127.0.0.2"],
    "no moves at all": [b"HOST-RESET-USERS\t\t0"],
    "no host": [b"USER-MOVE\tu1"],
    "no value": [b"USER-KICK-ALT\tuser_x"],
    "bad director": [b"DIRECTOR-ADD\tx"],
    "wrong major": [b"!VERSION\tdirector-doveadm\t2\t0"],
    "wrong name": [b"!VERSION\tfoo\t1\t0"],
    "no version": [b"!HOST-LIST"],
}


def converse(path: Path, data: bytes) -> bytes:
    """Write everything at once, read up to the last reply or the end, which shows as <EOF>."""
    with socket.socket(socket.AF_UNIX) as unix:
        unix.settimeout(40)
        unix.connect(str(path))
        unix.sendall(data)
        heard = b""
        while not heard.endswith(b"\n" + LAST_REPLY):
            try:
                chunk = unix.recv(65536)
            except ConnectionResetError:
                chunk = b""  # closed with some of our lines unread
            if not chunk:
                return heard + b"<EOF>"
            heard += chunk
        return heard.removesuffix(LAST_REPLY)


def transcript(proxy: Proxy) -> dict[str, bytes]:
    replies = {}
    for name, lines in SCRIPTS.items():
        is_greeted = not lines[0].startswith(b"!")
        data = b"".join(line.removeprefix(b"!") + b"\n" for line in lines)
        greeting = GREETING if is_greeted else b""
        reply = converse(proxy.dovecot.run / "director-admin", greeting + data + LAST_QUESTION)
        reply = UNIX_TIME.sub(b"TIME", reply.replace(proxy.ip.encode(), b"OWN"))
        replies[name] = re.sub(rb"(?m)^ERROR\t.*\n(?=<EOF>)", b"", reply)
    return replies


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


def test_every_reply_is_the_original_s(lab: Lab) -> None:
    transcripts = []
    for name, kind in (("real", DirectorKind.REAL), ("ours", DirectorKind.STANDALONE)):
        ip = lab.address()
        settings = ProxySettings(
            kind=kind,
            director={
                "director_servers": ip,
                "director_mail_servers": " ".join(HOSTS),
                "director_user_kick_delay": "5 min",
            },
            protocols=(),
            is_ring_member=True,
        )
        proxy = Proxy(lab, name, ip, settings)
        proxy.start()
        transcripts.append(transcript(proxy))
        proxy.kill()
    expected, actual = transcripts

    for name in SCRIPTS:
        assert actual[name].splitlines() == expected[name].splitlines(), name


@pytest.fixture(scope="module")
def ring(lab: Lab) -> Iterator[Ring]:
    """The original and ours, each the other's only neighbour."""
    made = Ring(lab, [DirectorKind.REAL, DirectorKind.STANDALONE], HOSTS, {})
    made.start()
    yield made
    for node in made.up:
        node.kill()


def host_lines(proxy: Proxy) -> list[bytes]:
    """Return the host list without users and times, which the nodes need not share at once."""
    reply = converse(
        proxy.dovecot.run / "director-admin", GREETING + b"HOST-LIST\n" + LAST_QUESTION
    )
    rows = [line.split(b"\t") for line in reply.removeprefix(GREETING).split(b"\n") if line]
    return [b"\t".join([*row[:2], *row[3:5]]) for row in rows]


def test_pipelined_changes_are_all_made_in_a_ring(ring: Ring) -> None:
    """The original loses the second one when it has to wait for a neighbour (captures/11)."""
    real, ours = ring.nodes

    reply = converse(
        ours.dovecot.run / "director-admin",
        GREETING
        + b"HOST-SET\t127.0.0.20\t50\nHOST-SET\t127.0.0.21\t50\nHOST-LIST\n"
        + b"HOST-REMOVE\t127.0.0.20\nHOST-REMOVE\t127.0.0.21\n"
        + LAST_QUESTION,
    )

    assert reply == GREETING + b"OK\nOK\n" + (
        b"127.0.0.2\t100\t0\t\tU\t0\n127.0.0.3\t100\t0\t\tU\t0\n127.0.0.4\t100\t0\ttagA\tU\t0\n"
        b"127.0.0.20\t50\t0\t\tU\t0\n127.0.0.21\t50\t0\t\tU\t0\n\nOK\nOK\n"
    )
    assert host_lines(real) == host_lines(ours)


@pytest.mark.parametrize("watched", [0, 1], ids=["original", "ours"])
def test_a_watchdog_takes_a_host_out_and_in_again(ring: Ring, watched: int) -> None:
    """List, down and flush in one write as poolmon does, up; a host of weight 0 stays at 0."""
    here, there = ring.nodes[watched], ring.nodes[1 - watched]
    with here.admin() as admin:
        assert admin.ask("HOST-UPDATE", "127.0.0.3", "0") == "OK"
        assert admin.ask("USER-MOVE", str(77 + watched), "127.0.0.2") == "OK"
        users = {host.ip: host.users_count for host in admin.hosts()}

    assert users["127.0.0.2"] >= 1

    if here.settings.kind is DirectorKind.REAL:
        # It loses the second line of one write, so its watchdogs must wait in between.
        with here.admin() as admin:
            replies = [admin.ask(name, "127.0.0.2") for name in ("HOST-DOWN", "HOST-FLUSH")]

        assert replies == ["OK", "OK"]
    else:
        lines = b"HOST-DOWN\t127.0.0.2\nHOST-FLUSH\t127.0.0.2\n"

        assert converse(here.dovecot.run / "director-admin", GREETING + lines + LAST_QUESTION) == (
            GREETING + b"OK\nOK\n"
        )

    assert host_lines(here)[0] == b"127.0.0.2\t100\t\tD"
    assert host_lines(there) == host_lines(here)

    with here.admin() as admin:
        assert [row for row in admin.users() if row.ip == "127.0.0.2"] == []
        assert admin.ask("HOST-DOWN", "127.0.0.3") == "OK"
        assert admin.ask("HOST-UP", "127.0.0.3") == "OK"
        assert admin.ask("HOST-UP", "127.0.0.2") == "OK"

    wait_until(lambda: host_lines(there) == host_lines(here), 10, "agreement on hosts")

    assert host_lines(here)[:2] == [b"127.0.0.2\t100\t\tU", b"127.0.0.3\t0\t\tU"]


def test_administrators_are_served_over_tcp(lab: Lab) -> None:
    """With the original's client; the unix socket beside it is for root only (section 1.1)."""
    ip = lab.address()
    directory = lab.directory / "tcp"
    (directory / "login").mkdir(parents=True)
    configuration = directory / "director.conf"
    configuration.write_text(
        f"base_dir = {directory}\n"
        f"director_mail_servers = {' '.join(HOSTS)}\n"
        "service director {\n"
        "  user = root\n"
        "  unix_listener login/director {\n    mode = 0666\n  }\n"
        "  unix_listener director-admin {\n    mode = 0600\n  }\n"
        f"  inet_listener doveadm {{\n    address = {ip}\n    port = {ADMIN_PORT}\n  }}\n"
        "}\n"
    )
    program = lab.keep(
        Program(
            director_command("serve", "-c", str(configuration)),
            log=directory / "director.log",
            environment={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
    )
    wait_until((directory / "director-admin").exists, 20, "start of the director")
    command = ["doveadm", "-c", str(configuration), "-f", "tab", "-h", "director", "status"]

    result = subprocess.run(
        [*command, "-a", f"{ip}:{ADMIN_PORT}"], capture_output=True, text=True, check=False
    )
    mode = stat.S_IMODE((directory / "director-admin").stat().st_mode)
    program.stop()

    assert mode == 0o600
    assert (result.returncode, result.stderr) == (0, "")
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == [
        "127.0.0.2",
        "127.0.0.3",
        "127.0.0.4",
    ]
    assert not (directory / "director-admin").exists()
