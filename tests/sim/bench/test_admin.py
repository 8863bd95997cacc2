"""The bench's side of director-admin, against a socket that says what a director would."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sim.bench.admin import GREETING, Admin, DirectorRow, HostRow

OWN = b"127.0.0.1\t9090\tself\t0\tring synced\t0\n"
LEFT = b"127.0.0.2\t9090\tleft\t0\tsynced\t1\t145\t629\t0\t281\t17\t17\n"
RIGHT = b"127.0.0.2\t9090\tright\t0\tsynced\t1\t145\t71\t0\t281\t17\t17\n"
GONE = b"127.0.0.9\t9090\tremoved\t0\t\t0\n"


@contextmanager
def director(directory: Path, reply: bytes) -> Iterator[Admin]:
    """Answer one client's greeting and first line."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "admin"))
    listener.listen(1)

    def answer() -> None:
        client, _ = listener.accept()
        with client, client.makefile("rb") as lines:
            assert lines.readline() == GREETING
            client.sendall(GREETING)
            lines.readline()
            client.sendall(reply)

    thread = threading.Thread(target=answer)
    thread.start()
    with listener, Admin(directory / "admin") as admin:
        yield admin
    thread.join()


def test_hosts_and_their_users_are_counted(tmp_path: Path) -> None:
    reply = b"10.0.0.1\t100\t5\t\tU\t0\n10.0.0.2\t100\t2\t\tD\t0\n\n"
    with director(tmp_path, reply) as admin:
        assert admin.hosts() == [
            HostRow(ip="10.0.0.1", users_count=5, state="U"),
            HostRow(ip="10.0.0.2", users_count=2, state="D"),
        ]


def test_rows_without_a_link_have_sent_nothing(tmp_path: Path) -> None:
    with director(tmp_path, OWN + RIGHT + b"\n") as admin:
        assert admin.directors() == [
            DirectorRow(
                ip="127.0.0.1", kind="self", status="ring synced", bytes_received=0, bytes_sent=0
            ),
            DirectorRow(
                ip="127.0.0.2", kind="right", status="synced", bytes_received=145, bytes_sent=71
            ),
        ]


@pytest.mark.parametrize(
    ("rows", "members_count", "is_whole"),
    [
        (OWN, 1, True),
        (OWN, 2, False),
        (OWN + LEFT, 2, False),
        (OWN + LEFT + RIGHT, 2, True),
        (OWN + LEFT + RIGHT, 3, False),
        (OWN + LEFT + RIGHT + GONE, 3, False),
        (OWN.replace(b"ring synced", b"ring handshaking") + LEFT + RIGHT, 2, False),
    ],
)
def test_a_ring_is_whole_when_it_is_synced_with_both_neighbours_and_all_members(
    tmp_path: Path, rows: bytes, members_count: int, is_whole: bool
) -> None:
    with director(tmp_path, rows + b"\n") as admin:
        assert admin.is_whole(members_count) is is_whole


def test_a_director_that_hangs_up_is_an_error(tmp_path: Path) -> None:
    with (
        director(tmp_path, b"half a li") as admin,
        pytest.raises(ConnectionError, match="closed the connection after b'half a li'"),
    ):
        admin.ask("HOST-DOWN", "10.0.0.1")
