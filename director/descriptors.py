"""What an inherited file descriptor is, asked of the kernel rather than of whoever passed it.

Two parents hand us open listeners: systemd (`systemd.py`) and Dovecot's master (`master.py`). Both
say how each is called; neither is trusted about its kind, because a unit file that passes a FIFO
as the login socket should be refused with a sentence and not with a strange errno an hour later.
"""

from __future__ import annotations

import os
import socket
import stat

import attrs

from director.listeners import ListenerKind


@attrs.frozen(kw_only=True)
class Inherited:
    """A listener that our parent opened; `name` is what the parent calls it."""

    name: str
    descriptor: int
    kind: ListenerKind
    flags: frozenset[str] = frozenset()


def kind_of(descriptor: int) -> ListenerKind | None:
    """Return what can be listened on with this descriptor, None if nothing (or if it is closed)."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return None
    if stat.S_ISFIFO(mode):
        return ListenerKind.FIFO
    if not stat.S_ISSOCK(mode):
        return None
    with socket.socket(fileno=os.dup(descriptor)) as copy:
        if not copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return None
        return ListenerKind.UNIX if copy.family == socket.AF_UNIX else ListenerKind.INET


def seal(descriptor: int) -> None:
    """Keep a descriptor from blocking us and from reaching the programs we start."""
    os.set_blocking(descriptor, False)
    os.set_inheritable(descriptor, False)
