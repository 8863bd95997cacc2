"""The client's end of the `director-admin` protocol (doveadm-director.md section 1).

Decides how a socket name becomes a connection, the handshake, and how replies are cut into lines.
It does not know what any command means. Plain blocking sockets: a verb sends a few lines, reads the
replies and ends, and it must start fast because watchdogs call it every second.

A socket name with a slash is a unix path, anything else `host:port`. Until the server's VERSION has
come we wait at most `HANDSHAKE_TIMEOUT_S`; after that a reply may take as long as the ring needs
(the server answers within its own limits), so reads have no timeout.

The same connection speaks to our daemon and to a Dovecot director, and nothing here asks which.
"""

from __future__ import annotations

import collections
import os
import select
import socket
from collections.abc import Iterator, Sequence

from director.cli.failures import Fatal
from ring.codec import tabs

HANDSHAKE = b"VERSION\tdirector-doveadm\t1\t0\n"

HANDSHAKE_TIMEOUT_S = 5.0
"""Silence after connecting, as long as doveadm waits."""

CONNECT_TIMEOUT_S = 30.0
"""A TCP connection attempt, as long as doveadm waits."""

LINE_BYTES_MAX = 8192
"""A reply line. Longer: whatever it is, it is no director."""

READ_BYTES = 64 * 1024
"""Read from the socket at a time."""


class Disconnected(Exception):
    """The server closed the connection in the middle of a reply."""


class AdminClient:
    """One connection, open until `close`."""

    def __init__(self, socket_name: str) -> None:
        """Connect and shake hands.

        Raises:
            Fatal: nobody there (75), or somebody who is no director (76).
        """
        self.socket_name = socket_name
        self._socket = connect(socket_name)
        self._lines: collections.deque[bytes] = collections.deque()
        self._rest = b""
        self._socket.settimeout(HANDSHAKE_TIMEOUT_S)
        try:
            self._shake_hands()
        except Fatal:
            self._socket.close()
            raise
        self._socket.settimeout(None)

    def close(self) -> None:
        self._socket.close()

    def send(self, *commands: Sequence[bytes]) -> None:
        """Send commands, each a sequence of fields, in one write; fields must be escaped."""
        data = b"".join(b"\t".join(fields) + b"\n" for fields in commands)
        try:
            self._socket.sendall(data)
        except OSError:
            # The reply that will not come tells the caller; the server may have said why before.
            pass

    def has_line(self, timeout_s: float) -> bool:
        """Wait for the next reply line (or the end) at most that long; return whether it came."""
        if not self._lines:
            readable, _, _ = select.select([self._socket], [], [], timeout_s)
            return bool(readable)
        return True

    def line(self) -> bytes:
        """Return the next reply line without its LF.

        Raises:
            Disconnected: there is none.
        """
        while not self._lines:
            try:
                is_open = self._receive()
            except OSError:
                is_open = False
            if not is_open:
                raise Disconnected(f"{self.socket_name} unexpectedly disconnected")
        return self._lines.popleft()

    def rows(self) -> Iterator[list[bytes]]:
        """Yield the unescaped fields of each line up to the empty one.

        Raises:
            Disconnected: the end of the list never came.
        """
        while line := self.line():
            yield tabs.split(line)

    def _receive(self) -> bool:
        """Read once; return False at the end, or if what comes is no line."""
        data = self._socket.recv(READ_BYTES)
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        self._lines.extend(lines)
        return bool(data) and len(self._rest) <= LINE_BYTES_MAX

    def _shake_hands(self) -> None:
        name = self.socket_name
        try:
            self._socket.sendall(HANDSHAKE)
            while not self._lines:
                if not self._receive():
                    raise Fatal(f"{name} disconnected", os.EX_TEMPFAIL)
        except TimeoutError:
            reason = f"read({name}) timed out (is director configured?)"
            raise Fatal(reason, os.EX_TEMPFAIL) from None
        except OSError as error:
            raise Fatal(f"read({name}) failed: {error.strerror}", os.EX_TEMPFAIL) from None
        fields = self._lines.popleft().split(b"\t")
        is_complete = len(fields) >= 4 and fields[3].isdigit()
        if not is_complete or fields[:3] != HANDSHAKE.split(b"\t")[:3]:
            raise Fatal(f"{name} not a compatible director-doveadm socket", os.EX_PROTOCOL)


def connect(socket_name: str) -> socket.socket:
    """Return a connected socket.

    Raises:
        Fatal: with doveadm's wording, and a hint when it looks as if no daemon runs.
    """
    if "/" in socket_name:
        return _connect_unix(socket_name)
    return _connect_tcp(socket_name)


def _connect_unix(path: str) -> socket.socket:
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        unix.connect(path)
    except (OSError, ValueError) as error:
        unix.close()
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        hint = ""
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            hint = " - is the director running? (director serve; -a names another socket)"
        raise Fatal(f"net_connect_unix({path}) failed: {reason}{hint}", os.EX_TEMPFAIL) from None
    return unix


def _connect_tcp(name: str) -> socket.socket:
    host, port = split_host_port(name)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else str(error)
        raise Fatal(f"Lookup of host {host} failed: {reason}", os.EX_TEMPFAIL) from None
    failure = ""
    for family, kind, protocol, _, address in found:
        tcp = socket.socket(family, kind, protocol)
        tcp.settimeout(CONNECT_TIMEOUT_S)
        try:
            tcp.connect(address)
        except OSError as error:
            tcp.close()
            failure = f"connect({address[0]}:{port}) failed: {error.strerror or error}"
            continue
        # A daemon that vanishes with its machine must not hold a script for ever.
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return tcp
    raise Fatal(failure, os.EX_TEMPFAIL)


def split_host_port(name: str) -> tuple[str, int]:
    """Return host and port of `host:port`, `[v6]:port`, or a host alone (port 0).

    Raises:
        Fatal: the port is no port.
    """
    host, colon, digits = name.rpartition(":")
    if not colon or (":" in host.strip("[]") and not host.startswith("[")):
        return name.strip("[]"), 0
    if host.startswith("[") and not host.endswith("]"):
        return name.strip("[]"), 0
    if not digits.isascii() or not digits.isdigit() or not 0 < int(digits) <= 65535:
        raise Fatal(f"Port not known for {name}: {digits!r} is no port number", os.EX_TEMPFAIL)
    return host.strip("[]"), int(digits)
