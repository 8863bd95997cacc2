"""What systemd and we tell each other: readiness, reloads, the watchdog, and inherited listeners.

A page of documented environment variables and one datagram; sd_notify(3) and sd_listen_fds(3) are
the authority. Rejected: a library for it (python-systemd needs a compiler and libsystemd, the pure
ones are as long as this file).

Listeners are found by name: `FileDescriptorName=` in the socket unit is the listener's name in our
configuration (the last part of its path: `director`, `director-userdb`, `proxy-notify`).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from director.descriptors import Inherited, kind_of, seal
from director.errors import StartupRefused

_FIRST_DESCRIPTOR = 3


def inherited_listeners(environ: Mapping[str, str]) -> tuple[Inherited, ...]:
    """Return the listeners that systemd opened for this very process.

    Raises:
        StartupRefused: one of the descriptors cannot be listened on.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return ()  # none, or meant for a parent of ours that passed its environment on
    count = int(environ.get("LISTEN_FDS", "0"))
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    listeners = []
    for index in range(count):
        descriptor = _FIRST_DESCRIPTOR + index
        name = names[index] if index < len(names) else ""
        kind = kind_of(descriptor)
        if kind is None:
            raise StartupRefused(
                f"systemd passed descriptor {descriptor} ({name or 'without a name'}), which is "
                "neither a listening stream socket nor a FIFO; check ListenStream= and ListenFIFO="
            )
        seal(descriptor)
        listeners.append(Inherited(name=name, descriptor=descriptor, kind=kind))
    return tuple(listeners)


class Notifier:
    """Tells the service manager how we are; does nothing if there is none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        usec = int(environ.get("WATCHDOG_USEC", "0"))
        is_ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_interval_s = usec / 2e6 if is_ours else 0.0

    def ready(self, status: str) -> None:
        self._send("READY=1", f"STATUS={status}", f"MAINPID={os.getpid()}")

    def reloading(self) -> None:
        now_usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now_usec}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def is_alive(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):
            address = "\0" + address[1:]  # the abstract name space
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
            notify.connect(address)
            notify.sendall("\n".join(lines).encode())
