"""The keeper: what it holds outlives whoever gave it, and nothing else is held."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from director import keeper
from director.sessions import keeping
from tests.director.keepers import TIMEOUT_S, Daemon, descriptors_count, keeper_of


@pytest.fixture
def name(tmp_path: Path) -> str:
    return keeping.name_of(tmp_path)


@pytest.fixture
def pairs() -> Generator[list[tuple[socket.socket, socket.socket]], None, None]:
    """The ends of a client and of the auth service; each with the director's end behind it."""
    made = [socket.socketpair(), socket.socketpair()]
    for pair in made:
        for sock in pair:
            sock.settimeout(TIMEOUT_S)
    yield made
    for pair in made:
        for sock in pair:
            sock.close()


def test_a_successor_hears_what_was_said_while_nobody_was_there(
    name: str, pairs: list[tuple[socket.socket, socket.socket]]
) -> None:
    (login, ours), (auth, upstream) = pairs
    before = descriptors_count()
    with keeper_of(name, 60.0):
        first = Daemon.of(name).hear()
        assert first.marks is not None
        first.keep(7, ours, upstream)
        first.marks[7] = 1
        ours.close()
        upstream.close()
        first.die()
        login.send(b"AUTH\t1\n")
        auth.send(b"OK\t1\n")
        second = Daemon.of(name).hear()
        assert second.marks is not None
        label, client, upstream = second.kept[7]

        assert (label, client.recv(99), upstream.recv(99)) == (
            b"director",
            b"AUTH\t1\n",
            b"OK\t1\n",
        )
        assert (second.marks[6], second.marks[7]) == (0, 1)

        second.forget(7)
        second.die()

    assert login.recv(99) == b""
    assert descriptors_count() == before - 2


def test_a_successor_waits_until_its_predecessor_has_gone(
    name: str, pairs: list[tuple[socket.socket, socket.socket]]
) -> None:
    (login, ours), (_, upstream) = pairs
    with keeper_of(name, 60.0):
        first = Daemon.of(name).hear()
        second = Daemon.of(name)
        first.keep(3, ours, upstream)
        second.sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            second.hear()
        second.sock.settimeout(TIMEOUT_S)
        first.die()
        second.hear()

        assert list(second.kept) == [3]

        login.close()
        second.die()


def test_whoever_waited_and_went_is_not_served(name: str) -> None:
    with keeper_of(name, 60.0):
        first, impatient = Daemon.of(name).hear(), Daemon.of(name)
        impatient.die()
        first.die()


def test_it_ends_when_nothing_it_keeps_is_alive(
    name: str,
    pairs: list[tuple[socket.socket, socket.socket]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeper, "LOOK_PERIOD_MS", 5)
    (login, ours), (_, upstream) = pairs
    with keeper_of(name, 60.0) as thread:
        daemon = Daemon.of(name).hear()
        daemon.keep(3, ours, upstream)
        daemon.die()
        ours.close()
        thread.join(0.05)
        assert thread.is_alive()
        login.close()


def test_nobody_comes_in_time(
    name: str,
    pairs: list[tuple[socket.socket, socket.socket]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeper, "LOOK_PERIOD_MS", 5)
    (login, ours), (_, upstream) = pairs
    with keeper_of(name, 0.05):
        daemon = Daemon.of(name).hear()
        daemon.keep(3, ours, upstream)
        ours.close()
        daemon.die()

    assert login.recv(99) == b""


def test_it_is_a_program_of_its_own(name: str) -> None:
    """It needs nothing but its descriptor, and whoever starts it need not wait for it."""
    with keeping.listen(name) as listener:
        command = [sys.executable, "-I", keeper.__file__, str(listener.fileno()), "60"]
        done = subprocess.run(command, pass_fds=[listener.fileno()], env={}, cwd="/", check=False)
    daemon = Daemon.of(name).hear()

    assert done.returncode == 0
    assert daemon.marks is not None
    assert len(daemon.marks) == keeper.SLOTS_COUNT

    daemon.die()
