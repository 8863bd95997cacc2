"""What the node wants done in the world: the shell drains these and performs them in order.

An effect carries all it needs; performing it never asks the node back. Results return through the
node's methods named in each docstring. Bytes for neighbours are no effects: they wait in the
links' outboxes (`link.take_output`).
"""

from __future__ import annotations

import enum
from collections.abc import Hashable
from typing import TypeAlias

import attrs

from ring.address import DirectorAddress, IpAddress
from ring.commands import Answer

LinkId: TypeAlias = int


class ParkedReason(enum.Enum):
    """Why a lookup waits; the value is the classic log text (login-sockets.md section 5.2)."""

    NOT_HANDSHAKED = "ring not handshaked"
    NOT_SYNCED = "ring not synced"
    WEAK = "weak user"
    NO_HOSTS = "no hosts"
    MOVING = "kill waiting"


class Refusal(enum.Enum):
    """Why a lookup failed."""

    TIMED_OUT = "timed out"
    TOO_MANY_PARKED = "too many requests are waiting"


@attrs.frozen(kw_only=True)
class Dial:
    """Connect to `address` from our own director address.

    Then call `node.link_connected(link_id)` or `node.link_failed(link_id, reason)`.
    """

    link_id: LinkId
    address: DirectorAddress


@attrs.frozen(kw_only=True)
class Hangup:
    """Send `unsent` (for at most 2 s), then close the connection.

    The link is already gone from the node; call nothing.
    """

    link_id: LinkId
    unsent: bytes


@attrs.frozen(kw_only=True)
class LookupAnswered:
    """A parked lookup is decided: `ip` and `hostname` of the host, or why there is none.

    `user_hash` and `tag` are those of the lookup. `waited_s` is how long it was parked and
    `detail` the classic explanation for the log when it failed.
    """

    token: Hashable
    user_hash: int
    tag: bytes
    ip: IpAddress | None
    hostname: bytes
    refusal: Refusal | None
    waited_s: float
    detail: str


@attrs.frozen(kw_only=True)
class CommandAnswered:
    token: Hashable
    answer: Answer


@attrs.frozen
class KickName:
    """Every session whose user name is exactly this."""

    user: bytes


@attrs.frozen(kw_only=True)
class KickField:
    field: bytes
    value: bytes


@attrs.frozen(kw_only=True)
class KickHash:
    """Every session of the hash, except those that go to `except_ip` if it is given."""

    user_hash: int
    except_ip: IpAddress | None


@attrs.frozen(kw_only=True)
class Kick:
    """Close sessions on this machine; then call `node.kick_finished(kick_id, error, now)`."""

    kick_id: int
    what: KickName | KickField | KickHash


@attrs.frozen(kw_only=True)
class RunFlushProgram:
    """Run `director_flush_socket`; then call `node.flush_finished(flush_id, is_success, now)`.

    users-and-hosts.md section 12 gives the arguments and what follows.
    """

    flush_id: int
    user_hash: int
    old_ip: IpAddress
    old_is_down: bool
    old_weight: int
    new_ip: IpAddress
    new_hostname: bytes


@attrs.frozen
class AbortFlushProgram:
    """The move was given up: end the program if it still runs; its result no longer matters."""

    flush_id: int


@attrs.frozen
class Noted:
    """Something an operator may want to see: one log line and one counter.

    `kind` is a past-tense event name (`user_conflict_settled`), `fields` its facts in a fixed
    order. Level and text belong to the shell. Kind `bug` fails tests and simulations.
    """

    kind: str
    fields: tuple[tuple[str, object], ...]


Effect: TypeAlias = (
    Dial
    | Hangup
    | LookupAnswered
    | CommandAnswered
    | Kick
    | RunFlushProgram
    | AbortFlushProgram
    | Noted
)
