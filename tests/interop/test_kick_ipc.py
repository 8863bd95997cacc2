"""Kicks and session lists over the real `ipc` of Dovecot 2.3, with real login processes.

No director takes part: the passdb itself gives host and our private fields, so that each session is
set up exactly as a test needs it. Names that differ only in case have one hash.
"""

from __future__ import annotations

import ipaddress
import signal
from collections.abc import Generator
from contextlib import ExitStack

import attrs
import pytest
import trio

from director.kick.ipc import IpcKicker
from director.kick.ipc_client import IpcClient, Patience, list_sessions
from director.kick.listing import LiveSession
from ring import limits
from ring.effects import KickField, KickHash, KickName
from tests.director.kick.scripted import kicking
from tests.hashing import HASHER
from tests.interop.backends import Backends
from tests.interop.clients import PASSWORD, ImapSession
from tests.interop.dovecot import Dovecot, common_settings, directory_of, login_service
from tests.interop.lab import Lab
from tests.interop.loopback import IMAP_PORT
from tests.interop.programs import signal_nowait, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.slow]

BUSY = "  service_count = 0\n  process_min_avail = 2\n  process_limit = 2"


@attrs.frozen(kw_only=True)
class World:
    """A proxy and two backends, `here` and `there`."""

    proxy_ip: str
    proxy: Dovecot
    here: str
    there: str

    def kicker(self) -> IpcKicker:
        return IpcKicker(self.proxy.run / "ipc", HASHER.hash, is_classic_hash=True)

    def client(self) -> IpcClient:
        return IpcClient(self.proxy.run / "ipc", Patience())


def passdb_line(name: str, ip: str, destination_user: str | None) -> str:
    fields = f"proxy=y host={ip} port={IMAP_PORT}"
    if destination_user is not None:
        number = HASHER.hash(destination_user.encode())
        fields += f" destuser={destination_user}"
        fields += f" user_dirhash={number} user_dirdest={number}@{ip}"
    return f"{name}:{{PLAIN}}{PASSWORD}::::::{fields}\n"


@pytest.fixture(scope="module", params=["", BUSY], ids=["one-client", "many-clients"])
def world(request: pytest.FixtureRequest) -> Generator[World]:
    with Lab() as lab:
        here, there = Backends(lab, 2).ips
        ip, directory = lab.address(), directory_of(lab, "proxy")
        (directory / "users").write_text(
            passdb_line("u1", here, "u1")
            + passdb_line("U1", there, "u1")
            + passdb_line("old1", here, None)
            + passdb_line("OLD1", there, None)
            + passdb_line("alias", here, "u1")
            + passdb_line("Alias", there, "U1")
            + passdb_line("u2", here, "u2")
            + passdb_line("name", here, "shared")
            + passdb_line("other", here, "name")
        )
        configuration = (
            common_settings(directory, name="proxy", addresses=[ip], protocols="imap")
            + "auth_username_format =\n"
            + f"passdb {{\n  driver = passwd-file\n  args = {directory}/users\n}}\n"
            + login_service("imap-login", listener="imap", port=IMAP_PORT, settings=request.param)
        )
        proxy = Dovecot(lab, "proxy", configuration)
        proxy.start()
        yield World(proxy_ip=ip, proxy=proxy, here=here, there=there)


class Sessions:
    """Open sessions, one per name in each call, and which of them still live."""

    def __init__(self, world: World, stack: ExitStack, *users: str) -> None:
        self._sessions = [stack.enter_context(ImapSession(world.proxy_ip, u)) for u in users]

    def alive(self) -> list[str]:
        return [session.user for session in self._sessions if session.is_open()]


def every(user: str) -> KickHash:
    return KickHash(user_hash=HASHER.hash(user.encode()), except_ip=None)


def elsewhere(user: str, ip: str) -> KickHash:
    number = HASHER.hash(user.encode())
    return KickHash(user_hash=number, except_ip=ipaddress.ip_address(ip))


async def test_move_ends_every_session_of_the_hash_and_no_other(world: World) -> None:
    with ExitStack() as stack:
        sessions = Sessions(world, stack, "u1", "U1", "alias", "Alias", "u2", "old1")
        async with kicking(world.kicker()) as bench:
            assert await bench.end_of(every("u1")) is None
            assert sessions.alive() == ["u2", "old1"]


async def test_move_ends_sessions_that_a_real_director_left(world: World) -> None:
    with ExitStack() as stack:
        sessions = Sessions(world, stack, "u1", "old1", "OLD1")
        async with kicking(world.kicker()) as bench:
            assert await bench.end_of(every("old1")) is None
            assert sessions.alive() == ["u1"]


async def test_conflict_ends_sessions_on_the_other_host_only(world: World) -> None:
    with ExitStack() as stack:
        sessions = Sessions(world, stack, "u1", "U1", "alias", "Alias", "old1", "OLD1")
        async with kicking(world.kicker()) as bench:
            assert await bench.end_of(elsewhere("u1", world.here)) is None
            assert sessions.alive() == ["u1", "alias", "old1", "OLD1"]
            assert await bench.end_of(elsewhere("old1", world.there)) is None
            assert sessions.alive() == ["u1", "alias", "OLD1"]


async def test_login_name_that_is_another_users_destination_is_spared(world: World) -> None:
    with ExitStack() as stack:
        sessions = Sessions(world, stack, "name", "other")
        async with kicking(world.kicker()) as bench:
            assert await bench.end_of(every("name")) is None
            assert sessions.alive() == ["name"]


async def test_name_and_field_kicks(world: World) -> None:
    with ExitStack() as stack:
        sessions = Sessions(world, stack, "u1", "U1", "alias", "u2")
        number = HASHER.hash(b"u2")
        async with kicking(world.kicker()) as bench:
            assert await bench.end_of(KickName(b"U1")) is None
            assert sessions.alive() == ["u1", "alias", "u2"]
            kick = KickField(field=b"user_dirhash", value=b"%d" % number)
            assert await bench.end_of(kick) is None
            assert sessions.alive() == ["u1", "alias"]
            assert await bench.end_of(KickName(b"nobody")) is None
            assert await bench.end_of(KickField(field=b"user_x", value=b"y")) is None


async def test_list_tells_the_directors_hash_and_host(world: World) -> None:
    found: list[LiveSession] = []
    with ExitStack() as stack:
        Sessions(world, stack, "Alias", "old1")
        client = world.client()
        await list_sessions(client, HASHER.hash, found.append)
        client.close()
    rows = {(s.user, s.user_hash, str(s.ip), s.is_ours, s.service) for s in found}

    assert {
        (b"Alias", HASHER.hash(b"u1"), world.there, True, b"imap"),
        (b"old1", HASHER.hash(b"old1"), world.here, False, b"imap"),
    } <= rows


async def test_hanging_login_process_does_not_stop_kicks_of_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "IPC_REPLY_TIMEOUT_S", 1.0)
    with ExitStack() as stack:
        sessions = Sessions(world, stack, "u1", "u1", "u1", "u1", "u2")
        pid = world.proxy.service_pid("imap-login")
        signal_nowait(pid, signal.SIGSTOP)
        stack.callback(signal_nowait, pid, signal.SIGCONT)
        async with kicking(world.kicker()) as bench:
            with trio.fail_after(30):
                error = await bench.end_of(every("u1"))

            assert "a login process hangs" in str(error)

            signal_nowait(pid, signal.SIGCONT)
            wait_until(lambda: sessions.alive() == ["u2"], 10, "end of the sessions of u1")

            assert await bench.end_of(every("u2")) is None
            assert sessions.alive() == []


async def test_restarted_ipc_service_is_found_again(world: World) -> None:
    with ExitStack() as stack:
        async with kicking(world.kicker()) as bench:
            sessions = Sessions(world, stack, "u1", "u2")

            assert await bench.end_of(KickName(b"nobody")) is None

            world.proxy.end_service("ipc")
            sessions = Sessions(world, stack, "u1")
            wait_until(lambda: world.proxy.service_pid("ipc"), 10, "new ipc")

            assert await bench.end_of(every("u1")) is None
            assert sessions.alive() == []
