"""Real runtimes with real ring connections in one trio program, for tests."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable, Iterator

import attrs
import trio

from director import log
from director.kick.queue import KickDone, KickTarget
from director.log import Level, Log
from director.peers import Peers
from director.runtime import Performers, Runtime
from ring.address import DirectorAddress, parse_ip
from ring.effects import LookupAnswered, RunFlushProgram
from ring.settings import HostSetting, NodeSettings
from tests.hashing import HASHER

WAIT_S = 10.0
"""No test waits longer than this for anything."""


@attrs.define(eq=False)
class Kicker:
    """Keeps kicks for the test to finish."""

    asked: list[tuple[KickTarget, KickDone]] = attrs.field(factory=list)

    def kick(self, what: KickTarget, done: KickDone) -> None:
        self.asked.append((what, done))

    async def run(self) -> None:
        await trio.sleep_forever()


@attrs.define(eq=False)
class Flushes:
    """Keeps flush programs for the test to finish."""

    asked: list[tuple[RunFlushProgram, Callable[[bool], None]]] = attrs.field(factory=list)
    aborted: list[int] = attrs.field(factory=list)

    def start(self, effect: RunFlushProgram, done: Callable[[bool], None]) -> None:
        self.asked.append((effect, done))

    def abort(self, flush_id: int) -> None:
        self.aborted.append(flush_id)


@attrs.define(eq=False)
class Login:
    """A token: a login that waits for its host."""

    answers: list[LookupAnswered] = attrs.field(factory=list)

    def lookup_answered(self, answer: LookupAnswered) -> None:
        self.answers.append(answer)


@attrs.define(eq=False, kw_only=True)
class Director:
    """One runtime with everything that performs its effects."""

    runtime: Runtime
    peers: Peers
    kicker: Kicker
    flushes: Flushes
    listener: socket.socket
    lines: list[bytes]

    @property
    def address(self) -> DirectorAddress:
        ip, port = self.listener.getsockname()[:2]
        return DirectorAddress(ip=parse_ip(ip), port=port)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.peers.run, [self.listener])
            nursery.start_soon(self.runtime.run_clock)
            self.runtime.attach(
                Performers(links=self.peers, kicker=self.kicker, flushes=self.flushes)
            )

    async def find(self, name: bytes) -> str:
        """Return the host of a user, however long the ring makes it wait."""
        login = Login()
        user_hash = self.runtime.hash_user(name)
        host = self.runtime.lookup(login, user_hash, b"")
        self.runtime.settle()
        if host is not None:
            return str(host.ip)
        await wait_until(lambda: bool(login.answers), f"an answer for {name!r}")
        return str(login.answers[0].ip)


def make_directors(
    count: int,
    *,
    clock: Callable[[], float] = time.monotonic,
    is_ipv6: bool = False,
    **changes: object,
) -> list[Director]:
    """Return directors that know each other, each on a loopback address of its own.

    IPv6 has only one such address: there they differ by their ports.
    """
    listeners = list(itertools.islice(_listeners(is_ipv6=is_ipv6), count))
    addresses = tuple(
        DirectorAddress(ip=parse_ip(s.getsockname()[0]), port=s.getsockname()[1]) for s in listeners
    )
    directors = []
    for listener, own in zip(listeners, addresses, strict=True):
        lines: list[bytes] = []
        settings = NodeSettings(
            own=own if count > 1 else None,
            directors=addresses if count > 1 else (),
            hosts=tuple(HostSetting(ip=parse_ip(f"10.0.0.{n}")) for n in (1, 2, 3)),
        )
        runtime = Runtime(
            attrs.evolve(settings, **changes),
            HASHER,
            Log(log.format_text, Level.DEBUG, write=lines.append),
            proxy_refresh_s=450,
            clock=clock,
        )
        directors.append(
            Director(
                runtime=runtime,
                peers=Peers(runtime, own.ip),
                kicker=Kicker(),
                flushes=Flushes(),
                listener=listener,
                lines=lines,
            )
        )
    return directors


def _listeners(*, is_ipv6: bool) -> Iterator[socket.socket]:
    for number in itertools.count(2):
        if is_ipv6:
            yield socket.create_server(("::1", 0), family=socket.AF_INET6)
        else:
            yield socket.create_server((f"127.0.0.{number}", 0))


async def wait_until(is_true: Callable[[], bool], what: str) -> None:
    """Look again and again until it is true.

    Raises:
        AssertionError: it is not within WAIT_S.
    """
    with trio.move_on_after(WAIT_S):
        while not is_true():  # noqa: ASYNC110  # what is waited for happens in tasks of the product
            await trio.sleep(0.002)
        return
    raise AssertionError(f"waited {WAIT_S:g} s for {what}")
