"""All who wait for the auth service share one attempt, and a lack of descriptors is only a wait."""

from __future__ import annotations

import pytest

from ring import limits
from tests.director.descriptors import descriptors_left
from tests.director.sessions.rig import Desk


def test_everybody_who_waits_shares_one_note_and_is_served_in_order(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ACCEPTS_MAX", 3)
    desk.stop_auth()
    clients = [desk.connect() for _ in range(5)]
    for index, client in enumerate(clients):
        client.say(b"CPID\t%d\n" % index)
    desk.pass_time(limits.AUTH_RETRY_S)
    desk.start_auth()
    for _ in range(2):
        desk.pass_time(limits.AUTH_RETRY_S)
    heard = [desk.accept_auth().heard() for _ in clients]

    assert heard == [b"CPID\t%d\n" % index for index in range(5)]
    assert 1 == len(desk.notes("auth_waited_for"))
    assert 1 == len(desk.notes("auth_found"))


def test_a_lack_of_descriptors_for_upstream_connections_is_waited_out(desk: Desk) -> None:
    with descriptors_left(2):  # for the client's socket pair
        client = desk.connect()
    client.say(b"VERSION\t1\t2\n")
    waited = desk.notes("auth_waited_for")
    desk.pass_time(limits.AUTH_RETRY_S)

    assert b"VERSION\t1\t2\n" == desk.accept_auth().heard()
    assert "Too many open files" in waited[0]
