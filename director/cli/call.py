"""One administrative verb being run: what it was told, where it prints, whom it asks.

Everything the verbs share and nothing they decide. A verb is a function that takes a `Call` and
works on it; the exit status collects in `status`, so that a verb over several addresses goes on
after the first one failed, as doveadm does.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence

import attrs

from director.cli.admin_client import AdminClient, Disconnected
from director.cli.environment import Environment
from director.cli.failures import Messages, UsageWrong
from director.cli.options import Arguments
from director.cli.tables import Table
from ring.address import ip_key, ip_text, parse_ip
from ring.errors import ValueRefused

NUMBER_MAX = 0xFFFFFFFF


@attrs.define(eq=False, kw_only=True)
class Call:
    arguments: Arguments
    environment: Environment
    messages: Messages
    table: Table
    make_table: Callable[[], Table]
    status: int = os.EX_OK
    _clients: list[AdminClient] = attrs.field(init=False, factory=list)

    def required(self, name: str) -> str:
        """Return an argument's text.

        Raises:
            UsageWrong: it was not given.
        """
        value = self.arguments.get(name)
        if value is None:
            raise UsageWrong(f"{name} is missing")
        return value

    @property
    def socket_name(self) -> str:
        """The admin socket: `-a`, else the configuration's."""
        name = self.arguments.get("socket-path")
        return self.environment.socket_name if name is None else name

    def connect(self) -> AdminClient:
        """Return a new connection, which ends with the verb.

        Raises:
            Fatal: there is no director to talk to.
        """
        client = AdminClient(self.socket_name)
        self._clients.append(client)
        self.messages.debug(f"connected to {self.socket_name}")
        return client

    def close(self) -> None:
        """End all connections."""
        while self._clients:
            self._clients.pop().close()

    def disconnected(self, error: Disconnected) -> None:
        self.failed(str(error), os.EX_TEMPFAIL)

    def failed(self, text: str, status: int) -> None:
        self.messages.error(text)
        self.status = status

    def resolve(self, host: str) -> list[str]:
        """Return all addresses of a host as text; none, and an error said, if it has none."""
        try:
            return [ip_text(parse_ip(host))]
        except ValueRefused:
            pass
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            reason = error.strerror if isinstance(error, socket.gaierror) else str(error)
            self.failed(f"gethostname({host}) failed: {reason}", os.EX_TEMPFAIL)
            return []
        addresses = {parse_ip(str(place[0]).partition("%")[0]) for _, _, _, _, place in found}
        return [ip_text(ip) for ip in sorted(addresses, key=ip_key)]

    def ask_per_address(
        self, client: AdminClient, name: bytes, fields: Iterable[tuple[str, Sequence[bytes]]]
    ) -> list[tuple[str, str]]:
        """Send one command for each address, all at once, and return the reply to each."""
        commands = list(fields)
        client.send(*((name, *arguments) for _, arguments in commands))
        replies: list[tuple[str, str]] = []
        try:
            for ip, _ in commands:
                replies.append((ip, text(client.line())))
        except Disconnected as error:
            self.disconnected(error)
        return replies


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def parse_number(digits: str) -> int | None:
    """Return an unsigned 32-bit number, None if the text is none (no sign, no blanks)."""
    if not digits.isascii() or not digits.isdigit():
        return None
    number = int(digits)
    return number if number <= NUMBER_MAX else None


def format_time(seconds: int) -> str:
    """Return Unix seconds as local time, the bare number if no calendar reaches that far."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):
        return str(seconds)


def parse_time(digits: bytes) -> int | None:
    """Return Unix seconds, also negative ones; None if the field is none."""
    is_number = digits.removeprefix(b"-").isdigit()
    return int(digits) if is_number else None
