"""Which of Dovecot's two ways to close and list sessions is used on this machine.

2.3 has `ipc` and an `anvil` that speaks another protocol; 2.4 has only `anvil`, but after an
upgrade without a reboot a dead `ipc` socket may still lie there. So existence decides nothing:
`ipc` counts if somebody accepts on it, else `anvil` if it greets as 2.4's does. Dovecot may start
after us, and may be upgraded while we run: the answer is looked for at the first kick, and again
after one that failed.

`director_kick` forces one of them, or none; then nothing is probed.
"""

from __future__ import annotations

from pathlib import Path

import trio

from director.kick.anvil import AnvilKicker, Where
from director.kick.anvil_client import anvil_connection
from director.kick.ipc import IpcKicker
from director.kick.listing import UserHash
from director.kick.queue import KickDone, Kicker, KickFailed, KickQueue, KickTarget, PendingKick
from director.settings import KickMethod
from director.streams import connect_unix
from ring import limits


async def detect(base_dir: Path) -> KickMethod:
    """Return IPC or ANVIL, whichever answers.

    Raises:
        KickFailed: neither does; the text says why.
    """
    try:
        with trio.fail_after(limits.ANVIL_REPLY_TIMEOUT_S):
            async with await connect_unix(base_dir / "ipc"):
                return KickMethod.IPC
    except (OSError, trio.TooSlowError) as error:
        ipc_error = error
    try:
        async with anvil_connection(base_dir / "anvil"):
            return KickMethod.ANVIL
    except KickFailed as error:
        raise KickFailed(
            f"neither ipc nor anvil of Dovecot answers in {base_dir}"
            f" ({ipc_error or 'ipc: no answer in time'}; {error})"
        ) from error


def make_kicker(
    method: KickMethod,
    base_dir: Path,
    user_hash: UserHash,
    *,
    where: Where,
    is_classic_hash: bool,
) -> Kicker:
    """Return who performs kicks if `director_kick` is `method`; for `where` see `AnvilKicker`."""
    ipc = IpcKicker(base_dir / "ipc", user_hash, is_classic_hash=is_classic_hash)
    anvil = AnvilKicker(base_dir, user_hash, where)
    match method:
        case KickMethod.IPC:
            return ipc
        case KickMethod.ANVIL:
            return anvil
        case KickMethod.NONE:
            return NoKicker()
        case KickMethod.AUTO:
            return AutoKicker(base_dir, {KickMethod.IPC: ipc, KickMethod.ANVIL: anvil})


class NoKicker:
    """Closes nothing and says that all is well: the operator wants it so."""

    def kick(self, what: KickTarget, done: KickDone) -> None:
        trio.lowlevel.current_trio_token().run_sync_soon(done, None)

    async def run(self) -> None:
        await trio.sleep_forever()


class AutoKicker:
    """Passes kicks on to the kicker of the Dovecot that runs now."""

    def __init__(self, base_dir: Path, kickers: dict[KickMethod, Kicker]) -> None:
        self._base_dir = base_dir
        self._kickers = kickers
        self._queue = KickQueue()
        self._method: KickMethod | None = None

    def kick(self, what: KickTarget, done: KickDone) -> None:
        self._queue.put(what, done)

    async def run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                for kicker in self._kickers.values():
                    nursery.start_soon(kicker.run)
                while True:
                    async with self._queue.take(limits.KICKS_WAITING_MAX) as batch:
                        await self._pass_on(batch)
        finally:
            self._queue.fail_all("the daemon stops")

    async def _pass_on(self, batch: list[PendingKick]) -> None:
        try:
            method = self._method or await detect(self._base_dir)
        except KickFailed as error:
            for pending in batch:
                pending.finish(str(error))
            return
        self._method = method
        for pending in batch:
            self._kickers[method].kick(pending.what, self._watched(pending))
            pending.is_passed_on = True

    def _watched(self, pending: PendingKick) -> KickDone:
        def done(error: str | None, *, was_idle: bool = False) -> None:
            if error is not None:
                self._method = None
            pending.finish(error, was_idle=was_idle)

        return done
