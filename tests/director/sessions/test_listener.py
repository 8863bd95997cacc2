"""Taking in clients, and what happens when there is no room."""

from __future__ import annotations

from pathlib import Path

import pytest

from ring import limits
from tests.director.descriptors import descriptors_left
from tests.director.sessions.rig import Desk


def test_clients_are_taken_in_and_served(desk: Desk, tmp_path: Path) -> None:
    door = desk.open_door(tmp_path / "director")
    clients = [desk.dial(tmp_path / "director") for _ in range(3)]
    auths = [desk.accept_auth() for _ in clients]
    for client, auth in zip(clients, auths, strict=True):
        auth.say(b"DONE\n")

        assert b"DONE\n" == client.heard()
    door.close()
    door.close()


def test_crowd_is_taken_in_over_several_turns(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ACCEPTS_MAX", 2)
    door = desk.open_door(tmp_path / "director")
    for _ in range(7):
        desk.dial(tmp_path / "director")

    assert 7 == len(desk.surroundings.roster.sessions)
    door.close()


def test_full_house_leaves_clients_in_the_queue_until_there_is_room(
    desk: Desk, tmp_path: Path
) -> None:
    desk.surroundings.roster.sessions_max = 2
    door = desk.open_door(tmp_path / "director")
    first, *_, late = [desk.dial(tmp_path / "director") for _ in range(3)]
    assert 2 == len(desk.surroundings.roster.sessions)
    assert "2 sessions" in desk.notes("accept_paused")[0]
    first.close()
    desk.pass_time(limits.ACCEPT_PAUSE_S)
    for _ in range(3):
        auth = desk.accept_auth()
    auth.say(b"DONE\n")

    assert b"DONE\n" == late.heard()
    door.close()


def test_missing_descriptors_pause_the_listener_instead_of_spinning(
    desk: Desk, tmp_path: Path
) -> None:
    door = desk.open_door(tmp_path / "director")
    with descriptors_left(1):  # for the client's own end
        client = desk.dial(tmp_path / "director")
        desk.settle()
    assert 1 == len(desk.notes("accept_paused"))
    desk.pass_time(limits.ACCEPT_PAUSE_S)
    auth = desk.accept_auth()
    auth.say(b"DONE\n")

    assert b"DONE\n" == client.heard()
    door.close()


def test_listener_that_breaks_is_noted_and_closed(desk: Desk, tmp_path: Path) -> None:
    door = desk.open_door(tmp_path / "director")
    door.failed(OSError("broken"))

    assert 1 == len(desk.notes("listener_lost"))
