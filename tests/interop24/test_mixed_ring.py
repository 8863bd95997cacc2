"""One ring of ours over proxies of Dovecot 2.3 and 2.4: a migration on its way.

Three directors: one beside a 2.3 proxy on the machine itself, one beside a 2.4 proxy in the chroot,
one below the master of another 2.4. Whatever comes in through whichever proxy meets on one backend.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack

import attrs
import pytest

from tests.interop import proxies as classic
from tests.interop.clients import ImapSession, backends_of, imap_backend, lmtp_deliver
from tests.interop.lab import Lab
from tests.interop.loopback import RING_PORT
from tests.interop.programs import wait_until
from tests.interop.rings import is_whole
from tests.interop24.backends import Backends
from tests.interop24.ours import chroot
from tests.interop24.proxies import Proxy, ProxySettings, Way

pytestmark = [pytest.mark.interop, pytest.mark.interop24, pytest.mark.slow]

USERS = [f"user{n:02}@example.com" for n in range(12)]
DIRECTORS_COUNT = 3


@attrs.frozen(kw_only=True)
class Ring:
    """`old` is the 2.3 proxy, `new` and `child` those of 2.4."""

    backends: Backends
    old: classic.Proxy
    new: Proxy
    child: Proxy

    @property
    def members(self) -> list[classic.Proxy | Proxy]:
        return [self.old, self.new, self.child]

    def wait_whole(self) -> None:
        def is_ready() -> bool:
            return all(
                is_whole(member, members_count=DIRECTORS_COUNT, up_count=DIRECTORS_COUNT)
                for member in self.members
            )

        wait_until(is_ready, 30, "a whole ring")


@pytest.fixture(scope="module")
def ring() -> Generator[Ring, None, None]:
    with Lab(chroot()) as inside, Lab() as outside:
        backends = Backends(inside, 3)
        old_ip, new_ip, child_ip = outside.address(), inside.address(), inside.address()
        director = {
            "director_servers": " ".join(f"{ip}:{RING_PORT}" for ip in (old_ip, new_ip, child_ip)),
            "director_mail_servers": " ".join(backends.ips),
            "director_user_kick_delay": "1 s",
        }
        old = classic.Proxy(
            outside,
            "old",
            old_ip,
            classic.ProxySettings(
                kind=classic.DirectorKind.STANDALONE,
                director=director,
                users=dict.fromkeys(USERS, "proxy=y"),
                is_ring_member=True,
            ),
        )
        new, child = (
            inside.keep(
                Proxy(
                    inside,
                    name,
                    ip,
                    ProxySettings(way=way, director=director, is_ring_member=True),
                )
            )
            for name, ip, way in (
                ("new", new_ip, Way.STANDALONE),
                ("child", child_ip, Way.UNDER_MASTER),
            )
        )
        made = Ring(backends=backends, old=old, new=new, child=child)
        for member in made.members:
            member.start()
        made.wait_whole()
        yield made


def test_a_delivery_meets_the_session_of_its_user(ring: Ring) -> None:
    """IMAP on one proxy, LMTP on another, both ways round."""
    pairs = ((ring.old, ring.new, "to 2.4"), (ring.new, ring.old, "to 2.3"))
    for reader, deliverer, text in pairs:
        reached = backends_of(imap_backend, reader.ip, USERS)
        refused = lmtp_deliver(deliverer.ip, USERS, text)

        assert refused == {}
        assert {user: ring.backends.stores_with(user, text) for user in USERS} == {
            user: [ip] for user, ip in reached.items()
        }


def test_a_move_closes_the_sessions_on_every_proxy(ring: Ring) -> None:
    user, other = USERS[0], USERS[1]
    with ExitStack() as stack:
        sessions = [
            stack.enter_context(ImapSession(member.ip, name))
            for member in ring.members
            for name in (user, other)
        ]
        before = sessions[0].backend()
        target = next(ip for ip in ring.backends.ips if ip != before)
        assert {session.backend() for session in sessions if session.user == user} == {before}
        with ring.child.admin() as admin:
            assert admin.ask("USER-MOVE", user, target) == "OK"

        def is_closed() -> bool:
            return not any(session.is_open() for session in sessions if session.user == user)

        wait_until(is_closed, 20, "end of the moved user's sessions")
        assert all(session.is_open() for session in sessions if session.user == other)
    assert {imap_backend(member.ip, user) for member in ring.members} == {target}


def test_a_member_that_dies_comes_back_with_everybody_where_they_were(ring: Ring) -> None:
    expected = backends_of(imap_backend, ring.old.ip, USERS)
    ring.new.kill_director()
    reached = backends_of(imap_backend, ring.new.ip, USERS)
    ring.wait_whole()

    assert reached == expected
    assert backends_of(imap_backend, ring.child.ip, USERS) == expected
    assert ring.new.named_by_director(USERS) == expected
