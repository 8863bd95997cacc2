"""What a local session needs from the rest of the daemon: one small protocol, and what it shares.

The runtime implements `Directory` around the node. Sessions never see the node itself, so their
tests need no ring, and the node's interface can grow without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from director.pollset import PollSet
from director.sessions.keeping import Keeping
from ring.effects import LookupAnswered


class Host(Protocol):
    """The part of a `ring.hosts.MailHost` that goes into a reply."""

    @property
    def ip_text(self) -> bytes: ...

    @property
    def hostname(self) -> bytes:
        """Empty if the host was configured by address."""


class ParkedLookup(Protocol):
    """The token of a lookup: whoever waits for its answer if there is none yet."""

    def lookup_answered(self, answer: LookupAnswered) -> None:
        """A parked lookup is decided. Not called after `Directory.abandon`."""


class Directory(Protocol):
    @property
    def proxy_refresh_s(self) -> int | None:
        """How often login processes report a proxied user; None: they are not asked to."""

    def hash_user(self, name: bytes) -> int:
        """Return the user hash of an unescaped user name."""

    def hash_users(self, names: Sequence[bytes]) -> list[int]:
        """Return the user hashes of many names."""

    def lookup_many(self, user_hashes: Sequence[int], tag: bytes) -> Sequence[Host | None]:
        """Return the hosts of many users; None: nothing was done, `lookup` must decide."""

    def lookup(self, token: ParkedLookup, user_hash: int, tag: bytes) -> Host | None:
        """Return the user's host, or None: parked, the token is told later."""

    def abandon(self, token: ParkedLookup) -> None:
        """The answer of this parked lookup is not wanted any more."""

    def refresh(self, user_hash: int) -> None:
        """The user still has a session."""

    def note(self, kind: str, **fields: object) -> None:
        """Write one log line and count it."""


class Session(Protocol):
    """A connection that ends when the daemon ends."""

    def close(self) -> None:
        """Close its sockets without a word; doing it twice is harmless."""


@attrs.define(eq=False)
class Roster:
    """All live sessions. More than `sessions_max`: new clients wait in the listen queue."""

    sessions_max: int
    sessions: set[Session] = attrs.field(init=False, factory=set)

    @property
    def is_full(self) -> bool:
        return len(self.sessions) >= self.sessions_max

    def close_all(self) -> None:
        for session in list(self.sessions):
            session.close()


@attrs.define(eq=False, kw_only=True)
class Surroundings:
    """What all local sessions share. `master_user_separator` is one byte, or empty."""

    poll_set: PollSet
    keeping: Keeping
    directory: Directory
    roster: Roster
    master_user_separator: bytes
