"""A keeper in a thread of the test, and a daemon's bare end of its protocol."""

from __future__ import annotations

import mmap
import socket
import struct
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import attrs

from director import keeper
from director.sessions import keeping

TIMEOUT_S = 10.0


@contextmanager
def keeper_of(name: str, wait_s: float) -> Generator[threading.Thread, None, None]:
    """Run a keeper; daemons must have hung up when the block ends."""
    listener = keeping.listen(name)
    thread = threading.Thread(target=keeper.keep, args=(listener, wait_s))
    thread.start()
    try:
        yield thread
    finally:
        thread.join(TIMEOUT_S)

        assert not thread.is_alive()


@attrs.define(eq=False)
class Daemon:
    """Says what a daemon says, and hears what a keeper says."""

    sock: socket.socket
    marks: mmap.mmap | None = None
    kept: dict[int, tuple[bytes, socket.socket, socket.socket]] = attrs.field(factory=dict)

    @classmethod
    def of(cls, name: str) -> Daemon:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(TIMEOUT_S)
        sock.connect(name)
        return cls(sock)

    def hear(self) -> Daemon:
        """Return when everything was handed over."""
        while True:
            data, descriptors, _, _ = socket.recv_fds(self.sock, keeper.MESSAGE_BYTES_MAX, 2)
            if data[:1] == b"E":
                return self
            if data[:1] == b"M":
                self.marks = keeper.open_marks(descriptors[0])
                continue
            assert data[:1] == b"K", data
            client, auth = (socket.socket(fileno=descriptor) for descriptor in descriptors)
            self.kept[slot_of(data)] = (data[5:], client, auth)

    def keep(self, slot: int, client: socket.socket, auth: socket.socket) -> None:
        message = b"K" + struct.pack("!I", slot) + b"director"
        socket.send_fds(self.sock, [message], [client.fileno(), auth.fileno()])

    def forget(self, slot: int) -> None:
        self.sock.send(b"F" + struct.pack("!I", slot))

    def die(self) -> None:
        """Let the kernel close everything, as it does."""
        self.sock.close()
        for _, client, auth in self.kept.values():
            client.close()
            auth.close()
        if self.marks is not None:
            self.marks.close()


def slot_of(data: bytes) -> int:
    slot: int = struct.unpack("!I", data[1:5])[0]
    return slot


def descriptors_count() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
