"""Who still has sessions: login-sockets.md section 8."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from director.sessions.notify import NotifyFifo
from ring import limits
from tests.director.sessions.rig import NOW, Desk


def place(desk: Desk, name: bytes) -> int:
    """Let a user log in and return its hash."""
    user_hash = desk.runtime.hash_user(name)
    assert desk.runtime.node.lookup(name, user_hash, b"", desk.now) is not None
    return user_hash


def expires_at(desk: Desk, user_hash: int) -> int:
    return desk.runtime.node.user_status(user_hash, b"", desk.now).expires_at


def test_named_user_lives_on(desk: Desk) -> None:
    user_hash = place(desk, b"u1")
    desk.pass_time(40)
    desk.connect_notify().say(b"u1\n")

    assert int(NOW + desk.now) + 60 == expires_at(desk, user_hash)


def test_name_is_unescaped_and_may_come_in_pieces(desk: Desk) -> None:
    user_hash = place(desk, b"a\tb")
    desk.pass_time(40)
    client = desk.connect_notify()
    for piece in (b"a", b"\x01", b"tb\n\n"):
        client.say(piece)

    assert int(NOW + desk.now) + 60 == expires_at(desk, user_hash)


def test_name_is_cut_where_the_lookup_cut_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path, separator=b"*")
    user_hash = place(desk, b"u1")
    desk.pass_time(40)
    desk.connect_notify().say(b"u1*master\n")

    assert int(NOW + desk.now) + 60 == expires_at(desk, user_hash)

    desk.close()


def test_fifo_that_nobody_holds_open_is_served_no_more(desk: Desk, tmp_path: Path) -> None:
    """Such as one whose master died: it would be readable for ever."""
    path = tmp_path / "notify"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    NotifyFifo(desk.surroundings, reader, listener="proxy-notify").start()
    os.write(writer, b"u1\n")
    os.close(writer)
    desk.settle()

    assert 1 == len(desk.notes("notify_lost"))
    assert len(desk.poll_set) == 0


def test_unknown_user_is_not_created(desk: Desk) -> None:
    desk.connect_notify().say(b"nobody\n")

    assert 0 == expires_at(desk, desk.runtime.hash_user(b"nobody"))
    assert desk.runtime.node.statistics().users == 0


@pytest.mark.parametrize("pieces", [1, 3])
def test_over_long_line_is_dropped_and_the_next_one_read(desk: Desk, pieces: int) -> None:
    user_hash = place(desk, b"u1")
    desk.pass_time(40)
    client = desk.connect_notify()
    data = b"x" * (limits.NOTIFY_LINE_BYTES_MAX + 1)
    for _ in range(pieces):
        client.say(data)
    client.say(b"\nu1\n")

    assert int(NOW + desk.now) + 60 == expires_at(desk, user_hash)
    assert 1 == len(desk.notes("notify_line_dropped"))


def test_client_that_closes_ends_its_session(desk: Desk) -> None:
    client = desk.connect_notify()
    assert desk.surroundings.roster.sessions
    client.close()

    assert not desk.surroundings.roster.sessions


def test_fifo_outlives_its_writers(desk: Desk, tmp_path: Path) -> None:
    user_hash = place(desk, b"u1")
    path = tmp_path / "proxy-notify"
    os.mkfifo(path)
    fifo = NotifyFifo(desk.surroundings, os.open(path, os.O_RDWR), listener="proxy-notify")
    fifo.start()
    for _ in range(2):
        desk.pass_time(20)
        writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        os.write(writer, b"u1\n")
        os.close(writer)
        desk.settle()

        assert int(NOW + desk.now) + 60 == expires_at(desk, user_hash)
    fifo.close()
    fifo.close()

    assert not desk.surroundings.roster.sessions


def test_fifo_that_fails_is_noted_and_closed(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "proxy-notify"
    os.mkfifo(path)
    fifo = NotifyFifo(desk.surroundings, os.open(path, os.O_RDWR), listener="proxy-notify")
    fifo.start()
    fifo.failed(OSError("broken"))

    assert 1 == len(desk.notes("notify_lost"))
    assert not desk.surroundings.roster.sessions
