"""What an administrator can ask of a node, and what the node answers.

Commands arrive as `node.command(token, command, now)`; every command gets exactly one
`effects.CommandAnswered(token, answer)`, at once or when the ring has applied it
(doveadm-director.md section 1.2). Questions (who is where, list of hosts) are not commands: the
shell reads them from the node directly.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import attrs

from ring.address import DirectorAddress, IpAddress


class Answer(enum.Enum):
    """The value is the reply line of the `director-admin` protocol."""

    OK = "OK"
    NOT_FOUND = "NOTFOUND"
    TRY_AGAIN = "TRYAGAIN"
    WEIGHT_TOO_LARGE = "vhost count too large"
    TAG_IS_FIXED = "host tag can't be changed"
    TOO_MANY_HOSTS = "too many hosts"
    SYNC_TIMED_OUT = "Ring sync timed out"


@attrs.frozen(kw_only=True)
class HostSet:
    """Add a mail host, or change its weight. None: weight 100 for a new host, else unchanged."""

    ip: IpAddress
    tag: bytes
    weight: int | None


@attrs.frozen(kw_only=True)
class HostUpdate:
    """Change the weight of a known mail host; an empty tag means "whatever it is"."""

    ip: IpAddress
    tag: bytes
    weight: int


@attrs.frozen
class HostUp:
    ip: IpAddress


@attrs.frozen
class HostDown:
    ip: IpAddress


@attrs.frozen
class HostRemove:
    ip: IpAddress


@attrs.frozen
class HostFlush:
    """Forget the users of a host (None: of all hosts) without kicking anybody."""

    ip: IpAddress | None


@attrs.frozen(kw_only=True)
class HostResetUsers:
    """Move the users of a host (None: of all) to where their hash leads now, in batches.

    `parallel_max` is the number of moves at one time, None for the setting.
    """

    ip: IpAddress | None
    parallel_max: int | None


@attrs.frozen(kw_only=True)
class UserMove:
    user_hash: int
    ip: IpAddress


@attrs.frozen(kw_only=True)
class UserKick:
    """`is_waiting`: wait for a free kick slot instead of answering TRYAGAIN."""

    user: bytes
    is_waiting: bool


@attrs.frozen(kw_only=True)
class UserKickField:
    field: bytes
    value: bytes
    is_waiting: bool


@attrs.frozen
class UserKickHash:
    """Kick every session of this user hash, wherever it goes (our own addition)."""

    user_hash: int


@attrs.frozen
class DirectorAdd:
    address: DirectorAddress


@attrs.frozen(kw_only=True)
class DirectorRemove:
    """`port` None: the first director with that address."""

    ip: IpAddress
    port: int | None


Command: TypeAlias = (
    HostSet
    | HostUpdate
    | HostUp
    | HostDown
    | HostRemove
    | HostFlush
    | HostResetUsers
    | UserMove
    | UserKick
    | UserKickField
    | UserKickHash
    | DirectorAdd
    | DirectorRemove
)
