"""What one director knows of a user on its way to another host, and which of two moves wins.

Two directors may move one user at the same time. In a native ring one of the two moves wins on
every node, by the same rule (DESIGN.md decision 17). How moves go on is in `moves.py`.
"""

from __future__ import annotations

import enum

import attrs

from ring.address import DirectorAddress, IpAddress
from ring.hosts import MailHost
from ring.messages import Stamp, UserMove
from ring.state import Pool


class Stage(enum.Enum):
    """The value is the classic name, shown by `director status USER`."""

    KILLING = "killing"
    NOTIFY_RECEIVED = "notify-received"
    WAIT_NOTIFY = "waiting-for-notify"
    WAIT_EVERYONE = "waiting-for-everyone"
    FLUSHING = "flushing"
    DELAY = "delay"


@attrs.frozen(kw_only=True)
class OldHost:
    """The host a user is moved away from, as it was when the move began."""

    ip: IpAddress
    is_down: bool
    weight: int
    is_quiet: bool = False
    """The user's last login was so long before that its session would be listed by now."""


@attrs.define(eq=False, kw_only=True)
class Move:
    pool: Pool
    user_hash: int
    old: OldHost | None
    is_ours: bool
    target: MailHost | None
    stamp: Stamp | None
    after: Stamp | None = None
    has_kicked: bool = False
    is_released: bool = False
    is_idle: bool = False
    """It is sure that the user had no session here, and none that was only just beginning."""
    is_path_idle: bool = True
    path: tuple[DirectorAddress, ...] = ()
    stage: Stage = Stage.KILLING
    kick_id: int | None = None
    flush_id: int | None = None


def wins(host: MailHost, message: UserMove, move: Move) -> bool:
    """Tell whether a move to `host` wins against another of the same user, as everybody decides.

    The one whose author knew of the other; else a usable host before one that is not, then the
    lower address, as in conflicts.
    """
    assert move.target is not None
    assert move.stamp is not None
    if message.after == move.stamp:
        return True
    if move.after == message.stamp:
        return False
    return _rank(host, message.stamp) < _rank(move.target, move.stamp)


def _rank(host: MailHost, stamp: Stamp) -> tuple[object, ...]:
    is_useless = host.is_down or not host.weight
    return is_useless, host.ip.version, host.ip.packed, stamp.origin.key


def is_of(stamp: Stamp | None, move: Move) -> bool:
    """Tell whether a report belongs to this move; classic ones do not say, and count."""
    return stamp is None or move.stamp is None or stamp == move.stamp
