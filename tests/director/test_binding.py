"""Listeners get their mode at once, are never stolen, and are removed if they are ours."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from director.binding import Opened, adopt_listeners, open_listeners
from director.descriptors import Inherited
from director.errors import StartupRefused
from director.listeners import Listener, ListenerKind, Role
from ring.address import parse_ip


@pytest.fixture
def opened() -> Iterator[list[Opened]]:
    """Collects what a test opens, and closes it."""
    everything: list[Opened] = []
    yield everything
    for item in everything:
        os.close(item.descriptor)


def unix(path: Path, mode: int = 0o600) -> Listener:
    return Listener(kind=ListenerKind.UNIX, role=Role.LOGIN, name=path.name, path=path, mode=mode)


def fifo(path: Path) -> Listener:
    return Listener(kind=ListenerKind.FIFO, role=Role.NOTIFY, name=path.name, path=path, mode=0o622)


def test_a_unix_socket_appears_with_its_mode_and_answers(
    tmp_path: Path, opened: list[Opened]
) -> None:
    path = tmp_path / "director"
    opened += open_listeners([unix(path, 0o666)], [])
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))

    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    assert [entry.name for entry in tmp_path.iterdir()] == ["director"]


def test_a_dead_socket_is_replaced(tmp_path: Path, opened: list[Opened]) -> None:
    path = tmp_path / "director"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    opened += open_listeners([unix(path)], [])
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))

    assert opened[0].inode is not None


def test_a_live_socket_is_left_alone(tmp_path: Path, opened: list[Opened]) -> None:
    path = tmp_path / "director"
    opened += open_listeners([unix(path)], [])
    inode = path.stat().st_ino
    with pytest.raises(StartupRefused, match="another process answers there"):
        open_listeners([unix(path)], [])

    assert path.stat().st_ino == inode


def test_a_file_in_the_place_of_a_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "director"
    path.write_text("precious")
    with pytest.raises(StartupRefused, match="no socket"):
        open_listeners([unix(path)], [])

    assert path.read_text() == "precious"


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupRefused, match=r"no/director: No such file or directory"):
        open_listeners([unix(tmp_path / "no" / "director")], [])


def test_a_directory_of_our_own_below_login_is_made(tmp_path: Path, opened: list[Opened]) -> None:
    (tmp_path / "login").mkdir()
    path = tmp_path / "login" / "ext" / "director"
    listener = Listener(
        kind=ListenerKind.UNIX, role=Role.LOGIN, name="login/ext/director", path=path, mode=0o666
    )
    opened += open_listeners([listener], [])

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    assert path.is_socket()


def test_when_one_listener_fails_the_others_are_undone(tmp_path: Path) -> None:
    with pytest.raises(StartupRefused):
        open_listeners([unix(tmp_path / "one"), unix(tmp_path / "no" / "two")], [])

    assert list(tmp_path.iterdir()) == []


def test_a_fifo_always_has_a_reader(tmp_path: Path, opened: list[Opened]) -> None:
    path = tmp_path / "proxy-notify"
    opened += open_listeners([fifo(path)], [])
    writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)  # ENXIO without a reader
    os.close(writer)

    assert stat.S_IMODE(path.stat().st_mode) == 0o622


def test_an_old_fifo_is_used_again(tmp_path: Path, opened: list[Opened]) -> None:
    path = tmp_path / "proxy-notify"
    os.mkfifo(path, 0o200)
    opened += open_listeners([fifo(path)], [])

    assert stat.S_IMODE(path.stat().st_mode) == 0o622


def test_remove_takes_away_only_what_is_still_ours(tmp_path: Path, opened: list[Opened]) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    opened += open_listeners([unix(ours), unix(theirs)], [])
    theirs.unlink()
    theirs.write_text("a successor's")
    for item in opened:
        item.remove()

    assert [entry.name for entry in tmp_path.iterdir()] == ["theirs"]


def test_an_inherited_socket_is_found_by_path_and_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "director"
    with socket.socket(socket.AF_UNIX) as parent:
        parent.bind(str(path))
        parent.listen()
        inherited = Inherited(name="x", descriptor=parent.fileno(), kind=ListenerKind.UNIX)
        (item,) = open_listeners([unix(path)], [inherited])
        item.remove()

        assert item.inode is None
        assert item.descriptor == parent.fileno()
        assert path.exists()


def test_an_inherited_tcp_listener_is_found_by_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as parent:
        listener = Listener(
            kind=ListenerKind.INET,
            role=Role.RING,
            name="",
            ip=parse_ip("127.0.0.1"),
            port=parent.getsockname()[1],
        )
        inherited = Inherited(name="?", descriptor=parent.fileno(), kind=ListenerKind.INET)
        (item,) = open_listeners([listener], [inherited])

        assert item.descriptor == parent.fileno()


def test_an_inherited_listener_that_nobody_configured_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as parent:
        inherited = Inherited(name="odd", descriptor=parent.fileno(), kind=ListenerKind.INET)
        with pytest.raises(StartupRefused, match="inet_listener 'odd'"):
            open_listeners([], [inherited])


def test_a_ring_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        listener = Listener(
            kind=ListenerKind.INET,
            role=Role.RING,
            name="ring",
            ip=parse_ip("127.0.0.1"),
            port=port,
        )
        with pytest.raises(StartupRefused, match=f"ring 127.0.0.1 {port}: Address already in use"):
            open_listeners([listener], [])


def test_what_dovecots_master_opened_has_the_role_of_its_name(tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX) as userdb,
        socket.create_server(("127.0.0.1", 0)) as ring,
    ):
        userdb.bind(str(tmp_path / "director-userdb"))
        userdb.listen()
        items = adopt_listeners(
            [
                Inherited(
                    name="director-userdb", descriptor=userdb.fileno(), kind=ListenerKind.UNIX
                ),
                Inherited(name="", descriptor=ring.fileno(), kind=ListenerKind.INET),
            ]
        )

        assert [item.listener.role for item in items] == [Role.USERDB, Role.RING]
        assert items[1].listener.port == ring.getsockname()[1]


@pytest.mark.parametrize(
    ("account", "message"),
    [
        ({"user": "no-such-user"}, r"user = no-such-user, group = : no such account: .*no-such-"),
        ({"group": "no-such-group"}, r"user = , group = no-such-group: no such account"),
    ],
)
def test_an_unknown_account_is_named_and_no_socket_is_left_behind(
    tmp_path: Path, account: dict[str, str], message: str
) -> None:
    listener = attrs.evolve(unix(tmp_path / "director"), **account)
    with pytest.raises(StartupRefused, match=message):
        open_listeners([listener], [])

    assert list(tmp_path.iterdir()) == []


def test_accounts_may_be_numbers(tmp_path: Path, opened: list[Opened]) -> None:
    path = tmp_path / "director"
    numbers = {"user": str(os.getuid()), "group": str(os.getgid())}
    opened += open_listeners([attrs.evolve(unix(path), **numbers)], [])

    assert (os.getuid(), os.getgid()) == (path.stat().st_uid, path.stat().st_gid)


def test_a_file_in_the_place_of_a_fifo_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "proxy-notify"
    path.write_text("precious")
    with pytest.raises(StartupRefused, match="there is something that is no FIFO"):
        open_listeners([fifo(path)], [])

    assert path.read_text() == "precious"


def test_a_socket_whose_backlog_is_full_is_alive(tmp_path: Path) -> None:
    path = tmp_path / "director"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as client:
        busy.bind(str(path))
        busy.listen(0)
        client.connect(str(path))  # now it is full
        with pytest.raises(StartupRefused, match="another process answers there"):
            open_listeners([unix(path)], [])


def test_a_ring_listener_on_ipv6_takes_nothing_from_ipv4(opened: list[Opened]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        listener = Listener(
            kind=ListenerKind.INET, role=Role.RING, name="ring", ip=parse_ip("::"), port=port
        )
        opened += open_listeners([listener], [])
        with socket.create_connection(("::1", port)) as client:
            assert client.getpeername()[:2] == ("::1", port)


def test_a_socket_that_somebody_took_away_need_not_be_removed(
    tmp_path: Path, opened: list[Opened]
) -> None:
    opened += open_listeners([unix(tmp_path / "director")], [])
    (tmp_path / "director").unlink()
    opened[0].remove()

    assert list(tmp_path.iterdir()) == []
