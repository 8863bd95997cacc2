"""A lookup service for scripts: login-sockets.md section 7."""

from __future__ import annotations

import pytest

from ring import limits
from tests.director.sessions.rig import Desk, without_private_fields

SERVER = b"VERSION\tdirector-authreply-server\t1\t0\n"
CLIENT = b"VERSION\tdirector-authreply-client\t1\t0\n"


def test_lines_come_back_with_hosts(desk: Desk) -> None:
    client = desk.connect_authreply()
    assert SERVER == client.heard()
    client.say(CLIENT + b"OK\t1\tuser=u1\tproxy\nPASS\t2\tuser=u1\tproxy\n")

    assert (
        b"OK\t1\tuser=u1\tproxy\tproxy_refresh=30\thost=127.0.0.3\nPASS\t2\tuser=u1\tproxy\n"
        == without_private_fields(client.heard())
    )


def test_greeting_may_come_in_pieces(desk: Desk) -> None:
    client = desk.connect_authreply()
    client.heard()
    for piece in (CLIENT[:10], CLIENT[10:], b"OK\t1\tuser=x\n"):
        client.say(piece)

    assert b"OK\t1\tuser=x\n" == client.heard()


@pytest.mark.parametrize(
    "greeting", [b"OK\t1\tuser=u1\tproxy\n", b"VERSION\tother\t1\t0\n", b"x" * 2000]
)
def test_client_of_another_protocol_is_closed(desk: Desk, greeting: bytes) -> None:
    client = desk.connect_authreply()
    client.heard()
    client.say(greeting)

    assert client.is_closed
    assert "director-authreply" in desk.notes("client_lost")[0]


def test_client_that_never_reads_is_not_read(desk: Desk) -> None:
    client = desk.connect_authreply()
    client.say(CLIENT)
    line = b"CONT\t1\t" + b"x" * 10_000 + b"\n"
    sent = 0
    with pytest.raises(BlockingIOError):
        for _ in range(1000):
            sent += client.sock.send(line)
            desk.settle()
    assert sent < 2 * limits.SESSION_OUTPUT_BYTES_MAX + 1_000_000
    heard = len(SERVER)
    while heard < sent:
        heard += len(client.heard())
        desk.settle()

    assert not client.is_closed


def test_client_that_leaves_is_forgotten(desk: Desk) -> None:
    desk.connect_authreply().close()

    assert not desk.surroundings.roster.sessions
