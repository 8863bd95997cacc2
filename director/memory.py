"""What a restart of the daemon must not forget: who is where, and which hosts are down.

Three sources, each with its own truth: the login processes know who is live on this machine now,
the snapshot file knows everybody as of its last write, the ring knows everything if there is one.
Before the first login is answered the first two are asked, in this order: host states, live
sessions (for at most `limits.RECALL_S`), users of the file. The order decides, because
`restore_users` leaves alone whom the node knows on another host already. The ring decides by
timestamps later.

Host states are taken from the snapshot only by a director without a ring; neighbours know better.

A reload of Dovecot's master starts our successor before it ends us, so each waits for the hold
that its predecessor has on the file (`store/hold.py`). Who does not get it never writes.

Live sessions are also asked for regularly if login processes are not told to report them on a FIFO
(`proxy_refresh_s` is None): else a user would be forgotten while a session is open. If Dovecot may
not or cannot be asked, what its event exporter has told takes the place of its answer.
"""

from __future__ import annotations

from pathlib import Path

import trio

from director.kick.listing import LiveSession
from director.kick.live import live_sessions, poll_live_users, restore_live_users
from director.kick.queue import KickFailed
from director.listeners import Role
from director.runtime import Runtime
from director.sessions.events import OpenSessions
from director.settings import KickMethod, Settings
from director.store.format import Snapshot
from director.store.hold import Hold
from director.store.snapshot import SnapshotFile, host_commands, restore_users
from ring import limits
from ring.commands import Answer


class Memory:
    """See the module's docstring."""

    def __init__(self, runtime: Runtime, settings: Settings, open_sessions: OpenSessions) -> None:
        """`open_sessions` is what events tell, for when Dovecot itself does not."""
        self._runtime = runtime
        self._open_sessions = open_sessions
        self._has_events = any(item.role is Role.EVENTS for item in settings.listeners)
        self._base_dir: Path = settings.base_dir
        self._kick: KickMethod = settings.kick
        self._expire_s = settings.user_expire_s
        self._interval_s = settings.snapshot_interval_s
        self._is_alone = settings.own is None
        self._file: SnapshotFile | None = None
        if settings.snapshot_path is not None:
            lock = settings.snapshot_path.with_name(f"{settings.snapshot_path.name}.lock")
            self._hold = Hold(lock)
            hash_name = f"{settings.director_hash.value} {settings.username_hash.text}"
            self._file = SnapshotFile(settings.snapshot_path, hash_name, runtime.log_noted)

    async def recall(self) -> None:
        """Tell the node what is known; bounded in time, and never an error."""
        snapshot = await self._load_snapshot()
        if snapshot is not None and self._is_alone:
            self._recall_hosts(snapshot)
        if self._kick is not KickMethod.NONE:
            with trio.move_on_after(limits.RECALL_S) as scope:
                await self._recall_live_users()
            if scope.cancelled_caught:
                self._runtime.note("recall_aborted", after_s=limits.RECALL_S)
        if snapshot is not None:
            await self._recall_users(snapshot)
        self._runtime.settle()

    async def list_live(self) -> list[LiveSession]:
        """Return the proxied sessions of this machine.

        Raises:
            KickFailed: nobody told, or nobody may be asked.
        """
        try:
            if self._kick is KickMethod.NONE:
                raise KickFailed("director_kick = none: Dovecot is not asked for its sessions")
            return await live_sessions(self._base_dir, self._kick, self._runtime.hash_user)
        except KickFailed:
            if not self._open_sessions.is_told:
                raise
            return self._open_sessions.sessions()

    async def run(self) -> None:
        """Keep what is known fresh; ends only by cancellation."""
        async with trio.open_nursery() as nursery:
            if self._file is not None and self._interval_s:
                nursery.start_soon(self._save_regularly)
            can_know = self._kick is not KickMethod.NONE or self._has_events
            if self._runtime.proxy_refresh_s is None and can_know:
                interval_s = min(limits.LIVE_POLL_S_MAX, self._expire_s / 4)
                nursery.start_soon(
                    poll_live_users,
                    self.list_live,
                    self._refresh,
                    self._runtime.log_noted,
                    interval_s,
                )

    async def save(self) -> None:
        """Write the snapshot at the end of life, if that is wanted, and let go of the file."""
        if self._file is None:
            return
        with trio.move_on_after(limits.SAVE_S) as scope:
            await self._write(self._file)
        if scope.cancelled_caught:
            self._runtime.note("snapshot_write_failed", reason=f"took over {limits.SAVE_S:g} s")
        self._hold.release()

    async def _save_regularly(self) -> None:
        assert self._file is not None
        while True:
            await trio.sleep(self._interval_s)
            await self._write(self._file)

    async def _write(self, file: SnapshotFile) -> None:
        if self._hold.is_held:
            await file.write(self._runtime.node, int(self._runtime.wall()))
        else:
            await trio.lowlevel.checkpoint()

    async def _load_snapshot(self) -> Snapshot | None:
        """Return what our predecessor left, once it is gone."""
        if self._file is None:
            return None
        try:
            if not await self._hold.take(limits.SNAPSHOT_HOLD_S):
                self._runtime.note("snapshot_hold_failed", reason="another process keeps it")
        except OSError as error:
            self._runtime.note("snapshot_hold_failed", reason=str(error))
        return await self._file.load(int(self._runtime.wall()), self._expire_s)

    def _recall_hosts(self, snapshot: Snapshot) -> None:
        runtime = self._runtime
        for command in host_commands(snapshot, runtime.node.hosts):
            runtime.command(_Nobody(), command)
        runtime.settle()

    async def _recall_users(self, snapshot: Snapshot) -> None:
        runtime = self._runtime
        count = await restore_users(runtime.node, snapshot, runtime.now)
        age_s = int(runtime.wall()) - snapshot.written_at
        runtime.note("snapshot_recalled", users=count, age_s=age_s)

    async def _recall_live_users(self) -> None:
        runtime = self._runtime
        try:
            sessions = await self.list_live()
        except KickFailed as error:
            # Dovecot may well start after us; then nobody is live yet.
            runtime.note("live_session_list_failed", reason=str(error))
            return
        news_count, split_count = await restore_live_users(
            runtime.node, sessions, clock=runtime.now, wall=int(runtime.wall())
        )
        runtime.note(
            "live_users_recalled", sessions=len(sessions), users=news_count, split=split_count
        )

    def _refresh(self, hashes: list[int]) -> None:
        for user_hash in hashes:
            self._runtime.refresh(user_hash)
        self._runtime.settle()


class _Nobody:
    """Waits for no answer."""

    def command_answered(self, answer: Answer) -> None:
        pass
