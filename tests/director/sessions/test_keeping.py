"""A daemon that ends leaves its connections to the next one, and only those it can."""

from __future__ import annotations

import select
import socket
from collections.abc import Generator
from pathlib import Path

import pytest

from director.sessions import keeping
from director.sessions.relay import Relay
from tests.director.keepers import TIMEOUT_S, Daemon, keeper_of
from tests.director.sessions.rig import Desk, End, without_private_fields

AUTH = b"AUTH\t1\tPLAIN\tservice=imap\n"
OK = b"OK\t1\tuser=u1\tproxy\n"
PROXIED = b"OK\t1\tuser=u1\tproxy\tproxy_refresh=30\thost=127.0.0.3\n"


class Generation(Desk):
    """One daemon of several; all have the same keeper."""

    def __init__(self, path: Path, name: str) -> None:
        (path / name).mkdir()
        super().__init__(path / name)
        self.resumed: list[Relay] = []
        self._base_dir = path

    def begin(self) -> Generation:
        self.surroundings.keeping.start(self._base_dir, self._resume)
        self._hear()
        return self

    def _hear(self) -> None:
        """Give the keeper, a thread, its time; a settled poll set that waits for it has a turn."""
        link = self.surroundings.keeping
        self.settle()
        while link._socket is not None and not link._is_our_turn:
            readable, _, _ = select.select([link._socket], [], [], TIMEOUT_S)
            assert readable, "the keeper says nothing"
            self.settle()

    def _resume(self, label: bytes, client: socket.socket, auth: socket.socket) -> Relay | None:
        if label != b"director":
            return None
        relay = Relay(
            self.surroundings,
            self.fields,
            self.auth_service,
            client,
            listener="director",
            keyword=b"OK",
        )
        relay.resume(auth)
        self.resumed.append(relay)
        return relay

    def log_in(self) -> tuple[End, End]:
        """Return a login process and auth, which have greeted each other."""
        login = self.connect()
        auth = self.accept_auth()
        login.say(b"VERSION\t1\t2\n")
        auth.say(b"VERSION\t1\t2\nDONE\n")
        login.heard()
        auth.heard()
        return login, auth

    def be_killed(self) -> None:
        """Close what the kernel would close, and do nothing else."""
        self.surroundings.keeping.close()
        for session in list(self.surroundings.roster.sessions):
            assert isinstance(session, Relay)
            session.leave()
        self.settle()

    def take(self, *ends: End) -> None:
        """Let what the test's ends do be seen here from now on."""
        for end in ends:
            end.settle = self.settle


@pytest.fixture
def old(tmp_path: Path) -> Generator[Generation, None, None]:
    with keeper_of(keeping.name_of(tmp_path), 60.0):
        desk = Generation(tmp_path, "old")
        desk.start_auth()
        try:
            yield desk.begin()
        finally:
            desk.surroundings.keeping.close()
            desk.close()


@pytest.fixture
def new(tmp_path: Path, old: Generation) -> Generator[Generation, None, None]:
    desk = Generation(tmp_path, "new")
    try:
        yield desk
    finally:
        desk.surroundings.roster.close_all()
        desk.surroundings.keeping.close()
        desk.close()


def test_a_login_that_was_asked_before_is_answered_after(old: Generation, new: Generation) -> None:
    login, auth = old.log_in()
    login.say(AUTH)
    old.be_killed()
    new.begin()
    new.take(login, auth)

    assert auth.heard() == AUTH

    auth.say(OK)

    assert without_private_fields(login.heard()) == PROXIED
    assert "connections=1" in new.notes("keeper_found")[0]


def test_what_is_said_while_nobody_is_there_is_passed_on(old: Generation, new: Generation) -> None:
    login, auth = old.log_in()
    old.be_killed()
    login.sock.send(AUTH)
    new.begin()
    new.take(login, auth)

    assert auth.heard() == AUTH


def test_connections_made_before_the_keeper_was_ours_are_kept(
    tmp_path: Path, new: Generation, old: Generation
) -> None:
    """A successor that takes clients while its predecessor is still there."""
    new.start_auth()
    old.log_in()
    login, auth = new.log_in()
    old.be_killed()
    new.begin()
    new.be_killed()
    third = Daemon.of(keeping.name_of(tmp_path)).hear()

    assert [label for label, _, _ in third.kept.values()] == [b"director"] * 2
    assert not login.is_closed
    assert not auth.is_closed

    third.die()


def test_half_a_line_cannot_be_left_to_anybody(old: Generation, new: Generation) -> None:
    """The first half was read; nobody has it any more."""
    login, auth = old.log_in()
    auth.say(OK[:9])
    old.be_killed()
    new.begin()

    assert login.is_closed
    assert auth.is_closed
    assert new.resumed == []
    [note] = new.notes("connection_not_resumed")
    assert 'socket=director reason="killed while it was read"' in note


def test_a_line_that_came_whole_in_the_end_is_no_obstacle(old: Generation, new: Generation) -> None:
    login, auth = old.log_in()
    auth.say(OK[:9])
    auth.say(OK[9:])
    login.heard()
    old.be_killed()
    new.begin()

    assert not login.is_closed


def test_a_connection_that_ended_is_not_kept(old: Generation, new: Generation) -> None:
    """Nor does the keeper's copy hold the auth service's end open."""
    old.log_in()
    login, auth = old.log_in()
    login.close()
    old.settle()

    assert auth.is_closed

    old.be_killed()
    new.begin()

    assert len(new.resumed) == 1


def test_slots_are_used_again(old: Generation) -> None:
    slots = set()
    for _ in range(3):
        login, _ = old.log_in()
        [relay] = old.surroundings.roster.sessions
        assert isinstance(relay, Relay)
        slots.add(relay.slot)
        login.close()
        old.settle()

    assert len(slots) == 1
    assert keeping.UNKEPT not in slots


def test_an_orderly_end_leaves_what_is_at_rest_and_counts_the_rest(
    old: Generation, new: Generation
) -> None:
    resting, auth = old.log_in()
    busy, busy_auth = old.log_in()
    busy_auth.say(OK[:9])

    assert old.surroundings.keeping.leave() == 1

    busy_auth.say(OK[9:])

    assert old.surroundings.keeping.leave() == 0
    assert without_private_fields(busy.heard()) == PROXIED

    old.be_killed()
    resting.sock.send(AUTH)
    new.begin()
    new.take(auth)

    assert len(new.resumed) == 2
    assert auth.heard() == AUTH


def test_auth_that_died_before_its_greeting_is_kept_when_it_is_back(
    old: Generation, new: Generation
) -> None:
    login = old.connect()
    old.accept_auth().close()
    old.stop_auth()
    old.start_auth()
    old.pass_time(1.0)
    auth = old.accept_auth()
    login.say(AUTH)
    old.be_killed()
    new.begin()
    new.take(login, auth)

    assert auth.heard() == AUTH
    assert not login.is_closed


def test_a_door_that_is_no_more(old: Generation, new: Generation) -> None:
    login, _ = old.log_in()
    [relay] = old.surroundings.roster.sessions
    assert isinstance(relay, Relay)
    old.surroundings.keeping.forget(relay)
    relay.label = b"elsewhere"
    old.surroundings.keeping.add(relay)
    old.be_killed()
    new.begin()

    assert login.is_closed


def test_without_a_keeper_connections_are_served_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> None:
        raise PermissionError("no program may be started here")

    monkeypatch.setattr(keeping, "start_keeper", fail)
    desk = Generation(tmp_path, "alone")
    desk.start_auth()
    desk.begin()
    login, auth = desk.log_in()
    auth.say(OK)

    assert without_private_fields(login.heard()) == PROXIED
    assert len(desk.notes("keeper_not_found")) == 1

    desk.close()


def test_a_keeper_that_dies_takes_nothing_with_it_and_is_replaced(tmp_path: Path) -> None:
    desk = Generation(tmp_path, "alone")
    desk.start_auth()
    login, auth = desk.log_in()
    with keeping.listen(keeping.name_of(tmp_path)) as listener:
        desk.surroundings.keeping.start(tmp_path, desk._resume)
        connection, _ = listener.accept()
    connection.close()
    desk.settle()
    auth.say(OK)

    assert without_private_fields(login.heard()) == PROXIED
    assert len(desk.notes("keeper_lost")) == 1

    with keeper_of(keeping.name_of(tmp_path), 60.0):
        desk.pass_time(keeping.RETRY_S)
        desk._hear()
        desk.be_killed()
        heir = Daemon.of(keeping.name_of(tmp_path)).hear()

        assert len(heir.kept) == 1

        heir.die()
        login.close()
        auth.close()
    desk.close()


def test_a_stranger_who_has_the_name_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = keeping.name_of(tmp_path)
    with keeping.listen(name):
        monkeypatch.setattr("os.geteuid", lambda: 4711)
        with pytest.raises(PermissionError, match="has the keeper's name"):
            keeping.connect(name)


def test_a_keeper_is_started_if_there_is_none(tmp_path: Path) -> None:
    name = keeping.name_of(tmp_path)
    first, second = Daemon(keeping.connect(name)), Daemon(keeping.connect(name))
    first.hear()
    first.die()
    second.hear()
    second.die()
