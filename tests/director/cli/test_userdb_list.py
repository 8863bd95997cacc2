"""Listing users over auth-userdb, against a scripted auth service."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from director.cli.userdb_list import LINE_BYTES_MAX, UserListFailed, list_users
from tests.director.cli.scripted_server import ScriptedServer

GREETING = b"VERSION\t1\t1\nSPID\t123\n"


def served(directory: Path, reply: bytes) -> ScriptedServer:
    return ScriptedServer(directory, {b"LIST": reply}, greeting=GREETING, is_closing=True)


def test_names_come_as_they_are_listed(tmp_path: Path) -> None:
    reply = b"LIST\t1\tu1\nLIST\t1\ta\x01tb\nLIST\t1\nDONE\t1\t\n"
    with served(tmp_path, reply) as server:
        names = list(list_users(str(server.path)))

    assert names == [b"u1", b"a\tb"]
    assert server.received == [b"VERSION\t1\t0\n", b"LIST\t1\tservice=doveadm\n"]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"LIST\t1\tu1\nDONE\t1\tfail\n", "User listing returned failure"),
        (b"LIST\t1\tu1\n", "disconnected before the end of the list"),
        (b"HELLO\n", r"unexpected line b'HELLO'"),
        (b"DONE\t2\t\n", r"unexpected line b'DONE\\t2\\t'"),
        (b"x" * (LINE_BYTES_MAX + 1), "a line of more than 8192 bytes"),
    ],
)
def test_a_list_that_is_not_whole_says_why(tmp_path: Path, reply: bytes, reason: str) -> None:
    with served(tmp_path, reply) as server, pytest.raises(UserListFailed, match=reason):
        list(list_users(str(server.path)))


def test_no_auth_service_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UserListFailed, match="auth-userdb: No such file or directory"):
        list(list_users(str(tmp_path / "auth-userdb")))


def test_map_uses_the_socket_of_the_configuration(tmp_path: Path) -> None:
    with served(tmp_path, b"LIST\t1\tu1\nDONE\t1\t\n") as server:
        shutil.move(server.path, tmp_path / "auth-userdb")
        names = list(list_users(str(tmp_path / "auth-userdb")))

    assert names == [b"u1"]
