"""Who is live where: sessions that clients hold open, and what the backends log about them.

Two witnesses that know nothing of the director. A client knows whether its session was closed.
The backends' log tells when each session began and ended on which backend, so that it shows for
every moment of a test whether a user was on two backends at a time.
"""

from __future__ import annotations

import imaplib
import re
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

from tests.interop.backends import Backends
from tests.interop.clients import ImapSession, backends_of, imap_backend
from tests.interop.programs import wait_until
from tests.interop.proxies import DirectorKind, Proxy

LOGIN = re.compile(r"imap-login: Info: Login: user=<(.+?)>,.* lip=(\S+?),.* session=<(.+?)>")
END = re.compile(r"imap\(.+?\)<\d+><(.+?)>: Info: (?:Disconnected|Logged out|Connection closed)")

LOOK_INTERVAL_S = 0.05
LISTED_TIMEOUT_S = 10.0

Held = tuple[str, str]
"""A session that a client holds: the name it logged in with, and the proxy."""


class Timeline:
    """What the backends have logged so far, in their order."""

    def __init__(self, backends: Backends) -> None:
        self.live: dict[str, Counter[str]] = {}
        """How many sessions each user has on each backend now."""
        self.splits: list[str] = []
        """One line for each time that a user logged in while live on another backend."""
        sessions: dict[str, tuple[str, str]] = {}
        ended_early: set[str] = set()
        for line in backends.dovecot.log_text().splitlines():
            if begun := LOGIN.search(line):
                user, ip, session = begun.groups()
                self._begin(user, ip)
                if session in ended_early:
                    self.live[user][ip] -= 1
                sessions[session] = user, ip
            elif ended := END.search(line):
                if ended[1] in sessions:
                    user, ip = sessions[ended[1]]
                    self.live[user][ip] -= 1
                else:
                    # Two processes log begin and end, and of a short session in any order.
                    ended_early.add(ended[1])

    def _begin(self, user: str, ip: str) -> None:
        here = self.live.setdefault(user, Counter())
        if others := [other for other, count in here.items() if count and other != ip]:
            self.splits.append(f"{user} came to {ip} while on {others}")
        here[ip] += 1

    def users_on(self, ip: str) -> set[str]:
        """Return who has a session on this backend now."""
        return {user for user, here in self.live.items() if here[ip]}


class Clients:
    """Sessions over the proxies, held open until the end of the block."""

    def __init__(self, proxies: list[Proxy]) -> None:
        self.proxies = proxies
        self._sessions: dict[Held, ImapSession] = {}

    def open(self, users: Collection[str], proxies: list[Proxy] | None = None) -> set[Held]:
        """Log each user in over each proxy; return what is now held."""
        opened = set()
        for proxy in proxies or self.proxies:
            for user in users:
                held = user, proxy.name
                assert held not in self._sessions, f"{held} is open already"
                self._sessions[held] = ImapSession(proxy.ip, user)
                opened.add(held)
            if proxy.settings.kind is DirectorKind.REAL:
                _wait_listed(proxy, users)
        return opened

    def alive(self) -> set[Held]:
        return {held for held, session in self._sessions.items() if session.is_open()}

    def backends(self) -> dict[str, set[str]]:
        """Return the backends on which each user has sessions now, as the sessions say."""
        found: dict[str, set[str]] = {}
        for (user, _), session in self._sessions.items():
            if session.is_open():
                found.setdefault(user, set()).add(session.backend())
        return found

    def next_logins(self, users: list[str]) -> dict[str, set[str]]:
        """Log all users in over every proxy, once; return the backends that answered.

        Whoever is being moved waits, so afterwards their moves are over.
        """
        found: dict[str, set[str]] = {user: set() for user in users}
        for proxy in self.proxies:
            for user, backend in backends_of(imap_backend, proxy.ip, users).items():
                found[user].add(backend)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for session in self._sessions.values():
            session.close()


def _wait_listed(proxy: Proxy, users: Collection[str]) -> None:
    """Return when the login processes can be told to close the users' sessions.

    They connect to `ipc` a moment after they serve; Dovecot's director kicks once, and hopes.
    """

    def are_listed() -> bool:
        lines = proxy.dovecot.doveadm("proxy", "list").stdout.splitlines()
        return set(users) <= {line.split()[0] for line in lines}

    wait_until(are_listed, LISTED_TIMEOUT_S, "sessions in the list of proxied ones")


class ReturningClients:
    """Each user keeps a session over each proxy, and opens another when that is closed."""

    def __init__(self, proxies: list[Proxy], users: list[str]) -> None:
        self.places: dict[tuple[str, str], str] = {}
        self._proxies = proxies
        self._users = users
        self._is_over = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        with ThreadPoolExecutor(len(self._proxies) * len(self._users)) as pool:
            clients = [
                pool.submit(self._stay, proxy, user)
                for proxy in self._proxies
                for user in self._users
            ]
            try:
                wait_until(lambda: len(self.places) == len(clients), 30.0, "first logins")
                yield
            finally:
                self._is_over.set()
            for client in clients:
                client.result()

    def _stay(self, proxy: Proxy, user: str) -> None:
        while not self._is_over.is_set():
            with suppress(OSError, imaplib.IMAP4.error):  # kicked while logging in: come back
                self._stay_once(proxy, user)

    def _stay_once(self, proxy: Proxy, user: str) -> None:
        with ImapSession(proxy.ip, user) as session:
            self.places[user, proxy.name] = session.backend()
            while session.is_open() and not self._is_over.wait(LOOK_INTERVAL_S):
                pass
