"""A user with a session open is not forgotten, however long it lasts; one without is.

Both users were moved away from the backend of the hash, so that it shows. Below the master login
processes report live users on a FIFO; beside Dovecot there is none that is safe, and its list of
sessions is asked for instead.
"""

from __future__ import annotations

import pytest

from tests.interop.clients import ImapSession, imap_backend
from tests.interop.programs import wait_until
from tests.interop24.proxies import Way
from tests.interop24.worlds import world_of

pytestmark = [pytest.mark.interop24, pytest.mark.slow]

LIVE, GONE = "live@example.com", "gone@example.com"
EXPIRE = {"director_user_expire": "10 s"}
SOURCES = {
    "fifo": "live users are known from what is written to",
    "list": "live users are known from Dovecot's own list of sessions",
    "events": "live users are known from the sessions that Dovecot exports to",
}


@pytest.mark.parametrize("source", ["fifo", "list", "events"])
def test_only_users_without_a_session_are_forgotten(source: str) -> None:
    way = Way.UNDER_MASTER if source == "fifo" else Way.STANDALONE
    has_events = source == "events"
    with world_of(way, users=[], director=EXPIRE, has_events=has_events) as world:
        if has_events:
            (world.proxy.dovecot.run / "anvil").chmod(0)

        assert SOURCES[source] in world.proxy.director("doctor").stdout

        targets = {}
        for user in (LIVE, GONE):
            targets[user] = world.elsewhere(imap_backend(world.ip, user))
            world.run("move", user, targets[user])
        with ImapSession(world.ip, LIVE) as session:
            assert session.backend() == targets[LIVE]
            assert imap_backend(world.ip, GONE) == targets[GONE]
            # GONE came later, so LIVE, if forgotten at all, is forgotten before.
            wait_until(lambda: world.proxy.named_by_director([GONE]) == {GONE: ""}, 30, "expiry")
            reached = imap_backend(world.ip, LIVE)

        assert reached == targets[LIVE]
