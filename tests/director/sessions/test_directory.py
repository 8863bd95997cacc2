"""The roster of all sessions."""

from __future__ import annotations

from director.sessions.directory import Roster
from tests.director.sessions.rig import Desk


def test_roster_counts_to_its_limit_and_closes_everybody(desk: Desk) -> None:
    desk.surroundings.roster.sessions_max = 2
    clients = [desk.connect(), desk.connect()]

    assert desk.surroundings.roster.is_full
    desk.surroundings.roster.close_all()
    desk.settle()
    assert [True, True] == [client.is_closed for client in clients]
    assert not Roster(1).is_full
