"""Loopback addresses nobody else uses, so that several test runs share a machine in peace.

A block is the addresses 127.A.B.1 to 127.A.B.250. It is reserved for as long as the process holds a
listening socket on 127.A.B.254: exclusive, released by the kernel however the process ends.
A and B start from the process id, so that the first guess is nearly always right.

Ports are the same in every block. Directors need it (all backends are reached on one port), and
they stand below the range the kernel takes ports for outgoing connections from, because a
director binds its own address when it dials its neighbour.
"""

from __future__ import annotations

import os
import socket

LOCK_PORT = 20001

RING_PORT = 20090
IMAP_PORT = 20143
POP3_PORT = 20110
SUBMISSION_PORT = 20587
SIEVE_PORT = 20419
LMTP_PORT = 20024
DOVEADM_PORT = 20240

FIRST_NET, NETS_COUNT = 16, 200 * 250


class AddressBlock:
    """Addresses of one lab; `next_address` never returns the same one twice."""

    def __init__(self) -> None:
        for attempt in range(NETS_COUNT):
            net = (os.getpid() * 7 + attempt) % NETS_COUNT
            self.prefix = f"127.{FIRST_NET + net // 250}.{1 + net % 250}"
            lock = socket.socket()
            try:
                lock.bind((f"{self.prefix}.254", LOCK_PORT))
                lock.listen(1)
            except OSError:
                lock.close()
                continue
            self._lock = lock
            self._used_count = 0
            return
        raise OSError(f"all {NETS_COUNT} loopback blocks are in use")

    def next_address(self) -> str:
        self._used_count += 1
        assert self._used_count <= 250
        return f"{self.prefix}.{self._used_count}"

    def release(self) -> None:
        self._lock.close()
