"""A small process that outlives the daemon and keeps its connections open meanwhile.

Dovecot's login processes do not ask again: when the connection to the director breaks, whoever was
being logged in over it hears "temporary failure". So a second process holds a copy of both ends'
descriptors, the login process's and the auth service's. While the daemon is away, killed or being
replaced, requests and answers gather in the kernel, and its successor reads on where it stopped.

The keeper never reads from what it keeps and knows nothing of the protocols; it must have no reason
ever to change or fail. It therefore imports nothing of ours, and runs as a program of its own,
`python -I keeper.py LISTENER SECONDS`: the descriptor of a SOCK_SEQPACKET listener, and how long it
waits for a successor, 0 for ever. One message each, descriptors attached:

    keeper -> daemon   M, 1 descriptor              first: the memory in which slots are marked
    both ways          K slot(4 bytes) label, 2     keep / was kept: a login process and its auth
    keeper -> daemon   E                            that is all
    daemon -> keeper   F slot                       forget

A byte of the memory is not 0 while part of what was said on that slot is only in the daemon (read,
and not yet passed on): its successor cannot go on there, and closes that connection instead.

A second daemon waits until the first has gone, so two never serve one connection. Unless it is to
wait for ever the keeper ends when no daemon is there and nothing kept is alive, or after SECONDS.

Rejected: systemd's descriptor store (two messages to process 1 for every login where login
processes serve one client each, and nothing of the kind below Dovecot's master); a relay that
parses (its crashes would be the daemon's again).
"""

from __future__ import annotations

import mmap
import os
import resource
import select
import socket
import struct
import sys
import time

SLOTS_COUNT = 65_536
MESSAGE_BYTES_MAX = 256
SEND_TIMEOUT_S = 10.0
LOOK_PERIOD_MS = 1000

Kept = tuple[bytes, int, int]
"""Label, and the descriptors of the login process and of the auth service."""


class Keeper:
    def __init__(self, listener: socket.socket, wait_s: float) -> None:
        self._listener = listener
        self._wait_s = wait_s
        self._marks = os.memfd_create("marks")
        os.ftruncate(self._marks, SLOTS_COUNT)
        self._kept: dict[int, Kept] = {}
        self._daemons: list[socket.socket] = []
        """The first is served, the others wait for its end."""
        self._alone_since = time.monotonic()
        self._has_served = False

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        while self._daemons or not self._is_done():
            for descriptor, _ in poll.poll(LOOK_PERIOD_MS):
                if descriptor == self._listener.fileno():
                    daemon, _ = self._listener.accept()
                    daemon.settimeout(SEND_TIMEOUT_S)
                    poll.register(daemon, select.POLLIN)
                    self._daemons.append(daemon)
                    if len(self._daemons) == 1:
                        self._hand_over()
                    continue
                daemon = next(d for d in self._daemons if d.fileno() == descriptor)
                if not self._take(daemon):
                    poll.unregister(daemon)
                    self._lose(daemon)

    def close(self) -> None:
        """Let go of everything."""
        for slot in list(self._kept):
            self._forget(slot)
        for item in (self._listener, *self._daemons):
            item.close()
        os.close(self._marks)

    def _lose(self, daemon: socket.socket) -> None:
        was_served = daemon is self._daemons[0]
        self._daemons.remove(daemon)
        daemon.close()
        self._alone_since = time.monotonic()
        if was_served and self._daemons:
            self._hand_over()

    def _is_done(self) -> bool:
        """Whether there is nothing to wait for any more, or too long has been waited."""
        if not self._wait_s:
            return False
        alive = select.poll()
        for _, client, _ in self._kept.values():
            alive.register(client, 0)
        is_nothing_left = len(alive.poll(0)) == len(self._kept)
        is_over = time.monotonic() >= self._alone_since + self._wait_s
        return is_over or (self._has_served and is_nothing_left)

    def _hand_over(self) -> None:
        """Give everything to the daemon whose turn it is now."""
        self._has_served = True
        daemon = self._daemons[0]
        try:
            socket.send_fds(daemon, [b"M"], [self._marks])
            for slot, (label, client, auth) in self._kept.items():
                socket.send_fds(daemon, [b"K" + struct.pack("!I", slot) + label], [client, auth])
            daemon.send(b"E")
        except OSError:
            daemon.shutdown(socket.SHUT_RDWR)  # the next poll sees its end

    def _take(self, daemon: socket.socket) -> bool:
        """Take one message; False if there will be no more."""
        try:
            data, descriptors, _, _ = socket.recv_fds(daemon, MESSAGE_BYTES_MAX, 2)
        except OSError:
            return False
        if not data:
            return False
        (slot,) = struct.unpack("!I", data[1:5])
        self._forget(slot)
        if data[:1] == b"K" and len(descriptors) == 2:
            self._kept[slot] = (data[5:], descriptors[0], descriptors[1])
        return True

    def _forget(self, slot: int) -> None:
        if slot in self._kept:
            _, client, auth = self._kept.pop(slot)
            os.close(client)
            os.close(auth)


def open_marks(descriptor: int) -> mmap.mmap:
    """Return the memory that came with M, and close its descriptor."""
    try:
        return mmap.mmap(descriptor, SLOTS_COUNT)
    finally:
        os.close(descriptor)


def keep(listener: socket.socket, wait_s: float) -> None:
    """Be the keeper, until there is nothing more to keep."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    keeper = Keeper(listener, wait_s)
    try:
        keeper.run()
    finally:
        keeper.close()


def main() -> None:
    _, descriptor, wait_s = sys.argv
    if os.fork():
        os._exit(0)  # whoever started us waits for this end, and for no other
    keep(socket.socket(fileno=int(descriptor)), float(wait_s))


if __name__ == "__main__":
    main()
