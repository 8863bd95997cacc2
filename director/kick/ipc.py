"""Kicks through the `ipc` service of Dovecot 2.3 (ipc-kick.md sections 1 to 3).

`ipc` relays one command at a time per connection to every login process that proxies something, and
answers with the line of whichever process answered last, so its counts mean nothing. Asked from
2.3.19.1: a login process that hangs keeps the answer back for ever, but all others have obeyed at
once, and the hanging one obeys when it wakes up. So a missing answer is given up soon, reported,
and the next command goes over a new connection; while a process is known to hang, sooner still.
Sessions that are still connecting to their backend are kicked and listed like all others.

Which commands end exactly the sessions of a hash H (`user_*` fields: see `listing.py`):

- `KICK-ALT user_dirhash H` ends those that we set up, also where `destuser=` differs from `user=`.
- `KICK-DIRECTOR-HASH H` ends those whose `user=` hashes to H. It is needed for sessions that a real
  director set up here before us, and it is wrong for a session of ours whose `user=` happens to
  be another user's `destuser=`. Such hashes are remembered from every list of sessions; for them,
  and only for them, a new list decides whether the command is needed. A collision younger than the
  last list costs one session too many, never one too few.
- Except on host X: `KICK-ALT user_dirdest H@Y ...` for every other host Y that a list shows now,
  and `KICK-DIRECTOR-HASH H X` under the same condition.

A list that is older than a second is renewed before sessions of a hash are kicked, because it also
tells who has none: such a user need not be held while backends close sessions.

With another ring hash than Dovecot's, `KICK-DIRECTOR-HASH` would compare apples with pears and is
never sent.

Rejected: KICK-HOST (ends other users' sessions too), one list per kick (a flush moves a thousand
users a second, a list of 20,000 sessions is 1.5 MB), and the original's way, KICK-DIRECTOR-HASH
alone (kicks nothing where destuser differs, capture 09).
"""

from __future__ import annotations

from pathlib import Path

import attrs
import trio

from director.kick.ipc_client import IpcClient, Patience, list_sessions
from director.kick.listing import (
    DESTINATION_FIELD,
    HASH_FIELD,
    LiveSession,
    UserHash,
    destination,
)
from director.kick.queue import KickDone, KickFailed, KickQueue, KickTarget, PendingKick
from ring import limits
from ring.address import ip_key
from ring.effects import KickField, KickHash, KickName

_LIST_AGE_S_MAX = 1.0


class IpcKicker:
    """Performs kicks over a few connections, opened at the first kick and kept."""

    def __init__(self, path: Path, user_hash: UserHash, *, is_classic_hash: bool) -> None:
        self._path = path
        self._user_hash = user_hash
        self._is_classic_hash = is_classic_hash
        self._queue = KickQueue()
        self._patience = Patience()
        self._risky_hashes: set[int] = set()
        self._live_hashes: set[int] | None = None
        """Who has sessions, None as long as nobody could tell."""
        self._listing = trio.Lock()
        self._listed_at = float("-inf")

    def kick(self, what: KickTarget, done: KickDone) -> None:
        self._queue.put(what, done)

    async def run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(limits.IPC_CONNECTIONS_MAX):
                    nursery.start_soon(self._work)
        finally:
            self._queue.fail_all("the daemon stops")

    async def _work(self) -> None:
        client = IpcClient(self._path, self._patience)
        try:
            while True:
                async with self._queue.take(limits.IPC_BATCH_KICKS_MAX) as batch:
                    await self._perform(client, batch)
        finally:
            client.close()

    async def _perform(self, client: IpcClient, batch: list[PendingKick]) -> None:
        kicks = [pending.what for pending in batch if isinstance(pending.what, KickHash)]
        listed = None
        async with self._listing:  # so that one list serves all connections
            if self._is_list_needed(kicks):
                listed = await self._list(client, kicks)
            live = self._live_hashes
        for pending in batch:
            error = None
            was_idle = isinstance(pending.what, KickHash) and not (
                live is None or pending.what.user_hash in live
            )
            for words in self._commands(pending.what, listed):
                try:
                    await client.ask(words)
                except KickFailed as failure:
                    error = error or str(failure)
            pending.finish(error, was_idle=was_idle and error is None)

    def _is_list_needed(self, kicks: list[KickHash]) -> bool:
        if not kicks:
            return False
        if trio.current_time() - self._listed_at > _LIST_AGE_S_MAX:
            return True
        return any(k.except_ip is not None or k.user_hash in self._risky_hashes for k in kicks)

    async def _list(self, client: IpcClient, kicks: list[KickHash]) -> _Listed:
        """Return the sessions of the hashes in question, and learn which hashes are risky."""
        listed = _Listed({kick.user_hash: [] for kick in kicks})
        risky: set[int] = set()
        live: set[int] = set()
        started_at = trio.current_time()

        def keep(session: LiveSession) -> None:
            live.add(session.user_hash)
            if session.user_hash in listed.sessions:
                listed.sessions[session.user_hash].append(session)
            if session.is_ours and self._user_hash(session.user) != session.user_hash:
                risky.add(self._user_hash(session.user))

        try:
            await list_sessions(client, self._user_hash, keep)
        except KickFailed:
            listed.is_complete = False  # the kick itself will meet the same trouble and report it
            self._live_hashes = None
        else:
            self._risky_hashes = risky
            self._live_hashes = live
            self._listed_at = started_at
        return listed

    def _commands(self, what: KickTarget, listed: _Listed | None) -> list[tuple[bytes, ...]]:
        match what:
            case KickName(user):
                return [(b"KICK", user)]
            case KickField(field=field, value=value):
                return [(b"KICK-ALT", field, value)]
            case KickHash():
                return self._hash_commands(what, listed)

    def _hash_commands(self, what: KickHash, listed: _Listed | None) -> list[tuple[bytes, ...]]:
        number = b"%d" % what.user_hash
        sessions = listed.sessions[what.user_hash] if listed is not None else []
        is_by_name_needed = self._is_classic_hash
        if listed is not None and listed.is_complete and what.user_hash in self._risky_hashes:
            is_by_name_needed &= any(
                not session.is_ours and session.ip != what.except_ip for session in sessions
            )
        commands: list[tuple[bytes, ...]] = []
        if what.except_ip is None:
            commands.append((b"KICK-ALT", HASH_FIELD, number))
            by_name: tuple[bytes, ...] = (b"KICK-DIRECTOR-HASH", number)
        else:
            ips = {s.ip for s in sessions if s.is_ours} - {what.except_ip}
            values = [destination(what.user_hash, ip) for ip in sorted(ips, key=ip_key)]
            for start in range(0, len(values), limits.IPC_VALUES_MAX):
                chunk = values[start : start + limits.IPC_VALUES_MAX]
                commands.append((b"KICK-ALT", DESTINATION_FIELD, *chunk))
            by_name = (b"KICK-DIRECTOR-HASH", number, str(what.except_ip).encode("ascii"))
        if is_by_name_needed:
            commands.append(by_name)
        return commands


@attrs.define
class _Listed:
    """Sessions by user hash; not `is_complete` if a login process did not answer."""

    sessions: dict[int, list[LiveSession]]
    is_complete: bool = True
