"""Lets a successor go on with the connections of this daemon: its end of `director/keeper.py`.

Every relay that has both its connections is kept in a slot. Its handlers mark the slot while they
have read something that they have not passed on; the byte costs 0.1 us and decides, should we be
killed at that moment, whether the successor can read on or must hang up.

The keeper is found by an abstract name (user and base_dir), so it needs no directory to write to;
it is started if it is not there, and again if it has died. Without one, connections end with the
daemon. It is no part of serving, so its troubles are one log line. Messages that it does not take
at once wait in a queue, whose relays may have gone.

While a predecessor is still leaving, the keeper lets us wait; new connections are served meanwhile,
and kept as soon as it is our turn.
"""

from __future__ import annotations

import collections
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeAlias

from director import keeper
from director.pollset import READ, WRITE, PollSet
from director.sessions.stream import hang_up
from ring import limits

MARKED, CLEAN = 1, 0
UNKEPT = 0
"""The slot of a relay that nobody keeps: its mark goes nowhere."""

RETRY_S = 1.0
"""After the keeper was lost another one is looked for."""

Marks: TypeAlias = bytearray | memoryview

_KEEP, _FORGET, _MARKS, _END = b"K", b"F", b"M", b"E"


class Keepable(Protocol):
    """What can be kept: a relay. `marks[slot]` is its mark."""

    label: bytes
    slot: int
    marks: Marks

    def descriptors(self) -> tuple[int, int] | None:
        """Of the client and of the auth service; None: there are not both."""

    def mark(self) -> int:
        """Say in the mark whether something was read and not passed on, and return that."""

    def leave(self) -> None:
        """Stop serving without ending the connections."""


Resume: TypeAlias = Callable[[bytes, socket.socket, socket.socket], Keepable | None]
"""Called with label, client and auth service; None: nobody knows such a label."""


class Keeping:
    """See the module's docstring. Handler of the connection to the keeper."""

    def __init__(self, poll_set: PollSet, note: Callable[..., None]) -> None:
        self.scrap = bytearray(1)
        """The marks of those whom nobody keeps."""
        self._poll_set = poll_set
        self._note = note
        self._name = ""
        self._resume: Resume | None = None
        self._socket: socket.socket | None = None
        self._marks: memoryview | None = None
        self._free: list[int] = []
        self._is_our_turn = False
        self._is_behind = False
        self._relays: dict[Keepable, None] = {}
        self._outbox: collections.deque[tuple[bytes, Keepable | None]] = collections.deque()

    def start(self, base_dir: Path, resume: Resume) -> None:
        """Find or start the keeper; what it has is resumed as soon as our predecessor is gone."""
        self._name = name_of(base_dir)
        self._resume = resume
        self._find()

    def _find(self) -> None:
        try:
            self._socket = connect(self._name)
        except OSError as error:
            self._note("keeper_not_found", reason=error)
            return
        self._socket.setblocking(False)
        self._poll_set.add(self._socket.fileno(), self)

    def add(self, relay: Keepable) -> None:
        """Keep a relay from now on; it has both its connections."""
        self._relays[relay] = None
        if self._is_our_turn:
            self._keep(relay)

    def forget(self, relay: Keepable) -> None:
        """Its connections end; doing it twice is harmless."""
        self._relays.pop(relay, None)
        if relay.slot != UNKEPT:
            self._send(_FORGET + struct.pack("!I", relay.slot), None)
            self._free.append(relay.slot)
            self._unmark(relay)

    def leave(self) -> int:
        """Leave every relay that is at rest to our successor; return how many are still busy."""
        if self._outbox:
            return len(self._outbox)
        if self._is_our_turn:
            for relay in [r for r in self._relays if r.slot != UNKEPT and r.mark() == CLEAN]:
                del self._relays[relay]
                relay.leave()
        return sum(relay.mark() == MARKED for relay in self._relays)

    def close(self) -> None:
        if self._socket is not None:
            self._poll_set.discard(self._socket)
            self._socket = None

    # --- the poll set's calls -------------------------------------------------------------------

    def readable(self) -> None:
        assert self._socket is not None
        data, descriptors, _, _ = socket.recv_fds(self._socket, keeper.MESSAGE_BYTES_MAX, 2)
        kind = data[:1]
        if kind == _MARKS and len(descriptors) == 1:
            self._marks = memoryview(keeper.open_marks(descriptors[0]))
            self._free = list(range(keeper.SLOTS_COUNT - 1, UNKEPT, -1))
        elif kind == _KEEP and len(descriptors) == 2:
            client, auth = (socket.socket(fileno=descriptor) for descriptor in descriptors)
            self._take_over(data, client, auth)
        elif kind == _END:
            self._is_our_turn = True
            count = sum(relay.slot != UNKEPT for relay in self._relays)
            self._note("keeper_found", connections=count)
            for relay in [r for r in self._relays if r.slot == UNKEPT]:
                self._keep(relay)
        else:
            raise ConnectionResetError("the keeper has ended")

    def writable(self) -> None:
        self._flush()

    def failed(self, error: Exception) -> None:
        """The keeper is gone: until there is another, connections end with us."""
        self._note("keeper_lost", reason=error)
        self._is_our_turn = self._is_behind = False
        self._outbox.clear()
        for relay in self._relays:
            relay.marks[relay.slot] = MARKED  # whoever should get it must not read beside us
            self._unmark(relay)
        self.close()
        self._poll_set.call_later(RETRY_S, self._find)

    # --- inside ---------------------------------------------------------------------------------

    def _take_over(self, data: bytes, client: socket.socket, auth: socket.socket) -> None:
        assert self._marks is not None
        assert self._resume is not None
        (slot,) = struct.unpack("!I", data[1:5])
        relay, reason = None, "killed while it was read"
        if self._marks[slot] == CLEAN:
            relay, reason = self._resume(data[5:], client, auth), "nobody knows it"
        if relay is None:
            self._note("connection_not_resumed", socket=data[5:].decode(), reason=reason)
            for sock in (client, auth):
                hang_up(sock)
                sock.close()
            self._marks[slot] = CLEAN
            self._send(_FORGET + struct.pack("!I", slot), None)
            return
        self._free.remove(slot)
        relay.marks = self._marks
        relay.slot = slot
        self._relays[relay] = None

    def _keep(self, relay: Keepable) -> None:
        assert self._marks is not None
        if not self._free:
            return  # more than anybody has: those end with us
        relay.slot = self._free.pop()
        relay.marks = self._marks
        relay.mark()
        self._send(_KEEP + struct.pack("!I", relay.slot) + relay.label, relay)

    def _unmark(self, relay: Keepable) -> None:
        relay.slot = UNKEPT
        relay.marks = self.scrap

    def _send(self, message: bytes, relay: Keepable | None) -> None:
        self._outbox.append((message, relay))
        if len(self._outbox) == 1:
            self._flush()

    def _flush(self) -> None:
        if self._socket is None:
            self._outbox.clear()
            return
        while self._outbox:
            message, relay = self._outbox[0]
            descriptors = relay.descriptors() if relay is not None else ()
            if descriptors is not None and (relay is None or relay in self._relays):
                try:
                    socket.send_fds(self._socket, [message], descriptors)
                except BlockingIOError:
                    if not self._is_behind:
                        self._is_behind = True
                        self._poll_set.set_events(self._socket.fileno(), READ | WRITE)
                    return
                except OSError as error:
                    self.failed(error)
                    return
            self._outbox.popleft()
        if self._is_behind:
            self._is_behind = False
            self._poll_set.set_events(self._socket.fileno(), READ)


def name_of(base_dir: Path) -> str:
    """Return the abstract name of the keeper for a Dovecot, one for each user who may ask.

    A keeper that speaks otherwise has another number there.
    """
    return f"\0ringdirector-keeper-1:{os.geteuid()}:{base_dir}"


def connect(name: str) -> socket.socket:
    """Return a connection to the keeper, which is started if it is not there.

    Raises:
        OSError: there is none, and none can be started; or somebody else has its name.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        try:
            sock.connect(name)
        except ConnectionRefusedError:
            start_keeper(name)
            sock.connect(name)
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        _, user_id, _ = struct.unpack("3i", credentials)
        if user_id != os.geteuid():
            raise PermissionError(f"user {user_id} has the keeper's name")
    except OSError:
        sock.close()
        raise
    return sock


def listen(name: str) -> socket.socket:
    """Return the listener of a keeper.

    Raises:
        OSError: there is one already.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listener.bind(name)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def start_keeper(name: str) -> None:
    """Start a keeper that nothing but its own end connects with us."""
    with listen(name) as listener:
        subprocess.run(
            [
                sys.executable,
                "-I",
                keeper.__file__,
                str(listener.fileno()),
                str(limits.KEEP_S),
            ],
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,
            check=False,
        )
