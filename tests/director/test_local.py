"""Every local listener speaks the protocol of its role, over real sockets and with a real node."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from director.binding import Opened, open_listeners
from director.demo.standins import AuthService, listen_unix
from director.listeners import Listener, ListenerKind, role_of
from director.local import LocalSockets
from director.pollset import PollSet
from director.sessions.admin import AdminDesk
from director.sessions.directory import Roster, Surroundings
from director.sessions.events import OpenSessions
from director.sessions.keeping import Keeping
from director.settings import load_text
from director.streams import connect_unix
from tests.director.rig import Director, make_directors, wait_until

HANDSHAKE = b"VERSION\t1\t2\nCPID\t42\n"


@attrs.define(eq=False, kw_only=True)
class Place:
    """A director whose local sockets are open below `directory`."""

    directory: Path
    director: Director
    local: LocalSockets
    roster: Roster

    async def ask(self, name: str, *lines: bytes, until: bytes) -> bytes:
        """Send lines to a socket; return what it says up to a line with `until` in it."""
        async with await connect_unix(self.directory / name) as stream:
            await stream.send_all(b"".join(lines))
            said = b""
            with trio.fail_after(10):
                while until not in said or not said.endswith(b"\n"):
                    data = await stream.receive_some(4096)
                    assert data, f"{name} hung up after {said!r}"
                    said += data
        return said


@asynccontextmanager
async def opened(directory: Path, name: str, kind: ListenerKind) -> AsyncIterator[Place]:
    listener = Listener(
        kind=kind, role=role_of(kind, name), name=name, path=directory / name, mode=0o600
    )
    settings = load_text(f"base_dir = {directory}\ndirector_mail_servers = 10.0.0.1\n", "test")
    (director,) = make_directors(1)
    poll_set = PollSet(director.runtime.settle)
    surroundings = Surroundings(
        poll_set=poll_set,
        keeping=Keeping(poll_set, director.runtime.note),
        directory=director.runtime,
        roster=Roster(10),
        master_user_separator=b"",
    )
    desk = AdminDesk(
        poll_set=poll_set,
        office=director.runtime,
        wall=director.runtime.wall,
        count_sessions=lambda told: None,
        user_expire_s=900,
    )
    local = LocalSockets(surroundings, desk, OpenSessions(), settings)
    items: tuple[Opened, ...] = open_listeners([listener], [])
    async with trio.open_nursery() as nursery:
        auth = await listen_unix(directory / "auth-login")
        nursery.start_soon(trio.serve_listeners, AuthService(143).serve, [auth])
        nursery.start_soon(director.run)
        await trio.testing.wait_all_tasks_blocked()
        for item in items:
            local.serve(item)
        nursery.start_soon(poll_set.run)
        yield Place(directory=directory, director=director, local=local, roster=surroundings.roster)
        nursery.cancel_scope.cancel()
    local.close()
    poll_set.close()


async def test_a_login_gets_a_host(tmp_path: Path) -> None:
    response = base64.b64encode(b"\0alice\0secret")
    request = b"AUTH\t1\tPLAIN\tservice=imap\tresp=%s\n" % response
    async with opened(tmp_path, "director", ListenerKind.UNIX) as place:
        said = await place.ask("director", HANDSHAKE, request, until=b"OK\t1\t")
        host = await place.director.find(b"alice")

    assert f"\thost={host}".encode() in said.splitlines()[-1]


async def test_a_lookup_over_authreply_gets_a_host(tmp_path: Path) -> None:
    async with opened(tmp_path, "x-authreply", ListenerKind.UNIX) as place:
        said = await place.ask(
            "x-authreply",
            b"VERSION\tdirector-authreply-client\t1\t0\nOK\t7\tuser=alice\tproxy\n",
            until=b"OK\t7\t",
        )
        host = await place.director.find(b"alice")

    assert f"\thost={host}".encode() in said


@pytest.mark.parametrize("kind", [ListenerKind.FIFO, ListenerKind.UNIX])
async def test_a_notified_user_is_refreshed(tmp_path: Path, kind: ListenerKind) -> None:
    async with opened(tmp_path, "proxy-notify", kind) as place:
        node = place.director.runtime.node
        user_hash = place.director.runtime.hash_user(b"alice")
        await place.director.find(b"alice")
        wall = place.director.runtime.wall()
        node.set_clock(place.director.runtime.now(), wall + 100)
        before = node.user_status(user_hash, b"", place.director.runtime.now()).expires_at
        if kind is ListenerKind.FIFO:
            writer = os.open(tmp_path / "proxy-notify", os.O_WRONLY | os.O_NONBLOCK)
            os.write(writer, b"alice\n")
            os.close(writer)
        else:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(tmp_path / "proxy-notify"))
                client.sendall(b"alice\n")

        def is_refreshed() -> bool:
            status = node.user_status(user_hash, b"", place.director.runtime.now())
            return status.expires_at > before

        await wait_until(is_refreshed, "a refresh")


async def test_an_administrator_is_answered_even_when_all_sessions_are_taken(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path, "director-admin", ListenerKind.UNIX) as place:
        place.roster.sessions_max = 0
        said = await place.ask(
            "director-admin",
            b"VERSION\tdirector-doveadm\t1\t0\nHOST-LIST\n",
            until=b"\n\n",
        )

    assert said.startswith(b"VERSION\tdirector-doveadm\t1\t0\n10.0.0.1\t100\t0\t")


async def test_closing_hangs_up_on_everybody(tmp_path: Path) -> None:
    async with (
        opened(tmp_path, "director", ListenerKind.UNIX) as place,
        await connect_unix(tmp_path / "director") as client,
    ):
        with trio.fail_after(10):
            await client.send_all(HANDSHAKE)
            handshake = await client.receive_some(4096)
            place.local.close()
            rest = await client.receive_some(4096)

        assert handshake.startswith(b"VERSION\t1\t2\n")
        assert rest == b""
        assert place.roster.sessions == set()
