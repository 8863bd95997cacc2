"""Kicks and session lists on real Dovecot 2.4, in both login process modes.

As in `test_kick_ipc.py` no director takes part: the passdb gives host and our private fields. The
proxy runs inside the chroot, in a directory of its own; backends are those of Dovecot 2.3.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import attrs
import pytest

from director.kick.anvil import AnvilKicker
from director.kick.anvil_client import anvil_connection
from director.kick.listing import LiveSession, parse_anvil_row
from ring.effects import KickField, KickHash, KickName
from tests.director.kick.scripted import kicking
from tests.hashing import HASHER
from tests.interop.backends import Backends
from tests.interop.clients import PASSWORD, ImapSession
from tests.interop.lab import Lab
from tests.interop.loopback import IMAP_PORT
from tests.interop.programs import Program, wait_until

pytestmark = [pytest.mark.interop24, pytest.mark.slow]

BUSY = "  restart_request_count = unlimited\n  client_limit = 100\n  process_min_avail = 1\n"


@attrs.frozen(kw_only=True)
class World:
    """A proxy of Dovecot 2.4 and two backends, `here` and `there`."""

    proxy_ip: str
    base_dir: Path
    here: str
    there: str

    def kicker(self) -> AnvilKicker:
        return AnvilKicker(self.base_dir, HASHER.hash, lambda user_hash: frozenset())

    def alive(self, sessions: list[ImapSession]) -> list[str]:
        return [session.user for session in sessions if session.is_open()]


def passdb_line(name: str, ip: str, destination_user: str | None) -> str:
    fields = f"proxy=y host={ip} port={IMAP_PORT}"
    if destination_user is not None:
        number = HASHER.hash(destination_user.encode())
        fields += f" destuser={destination_user}"
        fields += f" user_dirhash={number} user_dirdest={number}@{ip}"
    return f"{name}:{{PLAIN}}{PASSWORD}::::::{fields}\n"


def configuration(directory: str, ip: str, mode: str) -> str:
    return f"""\
dovecot_config_version = 2.4.1
dovecot_storage_version = 2.4.1
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/log
listen = {ip}
ssl = no
auth_allow_cleartext = yes
auth_username_format = %{{user}}
auth_failure_delay = 0
protocols = imap
mail_driver = maildir
mail_path = /nonexistent
passdb passwd-file {{
  passwd_file_path = {directory}/users
}}
service imap-login {{
{mode}  inet_listener imap {{
    port = {IMAP_PORT}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service stats {{
  inet_listener http {{
    port = 0
  }}
}}
"""


@pytest.fixture(scope="module", params=["", BUSY], ids=["one-client", "many-clients"])
def world(request: pytest.FixtureRequest) -> Generator[World]:
    chroot = Path(os.environ["DOVECOT24_CHROOT"])
    with Lab() as lab, ExitStack() as stack:
        here, there = Backends(lab, 2).ips
        ip = lab.address()
        directory = Path(tempfile.mkdtemp(prefix="kick-", dir=chroot / "tmp"))
        stack.callback(shutil.rmtree, directory)
        directory.chmod(0o755)
        (lab.directory / "proxy").symlink_to(directory)  # its log is shown with a failure
        inside = "/" + str(directory.relative_to(chroot))
        (directory / "users").write_text(
            passdb_line("u1", here, "u1")
            + passdb_line("U1", there, "u1")
            + passdb_line("old1", here, None)
            + passdb_line("alias", here, "u1")
            + passdb_line("u2", here, "u2")
            + passdb_line("name", here, "shared")
            + passdb_line("other", here, "name")
        )
        (directory / "dovecot.conf").write_text(configuration(inside, ip, request.param))
        command = ["chroot", str(chroot), "/usr/sbin/dovecot", "-F", "-c", f"{inside}/dovecot.conf"]
        program = Program(command, log=directory / "output")
        stack.callback(program.kill)
        log = directory / "log"
        wait_until(lambda: "starting up" in log.read_text(), 30, "start of Dovecot 2.4")
        yield World(proxy_ip=ip, base_dir=directory / "run", here=here, there=there)


def open_sessions(world: World, stack: ExitStack, *users: str) -> list[ImapSession]:
    return [stack.enter_context(ImapSession(world.proxy_ip, user)) for user in users]


def every(user: str) -> KickHash:
    return KickHash(user_hash=HASHER.hash(user.encode()), except_ip=None)


async def test_move_ends_every_session_of_the_hash_and_no_other(world: World) -> None:
    with ExitStack() as stack:
        sessions = open_sessions(world, stack, "u1", "U1", "alias", "u2", "old1", "u1")
        async with kicking(world.kicker()) as bench:
            assert await bench.end_of(every("u1")) is None
            assert world.alive(sessions) == ["u2", "old1"]
            assert await bench.end_of(every("old1")) is None
            assert world.alive(sessions) == ["u2"]


async def test_conflict_ends_sessions_on_the_other_host_only(world: World) -> None:
    with ExitStack() as stack:
        sessions = open_sessions(world, stack, "u1", "U1", "alias", "u2")
        kick = KickHash(user_hash=HASHER.hash(b"u1"), except_ip=ipaddress.ip_address(world.here))
        async with kicking(world.kicker()) as bench:
            assert await bench.end_of(kick) is None
            assert world.alive(sessions) == ["u1", "alias", "u2"]


async def test_login_name_that_is_another_users_destination_is_spared(world: World) -> None:
    with ExitStack() as stack:
        sessions = open_sessions(world, stack, "name", "other")
        async with kicking(world.kicker()) as bench:
            assert await bench.end_of(every("name")) is None
            assert world.alive(sessions) == ["name"]


async def test_name_and_field_kicks(world: World) -> None:
    with ExitStack() as stack:
        sessions = open_sessions(world, stack, "u1", "U1", "alias", "u2")
        number = HASHER.hash(b"u2")
        async with kicking(world.kicker()) as bench:
            assert await bench.end_of(KickName(b"U1")) is None
            assert world.alive(sessions) == ["u1", "alias", "u2"]
            kick = KickField(field=b"user_dirhash", value=b"%d" % number)
            assert await bench.end_of(kick) is None
            assert world.alive(sessions) == ["u1", "alias"]
            assert await bench.end_of(KickName(b"nobody")) is None


async def test_kicks_of_many_sessions_at_once(world: World) -> None:
    with ExitStack() as stack:
        sessions = open_sessions(world, stack, *["u1", "u2", "old1", "other"] * 12)
        async with kicking(world.kicker()) as bench:
            for user in ("u1", "u2", "old1"):
                bench.kick(every(user))

            assert await bench.ended(3) == [None] * 3
            assert set(world.alive(sessions)) == {"other"}


async def test_list_tells_the_directors_hash_and_host(world: World) -> None:
    found: list[LiveSession] = []
    with ExitStack() as stack:
        open_sessions(world, stack, "U1", "old1")
        async with anvil_connection(world.base_dir / "anvil") as anvil:
            await anvil.dump(
                lambda rows: found.extend(
                    session for row in rows if (session := parse_anvil_row(row, HASHER.hash))
                )
            )
    rows = {(s.user, s.user_hash, str(s.ip), s.is_ours, s.service) for s in found}

    assert {
        (b"U1", HASHER.hash(b"u1"), world.there, True, b"imap-login"),
        (b"old1", HASHER.hash(b"old1"), world.here, False, b"imap-login"),
    } <= rows
