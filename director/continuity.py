"""Restart without amnesia: what a daemon knows again before it answers the first login.

A lone director that forgot its users would send those who are logged in to other backends. So at
the start, in this order:

1. host states from the snapshot, if there is one and we are alone: in a ring the neighbours know
   better, and what a stale file says would be announced as news;
2. the sessions that are live now, from the login processes of this machine: never stale, and all
   that is left after a crash;
3. users from the snapshot, for those who come back soon.

The order decides: the node leaves alone whom it knows on another host already. A ring that is
joined later decides by timestamps, as among neighbours. While we live, the snapshot is written
every so often, and where login processes have no FIFO to report sessions, they are asked instead.
At the end the snapshot is written once more.

The daemon serves local sockets only after `begin`. It takes as long as Dovecot needs for one list,
at most BEGIN_TIMEOUT_S; without it users are placed by their hash alone, so nothing here fails
silently: each step is one note.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import attrs
import trio

from director.kick.listing import LiveSession
from director.kick.live import live_sessions, poll_live_users, restore_live_users
from director.kick.queue import KickFailed
from director.runtime import Runtime
from director.settings import KickMethod, Settings
from director.store.format import Snapshot
from director.store.hold import Hold
from director.store.snapshot import SnapshotFile, host_commands, restore_users
from ring.commands import Answer, Command
from ring.effects import Noted

HOLD_TIMEOUT_S = 5.0
"""For our predecessor to write its last snapshot and go."""

BEGIN_TIMEOUT_S = 15.0
"""For the list of live sessions; the login processes that hang are then left out."""

END_TIMEOUT_S = 10.0
"""For the last snapshot. A million users take well below a second."""

_POLL_S_MAX = 60.0


@attrs.frozen(kw_only=True)
class ContinuitySettings:
    """`poll_s`: how often live users are refreshed from lists, None if they are reported."""

    base_dir: Path
    kick: KickMethod
    snapshot_path: Path | None
    snapshot_interval_s: float
    user_expire_s: int
    hash_name: str
    is_alone: bool
    poll_s: float | None

    @classmethod
    def of(cls, settings: Settings, *, is_reported: bool) -> ContinuitySettings:
        """`is_reported`: login processes write their sessions to our FIFO."""
        poll_s = min(_POLL_S_MAX, settings.user_expire_s / 3)
        return cls(
            base_dir=settings.base_dir,
            kick=settings.kick,
            snapshot_path=settings.snapshot_path,
            snapshot_interval_s=settings.snapshot_interval_s,
            user_expire_s=settings.user_expire_s,
            hash_name=f"{settings.director_hash.value} {settings.username_hash.text}",
            is_alone=len(settings.directors) <= 1,
            poll_s=None if is_reported or settings.kick is KickMethod.NONE else poll_s,
        )


class Continuity:
    """Call `begin` before serving, have `run` running, and call `end` last."""

    def __init__(
        self,
        settings: ContinuitySettings,
        runtime: Runtime,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._clock = clock
        self._wall = wall
        self._file: SnapshotFile | None = None
        self._hold: Hold | None = None
        path = settings.snapshot_path
        if path is not None:
            self._file = SnapshotFile(path, settings.hash_name, self._note)
            self._hold = Hold(path.with_name(f"{path.name}.lock"))

    async def begin(self) -> None:
        """Tell the node what was and what is."""
        snapshot = await self._load_snapshot()
        commands: list[Command] = []
        if snapshot is not None and self._settings.is_alone:
            commands = host_commands(snapshot, self._runtime.node.hosts)
        for command in commands:
            self._runtime.command(_NOBODY, command)
        self._runtime.settle()
        if self._settings.kick is not KickMethod.NONE:
            await self._restore_live()
        if snapshot is not None:
            self._runtime.note(
                "snapshot_restored",
                users=await restore_users(self._runtime.node, snapshot, self._clock),
                host_changes=len(commands),
                age_s=int(self._wall()) - snapshot.written_at,
            )
        self._runtime.settle()

    async def run(self) -> None:
        """Write and ask every so often; ends only by cancellation."""
        async with trio.open_nursery() as nursery:
            if self._settings.snapshot_interval_s:
                nursery.start_soon(self._write_every, self._settings.snapshot_interval_s)
            if self._settings.poll_s is not None:
                nursery.start_soon(
                    poll_live_users,
                    self._list_live,
                    self._refresh,
                    self._note,
                    self._settings.poll_s,
                )
            await trio.sleep_forever()

    async def end(self) -> None:
        """Write the last snapshot, even while everything else is being cancelled."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + END_TIMEOUT_S) as scope:
            await self._write()
        if scope.cancelled_caught:
            self._runtime.note("snapshot_write_failed", reason=f"not done in {END_TIMEOUT_S:g} s")
        if self._hold is not None:
            self._hold.release()

    async def _load_snapshot(self) -> Snapshot | None:
        """Return what our predecessor left, once it is gone."""
        if self._file is None or self._hold is None:
            return None
        try:
            if not await self._hold.take(HOLD_TIMEOUT_S):
                self._runtime.note("snapshot_hold_failed", reason="another process keeps it")
        except OSError as error:
            self._runtime.note("snapshot_hold_failed", reason=str(error))
        return await self._file.load(int(self._wall()), self._settings.user_expire_s)

    async def _restore_live(self) -> None:
        sessions: list[LiveSession] = []
        reason = f"not done in {BEGIN_TIMEOUT_S:g} s"
        with trio.move_on_after(BEGIN_TIMEOUT_S) as scope:
            try:
                sessions = await self._list_live()
            except KickFailed as error:
                reason = str(error)
            else:
                reason = ""
        if scope.cancelled_caught or reason:
            self._runtime.note("live_session_list_failed", reason=reason)
            return
        node, wall = self._runtime.node, int(self._wall())
        news_count, split_count = await restore_live_users(
            node, sessions, clock=self._clock, wall=wall
        )
        self._runtime.note(
            "live_sessions_restored",
            sessions=len(sessions),
            users=news_count,
            split_users=split_count,
        )

    async def _list_live(self) -> list[LiveSession]:
        settings = self._settings
        return await live_sessions(settings.base_dir, settings.kick, self._runtime.hash_user)

    def _refresh(self, hashes: list[int]) -> None:
        for user_hash in hashes:
            self._runtime.refresh(user_hash)
        self._runtime.settle()

    async def _write_every(self, interval_s: float) -> None:
        while True:
            await trio.sleep(interval_s)
            await self._write()

    async def _write(self) -> None:
        if self._file is not None and self._hold is not None and self._hold.is_held:
            await self._file.write(self._runtime.node, int(self._wall()))
        else:
            await trio.lowlevel.checkpoint()

    def _note(self, noted: Noted) -> None:
        self._runtime.log.note(noted.kind, noted.fields)


class _Nobody:
    """Does not wait for the answer: the node notes what its commands change."""

    def command_answered(self, answer: Answer) -> None:
        pass


_NOBODY = _Nobody()
