"""One frozen value per ring message: what directors say to each other, however it is spelled.

Both codecs (`codec/classic.py`, `codec/native.py`) translate between bytes and these values, so
everything above `link.py` is the same for both wires. The classic names are in the comments'
cross-references only; ring-protocol.md section 8 is the authority on meaning.

`Users` is the one message that comes by the million. It is columns, not objects: row `i` says that
the user with hash `hashes[i]` belongs to `hosts[host_indexes[i]]` since `timestamps[i]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import attrs

from ring.address import DirectorAddress, IpAddress

CLASSIC_MINOR = 9
"""The newest minor version a Dovecot director ever announced."""

NATIVE_MINOR = 100
"""What we announce. A peer that announces this much or more continues in native frames."""

SHARDS_COUNT = 256
"""A user table is told and compared in that many parts, by the top byte of the hash."""

UNKNOWN_TIMESTAMP = 0xFFFFFFFF
"""A user timestamp that was not sent (peers before minor 9), or the one of a SYNC without it.

It never stands for a real time: a codec that reads this very number from a line lowers it by one.
"""


@attrs.frozen(kw_only=True)
class Stamp:
    """Who originated a command, and its number there; duplicates are known by it (section 8.0)."""

    origin: DirectorAddress
    sequence: int


@attrs.frozen(kw_only=True)
class Version:
    major: int
    minor: int


@attrs.frozen(kw_only=True)
class Me:
    """The peer says who it is; `wall` is its clock in Unix seconds, None if it did not say."""

    address: DirectorAddress
    wall: int | None


@attrs.frozen(kw_only=True)
class Hello:
    """Native only, the first frame: ring-wide choices that must agree (DESIGN section 3)."""

    director_hash: str
    users_count: int = 0


@attrs.frozen
class Director:
    """This director exists.

    `last_sequence` is said only to that director itself: the last command of it that was heard.
    """

    address: DirectorAddress
    last_sequence: int = 0


@attrs.frozen
class DirectorRemove:
    address: DirectorAddress


@attrs.frozen
class HostsStart:
    """The sender's host list follows; `is_complete` says its ring has been complete before."""

    is_complete: bool


@attrs.frozen
class HostsEnd:
    is_complete: bool


@attrs.frozen(kw_only=True)
class Host:
    """State of one mail host. In a handshake's host block `stamp` is None.

    `weight` is the number of points; `changed_at` the Unix second of the last up/down change, 0 if
    it never changed; `hostname` empty if the host was configured by address. `weight_set_at` is the
    Unix millisecond at which an administrator last set the weight, 0 if nobody did; None: not told.
    """

    stamp: Stamp | None
    ip: IpAddress
    weight: int
    tag: bytes = b""
    is_down: bool = False
    changed_at: int = 0
    hostname: bytes = b""
    weight_set_at: int | None = None


@attrs.frozen(kw_only=True)
class HostRemove:
    """`removed_at` is the Unix millisecond at which an administrator did it; None: not told."""

    stamp: Stamp
    ip: IpAddress
    removed_at: int | None = None


@attrs.frozen(kw_only=True)
class HostFlush:
    stamp: Stamp
    ip: IpAddress


@attrs.frozen(kw_only=True)
class Users:
    """Columns of users; all columns but `hosts` have the same length.

    `weak` holds the row numbers of weak users. `is_handshake` tells the rows of an export, which
    are never forwarded, from gossip; elsewhere `weak` means nothing and must be ignored (a classic
    USER line of an old peer's export carries the mark, and only the link knows that it is one).

    A decoder yields at least one row and at most `limits.FRAME_USERS_MAX`, and never mixes rows
    with and without a time.
    """

    hashes: Sequence[int]
    timestamps: Sequence[int]
    hosts: Sequence[IpAddress]
    host_indexes: Sequence[int]
    weak: frozenset[int] = frozenset()
    is_handshake: bool = False
    frame: bytes = attrs.field(default=b"", eq=False, repr=False)
    """The native frame it came in, if it did and is gossip."""

    def __len__(self) -> int:
        return len(self.hashes)


@attrs.frozen(kw_only=True)
class Digests:
    """Native only: 64 bits for each shard of a tag from `first` on; 0 looks like no other."""

    tag: bytes
    first: int
    digests: tuple[int, ...]


@attrs.frozen(kw_only=True)
class ShardsWanted:
    """Native only, the answer to `Digests`: which of them look different here."""

    tag: bytes
    shards: tuple[int, ...]


@attrs.frozen
class Compare:
    """Native only: tell me which users differ, by `Digests`, as if a handshake began."""


@attrs.frozen(kw_only=True)
class UserWeak:
    stamp: Stamp
    user_hash: int
    ip: IpAddress


@attrs.frozen(kw_only=True)
class UserMove:
    """A user goes to another host; `after` is the stamp of a move under way that it replaces."""

    stamp: Stamp
    user_hash: int
    ip: IpAddress
    after: Stamp | None = None


@attrs.frozen(kw_only=True)
class UserKick:
    stamp: Stamp
    user: bytes


@attrs.frozen(kw_only=True)
class UserKickField:
    """Kick by an alternative user name: the passdb field `field` has exactly this value."""

    stamp: Stamp
    field: bytes
    value: bytes


@attrs.frozen(kw_only=True)
class UserKickHash:
    """Kick every session of the hash except those on `except_ip`: settles a user conflict."""

    stamp: Stamp
    user_hash: int
    except_ip: IpAddress


@attrs.frozen
class UserKilled:
    """My sessions of this user are gone (and those of everybody left of me).

    `move` is the stamp of the `UserMove` this belongs to, None if the peer does not say (classic).
    In native rings `path` are the directors that say so, in the order of the ring, and `ip` and
    `after` are the move's, for those who have not heard of it; `is_idle` tells that nobody on the
    path had any session to close.
    """

    user_hash: int
    move: Stamp | None = None
    path: tuple[DirectorAddress, ...] = ()
    ip: IpAddress | None = None
    after: Stamp | None = None
    is_idle: bool = False


@attrs.frozen(kw_only=True)
class UserKilledEverywhere:
    """Nobody has a session of this user any more; `move` and `is_idle` as in `UserKilled`."""

    stamp: Stamp
    user_hash: int
    move: Stamp | None = None
    is_idle: bool = False


@attrs.frozen(kw_only=True)
class Sync:
    """A round trip through the ring that proves everybody has what was sent before it.

    `minor` is the lowest version met so far, `timestamp` the origin's Unix second, `hosts_hash` 0
    if not given (section 11). A peer of minor 0 sends neither: minor 0 and UNKNOWN_TIMESTAMP.
    """

    origin: DirectorAddress
    sequence: int
    minor: int
    timestamp: int
    hosts_hash: int


@attrs.frozen(kw_only=True)
class Ping:
    """`wall` and `unsent_bytes` are for diagnostics; None if the peer left them out."""

    wall: int | None
    unsent_bytes: int | None


@attrs.frozen(kw_only=True)
class Pong:
    wall: int | None
    unsent_bytes: int | None


@attrs.frozen
class Connect:
    """Make that director your right neighbour instead of me."""

    address: DirectorAddress


@attrs.frozen
class Options:
    names: tuple[bytes, ...]


@attrs.frozen
class Done:
    """My side of the handshake is complete."""


@attrs.frozen
class Quit:
    reason: str


Message: TypeAlias = (
    Version
    | Me
    | Hello
    | Director
    | DirectorRemove
    | HostsStart
    | HostsEnd
    | Host
    | HostRemove
    | HostFlush
    | Users
    | Digests
    | ShardsWanted
    | Compare
    | UserWeak
    | UserMove
    | UserKick
    | UserKickField
    | UserKickHash
    | UserKilled
    | UserKilledEverywhere
    | Sync
    | Ping
    | Pong
    | Connect
    | Options
    | Done
    | Quit
)
