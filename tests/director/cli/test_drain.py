"""`drain` against a scripted director: what it does in which order, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from director.cli import drain
from tests.director.cli.conftest import Director
from tests.director.cli.outcome import Outcome
from tests.director.cli.scripted_server import HANDSHAKE, Reply, ScriptedServer

IP = "10.0.0.1"
DRAINED = "10.0.0.1: empty. It stays down until `director up 10.0.0.1`.\n"
STAYS_DOWN = (
    "Warning: 10.0.0.1 stays down, and moves under way go on. To go on waiting: director drain "
    "10.0.0.1; to take it back into use: director up 10.0.0.1\n"
)


def hosts(users: int) -> bytes:
    return b"10.0.0.1\t100\t%d\t\tU\t0\n10.0.0.2\t100\t7\t\tU\t0\n\n" % users


def sessions(count: int) -> bytes:
    return b"10.0.0.1\t%d\t%d\n10.0.0.2\t3\t3\n\n" % (count, count)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "LOOK_PERIOD_S", 0.0)


def test_it_is_empty_when_users_and_sessions_are_gone(director: Director, tmp_path: Path) -> None:
    replies = {
        b"HOST-LIST": [hosts(5), hosts(0)],
        b"SESSION-COUNTS": [sessions(2), sessions(1), sessions(0)],
    }
    with ScriptedServer(tmp_path, replies) as server:
        outcome = director("drain", "--max-parallel", "9", IP, "-a", str(server.path))

    assert (outcome.status, outcome.stdout) == (0, DRAINED)
    assert outcome.stderr.endswith(
        f"{IP}: no users, 2 sessions left\n{IP}: no users, 1 sessions left\n"
    )
    asked = [line for line in server.received if line != HANDSHAKE]
    assert asked[:2] == [b"HOST-LIST\n", b"HOST-DOWN\t10.0.0.1\n"]
    assert b"HOST-RESET-USERS\t10.0.0.1\t9\n" in asked[2:]  # on a connection of its own


def test_users_that_were_left_are_moved_again(
    director: Director, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "FLUSH_AGAIN_S", 0.0)
    flush = b"HOST-RESET-USERS\t10.0.0.1\n"
    replies: dict[bytes, Reply | list[Reply]] = {
        b"HOST-RESET-USERS": [b"Ring sync timed out\n", b"OK\n"],
        b"HOST-LIST": lambda received: hosts(0 if received.count(flush) == 2 else 5),
        b"SESSION-COUNTS": sessions(0),
    }
    with ScriptedServer(tmp_path, replies) as server:
        outcome = director("drain", IP, "-a", str(server.path))

    assert (outcome.status, outcome.stdout) == (0, DRAINED)
    assert "Warning: 10.0.0.1: Ring sync timed out\n" in outcome.stderr
    assert server.received.count(flush) == 2


def test_time_is_up(director: Director, tmp_path: Path) -> None:
    with ScriptedServer(tmp_path, {b"HOST-LIST": hosts(5)}) as server:
        outcome = director("drain", "--timeout", "0", IP, "-a", str(server.path))

    assert outcome == Outcome(
        75,
        "",
        f"{IP}: 5 users left\nError: {IP}: not empty after 0 s: 5 users left\n" + STAYS_DOWN,
    )


def test_interrupted(director: Director, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    with ScriptedServer(tmp_path, {b"HOST-LIST": hosts(5)}) as server:
        outcome = director("drain", IP, "-a", str(server.path))

    assert (outcome.status, outcome.stdout) == (130, "")
    assert outcome.stderr.endswith(f"Warning: {IP}: interrupted: 5 users left\n" + STAYS_DOWN)


@pytest.mark.parametrize(
    "other",
    [b"", b"10.0.0.2\t0\t7\t\tU\t0\n", b"10.0.0.2\t9\t7\t\tD\t0\n10.0.0.3\t9\t7\tx\tU\t0\n"],
)
def test_the_last_one_in_use_is_left_alone(
    director: Director, tmp_path: Path, other: bytes
) -> None:
    replies = {b"HOST-LIST": b"10.0.0.1\t100\t5\t\tU\t0\n" + other + b"\n"}
    with ScriptedServer(tmp_path, replies) as server:
        outcome = director("drain", IP, "-a", str(server.path))

    assert (outcome.status, outcome.stdout) == (75, "")
    assert "is the only mail server in use: its users would have nowhere" in outcome.stderr
    assert server.received == [HANDSHAKE, b"HOST-LIST\n"]


def test_one_that_does_not_exist(director: Director, tmp_path: Path) -> None:
    with ScriptedServer(tmp_path, {b"HOST-LIST": hosts(5)}) as server:
        outcome = director("drain", "10.0.0.9", "-a", str(server.path))

    assert outcome == Outcome(68, "", "Error: 10.0.0.9: doesn't exist\n")


def test_a_director_that_cannot_take_it_out_of_use(director: Director, tmp_path: Path) -> None:
    replies = {b"HOST-LIST": hosts(5), b"HOST-DOWN": b"Ring sync timed out\n"}
    with ScriptedServer(tmp_path, replies) as server:
        outcome = director("drain", IP, "-a", str(server.path))

    assert outcome == Outcome(75, "", f"Error: {IP}: Ring sync timed out\n")


@pytest.mark.parametrize(
    ("reply", "warning"),
    [
        (b"ERROR\tno anvil\n\n", "Warning: sessions cannot be counted: no anvil\n"),
        (b"", "Warning: sessions cannot be counted: this director does not\n"),
    ],
)
def test_without_a_count_of_sessions_users_decide(
    director: Director, tmp_path: Path, reply: bytes, warning: str
) -> None:
    replies = {b"HOST-LIST": [hosts(1), hosts(0)], b"SESSION-COUNTS": reply}
    with ScriptedServer(tmp_path, replies) as server:
        outcome = director("drain", IP, "-a", str(server.path))

    assert (outcome.status, outcome.stdout) == (0, DRAINED)
    assert outcome.stderr.count(warning) == 1


def test_a_director_that_ends_meanwhile(director: Director, tmp_path: Path) -> None:
    replies = {b"HOST-LIST": hosts(5), b"HOST-RESET-USERS": b""}
    with ScriptedServer(tmp_path, replies) as server:
        outcome = director("drain", IP, "-a", str(server.path))

    assert outcome.status == 75
    assert outcome.stderr.endswith(f"Error: {server.path} unexpectedly disconnected\n" + STAYS_DOWN)


@pytest.mark.parametrize("option", ["--timeout", "--max-parallel"])
def test_numbers_must_be_numbers(director: Director, option: str) -> None:
    assert director("drain", option, "soon", IP).status == 64
