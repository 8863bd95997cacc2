"""What Dovecot's event exporter tells of sessions, and what is made of it."""

from __future__ import annotations

import json
import socket
from collections.abc import Generator
from pathlib import Path

import pytest

from director.sessions.events import BEGAN, ENDED, EventStream, OpenSessions, parse_event
from ring import limits
from ring.address import parse_ip
from tests.director.sessions.rig import Desk, End


def line(name: str, user: str = "u1", port: int = 55226, **more: object) -> bytes:
    """Return an event as 2.4.1 writes it."""
    fields = {
        "local_ip": "127.0.0.1",
        "local_port": 19301,
        "remote_ip": "127.0.0.9",
        "remote_port": port,
        "protocol": "imap",
        "service": "imap-login",
        "user": user,
        "dest_ip": "127.0.0.3",
        "dest_port": 19311,
        "dest_host": "127.0.0.3",
    }
    return json.dumps({"event": name, "fields": fields | more}).encode() + b"\n"


@pytest.fixture
def desk(tmp_path: Path) -> Generator[Desk, None, None]:
    made = Desk(tmp_path)
    yield made
    made.close()


@pytest.fixture
def open_sessions() -> OpenSessions:
    return OpenSessions()


@pytest.fixture
def stats(desk: Desk, open_sessions: OpenSessions) -> Generator[End, None, None]:
    ours, theirs = socket.socketpair()
    EventStream(desk.surroundings, open_sessions, ours, "director-events").start()
    end = End(theirs, desk.settle)
    yield end
    end.close()


def test_sessions_are_open_from_their_beginning_to_their_end(
    desk: Desk, open_sessions: OpenSessions, stats: End
) -> None:
    stats.say(line(BEGAN) + line(BEGAN, "u2", 55227) + line(BEGAN, "u2", 55228))

    assert open_sessions.is_told
    assert [session.user for session in open_sessions.sessions()] == [b"u1", b"u2", b"u2"]
    assert {str(session.ip) for session in open_sessions.sessions()} == {"127.0.0.3"}

    stats.say(line(ENDED, "u2", 55227) + line(ENDED, "u3", 1) + line("proxy_session_started"))

    assert [session.user for session in open_sessions.sessions()] == [b"u1", b"u2"]


def test_a_user_who_is_told_of_lives_on(desk: Desk, stats: End) -> None:
    node, user_hash = desk.runtime.node, desk.runtime.hash_user(b"u1")
    at = [user_hash], [parse_ip("127.0.0.3")], [int(desk.runtime.wall())]
    node.restore_users(b"", *at, desk.runtime.now())
    desk.pass_time(50)
    stats.say(line(ENDED))
    desk.pass_time(50)

    assert node.user_status(user_hash, b"", desk.now).current is not None


def test_events_may_come_in_pieces(open_sessions: OpenSessions, stats: End) -> None:
    for byte in line(BEGAN):
        stats.say(bytes([byte]))

    assert len(open_sessions.by_key) == 1


def test_whoever_told_has_gone(open_sessions: OpenSessions, stats: End) -> None:
    stats.say(line(BEGAN))
    stats.close()

    assert not open_sessions.is_told
    assert len(open_sessions.by_key) == 1


def test_a_line_that_never_ends_costs_the_connection(
    desk: Desk, open_sessions: OpenSessions, stats: End
) -> None:
    stats.say(b"x" * (limits.SESSION_LINE_BYTES_MAX + 1))
    desk.settle()

    assert stats.is_closed
    assert len(desk.notes("client_lost")) == 1
    assert not open_sessions.is_told


def test_there_is_a_limit(open_sessions: OpenSessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SESSIONS_MAX", 2)
    for port in range(5):
        event = parse_event(line(BEGAN, port=port), b"")
        assert event is not None
        open_sessions.apply(event, lambda name: 7)

    assert len(open_sessions.by_key) == 2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no json",
        b"[]",
        b'"text"',
        b'{"event": "proxy_session_established"}',
        line(BEGAN, dest_ip="nowhere"),
        line(BEGAN, user=7),
        line("auth_request_finished"),
    ],
)
def test_what_is_no_event_of_a_session_is_passed_over(data: bytes) -> None:
    assert parse_event(data, b"") is None


def test_the_master_user_is_cut_off() -> None:
    event = parse_event(line(BEGAN, "u1*admin"), b"*")

    assert event is not None
    assert event.user == b"u1"
