"""Kicks on Dovecot 2.4: through `anvil`, then through the login processes, until nothing is left.

dovecot-2.4-plug.md section 4, dovecot-2.4-lab.md section 5. There anvil reports success and does
nothing for login processes with one client each (the default up to 2.4.4), its counts mean nothing,
`except-ip` is the client's address, and it does not know sessions still logging in to their
backend. So the list of sessions is the truth, and work goes in rounds that all open kicks share:

1. list all sessions; find, for each kick, those that should end;
2. nothing left: the kick is done. New: tell anvil. Still there 0.1 s later: tell each login
   process over its own socket, by guid, which works in both modes and hits nobody else;
3. wait a little, longer every time, at least twice as long as the list took.

A kick that has not ended everything in KICK_TIMEOUT_S fails and says what was in the way.

Which sessions: those of the first list. A client that has logged in again since is welcome, except
under a kicked hash on a host where the node does not want it (`where`): that login was on its way
to its backend when the kick came. Such logins become visible only when the backend lets them in,
so after each hash kick the list is looked at again for WATCH_S, which is Dovecot's `proxy_timeout`,
and sessions of ours that went astray are ended. Looks are made on whole seconds, so that those of
many kicks share a list.

anvil's KICK-USER would also end sessions that are not proxied; if the list shows such a session
under the name, only login processes are told.

Known gap: after a crash of anvil its list is empty while sessions live on. Nothing on 2.4 names the
users of those sessions. Rejected: SIGTERM to login processes with one session (needs root as their
sockets do, and kills the wrong one if a process id is used again).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import TypeAlias, TypeVar

import attrs
import trio

from director.kick.anvil_client import AnvilClient, anvil_connection, end_session
from director.kick.listing import (
    DESTINATION_FIELD,
    HASH_FIELD,
    LiveSession,
    UserHash,
    destination,
    local_user,
    parse_anvil_row,
)
from director.kick.queue import KickDone, KickFailed, KickQueue, KickTarget, PendingKick
from ring import limits
from ring.address import IpAddress, ip_key
from ring.effects import KickField, KickHash, KickName

K = TypeVar("K", bound=Hashable)
Where: TypeAlias = Callable[[int], frozenset[IpAddress]]

WATCH_S = 30.0
_WATCH_TIMES_S = (1.0, 3.0, 7.0, 15.0, WATCH_S)
_FIRST_WAIT_S, _WAIT_MAX_S = 0.1, 1.0


class AnvilKicker:
    """`base_dir` is Dovecot's, where `anvil` and `srv.*-login` are.

    `where` gives the hosts that the users of a hash belong to now, one for each tag at most.
    """

    def __init__(self, base_dir: Path, user_hash: UserHash, where: Where) -> None:
        self._base_dir = base_dir
        self._user_hash = user_hash
        self._where = where
        self._queue = KickQueue()
        self._open: list[_OpenKick] = []
        self._watches: dict[int, _Watch] = {}
        self._rest_until = -math.inf

    def kick(self, what: KickTarget, done: KickDone) -> None:
        self._queue.put(what, done)

    async def run(self) -> None:
        try:
            while True:
                await self._gather()
                await self._round()
        finally:
            for kick in self._open:
                kick.finish("the daemon stops")
            self._queue.fail_all("the daemon stops")

    async def _gather(self) -> None:
        """Wait until something is due, and take what is new."""
        await trio.sleep_until(self._rest_until)
        batch = self._queue.receive_nowait(limits.ANVIL_ROUND_KICKS_MAX)
        if not batch:
            looks: list[_OpenKick | _Watch] = [*self._open, *self._watches.values()]
            with trio.move_on_at(min((look.look_at for look in looks), default=math.inf)):
                batch = await self._queue.receive(limits.ANVIL_ROUND_KICKS_MAX)
        for pending in batch:
            if isinstance(pending.what, KickHash):
                self._watches.pop(pending.what.user_hash, None)
            self._open.append(_OpenKick(pending.what, pending, pending.deadline))
        now = trio.current_time()
        for user_hash, watch in list(self._watches.items()):
            if watch.look_at <= now:
                self._open.append(_OpenKick(watch.what, None, now + limits.KICK_TIMEOUT_S))
                if not watch.advance():
                    del self._watches[user_hash]

    async def _round(self) -> None:
        started_at = trio.current_time()
        due = [kick for kick in self._open if kick.look_at <= started_at]
        try:
            async with anvil_connection(self._base_dir / "anvil") as anvil:
                await self._list(anvil, due)
                self._rest_until = trio.current_time() + 2 * (trio.current_time() - started_at)
                await self._tell_anvil(
                    anvil, [kick for kick in due if kick.is_new and kick.sessions]
                )
        except KickFailed as error:
            for kick in due:
                kick.finish(str(error))
        await self._tell_processes([kick for kick in due if not kick.is_new])
        now = trio.current_time()
        for kick in due:
            kick.settle(now)
            if kick.is_finished and not kick.is_watch and isinstance(kick.what, KickHash):
                self._watches[kick.what.user_hash] = _Watch(kick.what, now)
        self._open = [kick for kick in self._open if not kick.is_finished]

    async def _list(self, anvil: AnvilClient, due: list[_OpenKick]) -> None:
        """Give each kick the sessions it should still end."""
        by_hash = _index((k.what.user_hash, k) for k in due if isinstance(k.what, KickHash))
        by_name = _index((k.what.user, k) for k in due if isinstance(k.what, KickName))
        by_field = [(k.what.value, k) for k in due if isinstance(k.what, KickField)]
        found: dict[_OpenKick, list[LiveSession]] = {kick: [] for kick in due}

        def sort(rows: list[bytes]) -> None:
            for row in rows:
                session = parse_anvil_row(row, self._user_hash)
                if session is None:
                    for kick in by_name.get(local_user(row), ()):
                        kick.has_local = True
                    continue
                for kick in by_hash.get(session.user_hash, ()):
                    if session.ip != kick.except_ip:
                        found[kick].append(session)
                for kick in by_name.get(session.user, ()):
                    found[kick].append(session)
                for value, kick in by_field:
                    if value in session.alternatives:
                        found[kick].append(session)

        header = await anvil.dump(sort)
        for kick, sessions in found.items():
            match kick.what:
                case KickHash(user_hash=user_hash):
                    kick.hash_listed(sessions, self._where(user_hash))
                case KickField(field=field, value=value):
                    pair = field, value
                    kick.listed([s for s in sessions if pair in _fields(header, s)])
                case KickName():
                    kick.listed(sessions)

    async def _tell_anvil(self, anvil: AnvilClient, kicks: list[_OpenKick]) -> None:
        for kick in kicks:
            for words in kick.anvil_commands():
                try:
                    await anvil.kick(*words)
                except (KickFailed, OSError, trio.BrokenResourceError) as error:
                    kick.error = str(error)
                    return  # the login processes are told next, also of the other kicks

    async def _tell_processes(self, kicks: list[_OpenKick]) -> None:
        limiter = trio.CapacityLimiter(limits.ADMIN_SOCKETS_MAX)

        async def tell(kick: _OpenKick, session: LiveSession) -> None:
            async with limiter:
                try:
                    await end_session(self._base_dir, session)
                except KickFailed as error:
                    kick.error = str(error)

        async with trio.open_nursery() as nursery:
            for kick in kicks:
                for session in kick.sessions:
                    nursery.start_soon(tell, kick, session)


@attrs.define(eq=False)
class _OpenKick:
    """A kick that may have sessions left; `pending` is None if nobody waits for its end."""

    what: KickTarget
    pending: PendingKick | None
    deadline: float
    sessions: list[LiveSession] = attrs.field(factory=list)
    guids: frozenset[bytes] | None = None
    has_local: bool = False
    rounds_count: int = 0
    look_at: float = -math.inf
    error: str = ""
    is_finished: bool = False

    @property
    def is_new(self) -> bool:
        return self.rounds_count == 0

    @property
    def except_ip(self) -> IpAddress | None:
        return self.what.except_ip if isinstance(self.what, KickHash) else None

    @property
    def is_watch(self) -> bool:
        return self.pending is None

    def listed(self, sessions: list[LiveSession]) -> None:
        """Take what a list showed."""
        if self.guids is None:
            self.guids = frozenset(session.guid for session in sessions)
        self.sessions = [session for session in sessions if session.guid in self.guids]

    def hash_listed(self, sessions: list[LiveSession], hosts: frozenset[IpAddress]) -> None:
        """Take what a list showed, while the users of the hash belong to `hosts`."""
        if self.is_watch:
            is_known = bool(hosts)  # a user whom nobody knows any more may be anywhere
            self.sessions = [s for s in sessions if is_known and s.is_ours and s.ip not in hosts]
            return
        if self.guids is None:
            self.guids = frozenset(session.guid for session in sessions)
        self.sessions = [s for s in sessions if s.guid in self.guids or s.ip not in hosts]

    def anvil_commands(self) -> list[tuple[bytes, ...]]:
        """Return what ends the listed sessions if anvil does what it says."""
        match self.what:
            case KickName(user):
                return [] if self.has_local else [(b"KICK-USER", user)]
            case KickField(field=field, value=value):
                return [(b"KICK-ALT-USER", field, value)]
            case KickHash(user_hash=user_hash, except_ip=None) if not self.is_watch:
                return [(b"KICK-ALT-USER", HASH_FIELD, b"%d" % user_hash)]
            case KickHash(user_hash=user_hash):
                ips = {session.ip for session in self.sessions if session.is_ours}
                return [
                    (b"KICK-ALT-USER", DESTINATION_FIELD, destination(user_hash, ip))
                    for ip in sorted(ips, key=ip_key)
                ]

    def settle(self, now: float) -> None:
        """Finish if nothing is left or time is up, else say when to look again."""
        if self.is_finished:
            return
        if not self.sessions:
            self.finish(None, was_idle=not self.guids)
        elif now >= self.deadline:
            reason = self.error or "Dovecot reported no error"
            self.finish(f"{len(self.sessions)} sessions did not end: {reason}")
        else:
            self.look_at = now + min(_FIRST_WAIT_S * 2**self.rounds_count, _WAIT_MAX_S)
            self.rounds_count += 1

    def finish(self, error: str | None, *, was_idle: bool = False) -> None:
        self.is_finished = True
        self.sessions = []
        if self.pending is not None and not self.pending.is_finished:
            self.pending.finish(error, was_idle=was_idle)


@attrs.define
class _Watch:
    """Look again for sessions that were on their way when the kick ended at `since`."""

    what: KickHash
    since: float
    looks_count: int = 0

    @property
    def look_at(self) -> float:
        return math.ceil(self.since + _WATCH_TIMES_S[self.looks_count])

    def advance(self) -> bool:
        """Whether there is another look after this one."""
        self.looks_count += 1
        return self.looks_count < len(_WATCH_TIMES_S)


def _fields(header: tuple[bytes, ...], session: LiveSession) -> Iterable[tuple[bytes, bytes]]:
    return zip(header, session.alternatives, strict=False)


def _index(pairs: Iterable[tuple[K, _OpenKick]]) -> dict[K, list[_OpenKick]]:
    index: dict[K, list[_OpenKick]] = {}
    for key, kick in pairs:
        index.setdefault(key, []).append(kick)
    return index
