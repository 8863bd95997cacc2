"""Clients that log in again and again while something happens to the programs they need."""

from __future__ import annotations

import imaplib
import itertools
import poplib
import smtplib
import threading
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

import attrs

from tests.interop24.clients import LOGINS

REFUSALS = (
    OSError,
    EOFError,
    AssertionError,
    imaplib.IMAP4.error,
    poplib.error_proto,
    smtplib.SMTPException,
)
PAUSE_S = 0.05
CLIENTS_COUNT = 4
PROTOCOLS = ("imap", "pop3", "submission", "sieve")


@attrs.frozen(kw_only=True)
class Login:
    """One attempt; `backend` is empty if it failed, and `error` says how."""

    protocol: str
    user: str
    backend: str
    error: str
    started_at: float
    ended_at: float

    def error_has(self, texts: Iterable[str]) -> bool:
        return any(text in self.error for text in texts)


@attrs.define(eq=False)
class Accident:
    """A moment, as narrow as can be told: use it as a context manager around what happens."""

    began_at: float = 0.0
    ended_at: float = 0.0

    def __enter__(self) -> None:
        self.began_at = time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.ended_at = time.monotonic()

    def hit(self, login: Login) -> bool:
        return login.started_at <= self.ended_at and self.began_at <= login.ended_at


class Load:
    """Logs all users in, over some protocols in turns, from the start to the end of the block."""

    def __init__(self, ip: str, users: list[str]) -> None:
        self.logins: list[Login] = []
        self._ip = ip
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(users[n::CLIENTS_COUNT],))
            for n in range(CLIENTS_COUNT)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_logins(self, count: int) -> None:
        """Return when so many more logins have ended."""
        wanted = len(self.logins) + count
        while len(self.logins) < wanted:
            self._stop.wait(PAUSE_S)

    def _work(self, users: list[str]) -> None:
        turns = itertools.cycle((protocol, user) for protocol in PROTOCOLS for user in users)
        while not self._stop.wait(PAUSE_S):
            self.logins.append(attempt(self._ip, *next(turns)))

    # --- what came of it ------------------------------------------------------------------

    def failures(self, accident: Accident | None = None) -> list[Login]:
        """Return the failed logins, but those that were under way in an accident."""
        return [
            login
            for login in self.logins
            if not login.backend and (accident is None or not accident.hit(login))
        ]

    def strays(self, expected: Mapping[str, str]) -> list[Login]:
        """Return the logins that were sent to another backend than expected."""
        return [
            login
            for login in self.logins
            if login.backend and login.backend != expected[login.user]
        ]

    @property
    def longest_s(self) -> float:
        return max(login.ended_at - login.started_at for login in self.logins)


def attempt(ip: str, protocol: str, user: str) -> Login:
    started_at = time.monotonic()
    backend = error = ""
    try:
        backend = LOGINS[protocol](ip, user)
    except REFUSALS as trouble:
        error = repr(trouble)
    return Login(
        protocol=protocol,
        user=user,
        backend=backend,
        error=error,
        started_at=started_at,
        ended_at=time.monotonic(),
    )
