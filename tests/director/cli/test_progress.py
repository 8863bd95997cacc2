"""What is shown while a flush runs and while status is watched."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from director.cli import progress
from tests.director.cli.conftest import Director
from tests.director.cli.outcome import Outcome
from tests.director.cli.scripted_server import HANDSHAKE, ScriptedServer

HOSTS = b"1.2.3.4\t100\t%d\t\tU\t0\n1.2.3.5\t100\t4\t\tU\t0\n\n"


class SlowFlush:
    """A director that answers a flush when the hosts have been listed three times."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def finish(self) -> None:
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        flushing, _ = self._listener.accept()
        with flushing, flushing.makefile("rb") as commands:
            flushing.sendall(HANDSHAKE)
            assert commands.readline() == HANDSHAKE
            assert commands.readline().startswith(b"HOST-RESET-USERS")
            counting, _ = self._listener.accept()
            with counting, counting.makefile("rb") as questions:
                counting.sendall(HANDSHAKE)
                assert questions.readline() == HANDSHAKE
                for count in (9, 9, 5):
                    assert questions.readline() == b"HOST-LIST\n"
                    counting.sendall(HOSTS % count)
                flushing.sendall(b"OK\n")
                assert questions.readline() == b""


@pytest.mark.parametrize(
    ("host", "lines"),
    [
        ("1.2.3.4", ["1.2.3.4: 9 users left", "1.2.3.4: 5 users left"]),
        ("all", ["all: 13 users left", "all: 9 users left"]),
    ],
)
def test_a_flush_counts_down_when_asked_to(
    director: Director,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    lines: list[str],
) -> None:
    monkeypatch.setattr(progress, "PROGRESS_PERIOD_S", 0.002)
    path = tmp_path / "director-admin"
    server = SlowFlush(path)

    outcome = director("flush", "--progress", host, "-a", str(path))
    server.finish()

    assert outcome.status == 0
    assert outcome.stderr.splitlines()[: len(lines)] == lines


def test_a_flush_in_a_pipe_is_silent(director: Director, tmp_path: Path) -> None:
    with ScriptedServer(tmp_path, {}) as server:
        outcome = director("flush", "1.2.3.4", "-a", str(server.path))

    assert (outcome, len(server.received)) == (Outcome(0, "", ""), 2)


def test_watching_redraws_until_interrupted(
    director: Director, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = iter([False, True])

    def pause(seconds: float) -> None:
        if next(pauses):
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", pause)
    with ScriptedServer(tmp_path, {b"HOST-LIST": HOSTS % 1}) as server:
        outcome = director("status", "--watch", "-a", str(server.path))

    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.stdout.count(progress.CLEAR_SCREEN + "mail server ip") == 2
    assert outcome.stdout.count("1.2.3.4") == 2


def test_watching_ends_with_the_director(director: Director, tmp_path: Path) -> None:
    with ScriptedServer(tmp_path, {b"HOST-LIST": b""}) as server:
        outcome = director("status", "--watch", "-a", str(server.path))

    assert outcome.status == 75
