"""One login per protocol, each telling which backend answered.

Every function opens a connection, logs in, asks the session who it is, and closes. The name that
comes back is a backend's address, or whatever the proxy calls itself when the login stayed there.
"""

from __future__ import annotations

import base64
import imaplib
import poplib
import re
import smtplib
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from tests.interop.backends import PROBE_SUBJECT
from tests.interop.loopback import (
    IMAP_PORT,
    LMTP_PORT,
    POP3_PORT,
    SIEVE_PORT,
    SUBMISSION_PORT,
)

PASSWORD = "correct horse"
TIMEOUT_S = 60.0
CLIENTS_COUNT = 8


class ImapSession:
    """An IMAP session that stays open until it is closed."""

    def __init__(self, ip: str, user: str, password: str = PASSWORD) -> None:
        self.user = user
        self._client = imaplib.IMAP4(ip, IMAP_PORT, timeout=TIMEOUT_S)
        try:
            self._client.login(user, password)
        except (OSError, imaplib.IMAP4.error):
            self.close()
            raise

    def backend(self) -> str:
        answer = self._client.capability()[1][0].decode()
        found = re.search(r"XBACKEND[=-](\S+)", answer)
        assert found, f"no XBACKEND in {answer!r}"
        return found[1]

    def is_open(self) -> bool:
        try:
            return self._client.noop()[0] == "OK"
        except (OSError, imaplib.IMAP4.error):
            return False

    def close(self) -> None:
        self._client.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def imap_backend(ip: str, user: str) -> str:
    with ImapSession(ip, user) as session:
        return session.backend()


class Pop3(poplib.POP3):
    """poplib's leaves its socket open when the greeting does not come."""

    def __init__(self, ip: str) -> None:
        try:
            super().__init__(ip, POP3_PORT, timeout=TIMEOUT_S)
        except (OSError, EOFError, poplib.error_proto):
            if hasattr(self, "file"):
                self.close()
            raise


def pop3_backend(ip: str, user: str) -> str:
    client = Pop3(ip)
    try:
        client.user(user)
        client.pass_(PASSWORD)
        lines = client.top(1, 0)[1]
    finally:
        client.close()
    return probe_store([line.decode() for line in lines])


def submission_backend(ip: str, user: str) -> str:
    with smtplib.SMTP(ip, SUBMISSION_PORT, "client.example", TIMEOUT_S) as client:
        client.login(user, PASSWORD)
        return client.ehlo()[1].decode().split("\n")[0]


def sieve_backend(ip: str, user: str) -> str:
    lines = sieve_answer(ip, user, b"CAPABILITY\r\n")
    name = next(line for line in lines if line.startswith(b'"IMPLEMENTATION"'))
    return name.split(b'"')[3].decode()


def sieve_answer(ip: str, user: str, command: bytes) -> list[bytes]:
    """Log in, give one command; return its answer without the closing OK."""
    with (
        socket.create_connection((ip, SIEVE_PORT), TIMEOUT_S) as connection,
        connection.makefile("rb") as reader,
    ):

        def answer(command: bytes) -> list[bytes]:
            connection.sendall(command)
            lines: list[bytes] = []
            while not (line := reader.readline()).startswith((b"OK", b"NO", b"BYE")):
                assert line, f"connection closed after {lines}"
                lines.append(line)
            assert line.startswith(b"OK"), line
            return lines

        answer(b"")
        response = base64.b64encode(f"\0{user}\0{PASSWORD}".encode())
        answer(b'AUTHENTICATE "PLAIN" "' + response + b'"\r\n')
        return answer(command)


def lmtp_deliver(ip: str, users: list[str], text: str) -> dict[str, str]:
    """Deliver one message to all users; return the answer for each who was refused.

    `smtplib.LMTP` is of no use: it reads one answer after the message, LMTP gives one per user.
    """
    with (
        socket.create_connection((ip, LMTP_PORT), TIMEOUT_S) as connection,
        connection.makefile("rb") as reader,
    ):

        def answer() -> str:
            while (line := reader.readline().decode())[3:4] == "-":
                pass
            return line.strip()

        def ask(command: str) -> str:
            connection.sendall(command.encode() + b"\r\n")
            return answer()

        greeting, hello, sender = answer(), ask("LHLO client.example"), ask("MAIL FROM:<s@x.org>")
        assert (greeting[:3], hello[:3], sender[:3]) == ("220", "250", "250")
        answers = {user: ask(f"RCPT TO:<{user}>") for user in users}
        accepted = [user for user, line in answers.items() if line.startswith("250")]
        if accepted:
            assert ask("DATA").startswith("354")
            connection.sendall(f"Subject: {text}\r\n\r\nhello\r\n.\r\n".encode())
            answers |= {user: answer() for user in accepted}
        return {user: line for user, line in answers.items() if not line.startswith("250")}


def probe_store(lines: list[str]) -> str:
    subject = next(line for line in lines if line.lower().startswith(PROBE_SUBJECT.lower()))
    return subject[len(PROBE_SUBJECT) :].strip()


LOGIN_PROTOCOLS: dict[str, Callable[[str, str], str]] = {
    "imap": imap_backend,
    "pop3": pop3_backend,
    "submission": submission_backend,
    "sieve": sieve_backend,
}


def backends_of(login: Callable[[str, str], str], ip: str, users: list[str]) -> dict[str, str]:
    """Log all users in, several at a time; return where each one was sent."""
    with ThreadPoolExecutor(CLIENTS_COUNT) as pool:
        return dict(zip(users, pool.map(lambda user: login(ip, user), users), strict=True))
