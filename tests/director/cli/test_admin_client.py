"""Finding the socket, shaking hands, cutting replies; messages as recorded (captures 13, 14)."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from director.cli.admin_client import (
    HANDSHAKE,
    LINE_BYTES_MAX,
    AdminClient,
    Disconnected,
    split_host_port,
)
from director.cli.failures import Fatal
from tests.director.cli.scripted_server import ScriptedServer


def failure(socket_name: str) -> tuple[str, int]:
    with pytest.raises(Fatal) as fatal:
        AdminClient(socket_name)
    return str(fatal.value), fatal.value.status


def test_a_missing_socket_is_fatal_and_hints_at_the_daemon(tmp_path: Path) -> None:
    path = tmp_path / "director-admin"

    assert failure(str(path)) == (
        f"net_connect_unix({path}) failed: No such file or directory - is the director running? "
        "(director serve; -a names another socket)",
        75,
    )


def test_a_plain_file_refuses_connections(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")

    assert failure(str(path))[0].startswith(
        f"net_connect_unix({path}) failed: Connection refused - "
    )


def test_a_path_too_long_for_a_socket_is_fatal() -> None:
    message, status = failure("/" + "x" * 200)

    assert (message.partition(" failed: ")[2], status) == ("AF_UNIX path too long", 75)


def test_nobody_at_a_tcp_port_is_fatal() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    assert failure(f"127.0.0.1:{port}") == (
        f"connect(127.0.0.1:{port}) failed: Connection refused",
        75,
    )


def test_a_host_that_does_not_exist_is_fatal() -> None:
    assert failure(":9090") == ("Lookup of host  failed: Name or service not known", 75)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("10.0.0.1:9090", ("10.0.0.1", 9090)),
        ("host.example:1", ("host.example", 1)),
        ("host.example", ("host.example", 0)),
        ("[::1]:9090", ("::1", 9090)),
        ("[::1]", ("::1", 0)),
        ("::1", ("::1", 0)),
        ("fd00::1:2", ("fd00::1:2", 0)),
        ("", ("", 0)),
    ],
)
def test_host_and_port_are_told_apart(name: str, expected: tuple[str, int]) -> None:
    assert split_host_port(name) == expected


@pytest.mark.parametrize("name", ["h:", "h:x", "h:0", "h:65536", "h:-1", "h:\u0663"])
def test_a_port_that_is_none_is_fatal(name: str) -> None:
    assert failure(name)[0].startswith(f"Port not known for {name}: ")


@pytest.mark.parametrize(
    "greeting",
    [
        b"VERSION\tdirector-doveadm\t2\t0\n",
        b"VERSION\tauth-master\t1\t0\n",
        b"VERSION\tdirector-doveadm\t1\n",
        b"VERSION\tdirector-doveadm\t1\tx\n",
        b"hello\n",
        b"\n",
    ],
)
def test_another_greeting_is_no_director(tmp_path: Path, greeting: bytes) -> None:
    with ScriptedServer(tmp_path, {}, greeting=greeting) as server:
        outcome = failure(str(server.path))

    assert outcome == (f"{server.path} not a compatible director-doveadm socket", 76)


def test_any_minor_version_will_do(tmp_path: Path) -> None:
    with ScriptedServer(tmp_path, {}, greeting=b"VERSION\tdirector-doveadm\t1\t9\n") as server:
        client = AdminClient(str(server.path))
        client.send([b"HOST-UP", b"1.2.3.4"])
        reply = client.line()
        client.close()

    assert (reply, server.received) == (b"OK", [HANDSHAKE, b"HOST-UP\t1.2.3.4\n"])


def test_a_server_that_closes_at_once_is_fatal(tmp_path: Path) -> None:
    with ScriptedServer(tmp_path, {b"VERSION": b""}, greeting=b"") as server:
        outcome = failure(str(server.path))

    assert outcome == (f"{server.path} disconnected", 75)


def test_a_silent_server_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("director.cli.admin_client.HANDSHAKE_TIMEOUT_S", 0.01)
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        outcome = failure(str(path))

    assert outcome == (f"read({path}) timed out (is director configured?)", 75)


def test_lists_are_unescaped_and_end_with_an_empty_line(tmp_path: Path) -> None:
    replies = {b"HOST-LIST": b"a\x01tb\tc\n\td\n\n", b"HOST-UP": b"NOTFOUND\n"}
    with ScriptedServer(tmp_path, replies) as server:
        client = AdminClient(str(server.path))
        client.send([b"HOST-LIST"], [b"HOST-UP"])
        rows = list(client.rows())
        line = client.line()
        client.close()

    assert (rows, line) == ([[b"a\tb", b"c"], [b"", b"d"]], b"NOTFOUND")


@pytest.mark.parametrize("reply", [b"", b"OK", b"x" * (LINE_BYTES_MAX + 1)])
def test_a_reply_that_breaks_off_is_noticed(tmp_path: Path, reply: bytes) -> None:
    replies = {b"HOST-UP": reply, b"QUIT": b""}
    with ScriptedServer(tmp_path, replies) as server:
        client = AdminClient(str(server.path))
        client.send([b"HOST-UP"], [b"QUIT"])
        with pytest.raises(Disconnected, match="unexpectedly disconnected"):
            client.line()
        client.close()
