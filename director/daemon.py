"""One process from its first to its last breath: order of start, one nursery, reload, end.

Start, in this order, because each step needs the one before it and nothing later may fail quietly:

1. settings (a mistake there costs nothing: nothing is open yet)
2. who started us: Dovecot's master, systemd, or a person
3. listeners, as root if we are root: inherited ones taken over, others bound
4. root is given up for good
5. the node and its tasks; it is told what the last life knew (`memory.py`)
6. only now bytes from outside are read, and the parent is told that we are ready

SIGHUP reads the configuration again and drops no session. What takes effect at once stands in
`LIVE_SETTINGS`; everything else is named in a log line and waits for the next start. The lists of
directors and backends are among the latter on purpose, as in the original: they say how a ring
begins, and a ring that runs has been told better (`director add`, `director ring add`).

SIGTERM, SIGINT, or the end of Dovecot's master end the process cleanly: the neighbours are told
(QUIT), which spares them the search for a lost director. Logins that wait for a host are answered
before, for at most `limits.LEAVE_S`; the connections of login processes are left to our successor
(`sessions/keeping.py`), also when we are killed.

Any other exception ends the process with a traceback. The supervisor starts it anew and the ring
fills it: a director that runs on after a bug would send users to two backends, and that is worse.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import attrs
import trio

from director import __version__, log, master, privileges
from director.binding import Opened, adopt_listeners, open_listeners
from director.errors import StartupRefused
from director.flush import FlushProgram, FlushRunner
from director.kick.census import Census
from director.kick.choice import make_kicker
from director.kick.live import hosts_of
from director.listeners import Role
from director.local import LocalSockets
from director.log import Level, Log
from director.master import Master
from director.memory import Memory
from director.peers import Peers
from director.pollset import PollSet
from director.runtime import Performers, Runtime
from director.sessions.admin import AdminDesk
from director.sessions.directory import Roster, Surroundings
from director.sessions.events import OpenSessions
from director.sessions.keeping import Keeping
from director.settings import LogFormat, ProxyRefresh, Settings
from director.systemd import Notifier, inherited_listeners
from ring import limits
from ring.hashing import HashKind, UserHasher

EXIT_OPTIMISED = os.EX_SOFTWARE

LIVE_SETTINGS = frozenset({"log_format", "proxy_refresh", "client_limit"})
"""Fields of `Settings` that SIGHUP changes in a running daemon."""

_LOOK_PERIOD_S = 0.02
"""Between two looks whether all waiting logins were answered, at the end."""

Reread = Callable[[], "Settings | str"]


def serve(
    settings: Settings, reread: Reread, environ: Mapping[str, str], *, is_debugging: bool
) -> int:
    """Run the daemon; return the exit status.

    `reread` returns the settings as they are now, or what is wrong with them.
    """
    if not __debug__:
        _complain("the daemon does not run without its assertions: leave out python -O")
        return EXIT_OPTIMISED
    privileges.name_process()
    try:
        parent = master.find_master(environ)
        notifier = Notifier({} if parent is not None else environ)
        privileges.raise_descriptor_limit()
        if parent is not None:
            opened = adopt_listeners(parent.listeners)
        else:
            opened = open_listeners(settings.listeners, inherited_listeners(environ))
        _give_up_root(settings, parent)
    except StartupRefused as error:
        _complain(str(error))
        return os.EX_UNAVAILABLE
    form = Form(is_debugging=is_debugging, is_in_dovecot=parent is not None, environ=environ)
    daemon = Daemon(settings, opened, form, notifier, parent, reread)
    trio.run(daemon.run)
    return os.EX_OK


@attrs.frozen(kw_only=True)
class Form:
    """What decides how log lines look, apart from the settings."""

    is_debugging: bool
    is_in_dovecot: bool
    environ: Mapping[str, str]

    def make_log(self, settings: Settings) -> Log:
        return Log(self.format_line(settings), self.level_min, write=log.write_stderr)

    @property
    def level_min(self) -> Level:
        return Level.DEBUG if self.is_debugging else Level.INFO

    def format_line(self, settings: Settings) -> log.FormatLine:
        if self.is_in_dovecot:
            return log.format_master
        if settings.log_format is LogFormat.JSON:
            return log.format_json
        if log.is_journal(2, self.environ):
            return log.format_journal
        return log.format_text


class Daemon:
    """Everything that lives as long as the process."""

    def __init__(
        self,
        settings: Settings,
        opened: Sequence[Opened],
        form: Form,
        notifier: Notifier,
        parent: Master | None,
        reread: Reread,
    ) -> None:
        self.settings = settings
        self._opened = opened
        self._form = form
        self._notifier = notifier
        self._parent = parent
        self._reread = reread
        self._stop = trio.Event()
        self._stop_reason = ""
        self.log = form.make_log(settings)
        hasher = UserHasher(settings.username_hash, settings.director_hash)
        self.runtime = Runtime(
            settings.node_settings(),
            hasher,
            self.log,
            proxy_refresh_s=proxy_refresh_s(settings, opened),
        )
        self.poll_set = PollSet(self.runtime.settle)
        self._keeping = Keeping(self.poll_set, self.runtime.note)
        surroundings = Surroundings(
            poll_set=self.poll_set,
            keeping=self._keeping,
            directory=self.runtime,
            roster=Roster(settings.client_limit),
            master_user_separator=settings.master_user_separator,
        )
        open_sessions = OpenSessions()
        self.memory = Memory(self.runtime, settings, open_sessions)
        self._census = Census(self.memory.list_live)
        desk = AdminDesk(
            poll_set=self.poll_set,
            office=self.runtime,
            wall=self.runtime.wall,
            count_sessions=self._census.ask,
            user_expire_s=settings.user_expire_s,
        )
        self._roster = surroundings.roster
        self.local = LocalSockets(surroundings, desk, open_sessions, settings)
        self.peers = Peers(self.runtime, settings.own.ip if settings.own else None)
        self.kicker = make_kicker(
            settings.kick,
            settings.base_dir,
            hasher.hash,
            where=lambda user_hash: hosts_of(self.runtime.node, user_hash),
            is_classic_hash=settings.director_hash is HashKind.MD5,
        )
        self.flushes: FlushRunner | None = None
        if settings.flush_socket:
            program = FlushProgram.parse(settings.flush_socket)
            self.flushes = FlushRunner(program, settings.base_dir, self.runtime.log_noted)

    async def run(self) -> None:
        """Live; returns after a clean end."""
        signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        with trio.open_signal_receiver(*signals) as received:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, received)
                self._start_performers(nursery)
                await self.memory.recall()
                _calm_collector()
                self._start_listeners(nursery)
                self._report_ready()
                await self._stop.wait()
                await self._end()
                nursery.cancel_scope.cancel()
        self.runtime.note("daemon_stopped", reason=self._stop_reason)

    def _start_performers(self, nursery: trio.Nursery) -> None:
        self.runtime.attach(Performers(links=self.peers, kicker=self.kicker, flushes=self.flushes))
        nursery.start_soon(self.kicker.run)
        if self.flushes is not None:
            nursery.start_soon(self.flushes.run)
        nursery.start_soon(self._census.run)
        nursery.start_soon(self.runtime.run_clock)
        if self._parent is not None:
            nursery.start_soon(self._watch_master)
        if self._notifier.watchdog_interval_s:
            nursery.start_soon(self._feed_watchdog)

    def _start_listeners(self, nursery: trio.Nursery) -> None:
        ring_sockets: list[socket.socket] = []
        for item in self._opened:
            if item.listener.role is Role.RING:
                ring_sockets.append(item.take_socket())
            else:
                self.local.serve(item)
        self._keeping.start(self.settings.base_dir, self.local.resume)
        nursery.start_soon(self.peers.run, ring_sockets)
        nursery.start_soon(self.poll_set.run)
        nursery.start_soon(self.memory.run)

    def _report_ready(self) -> None:
        own = self.settings.own
        self.runtime.note(
            "daemon_started",
            version=__version__,
            own=own,
            listeners=" ".join(str(item.listener) for item in self._opened),
            hosts=len(self.settings.hosts),
            directors=len(self.settings.directors),
        )
        self._notifier.ready(f"serving {len(self._opened)} listeners")
        if self._parent is not None:
            master.report_status(self._parent)

    async def _end(self) -> None:
        self._notifier.stopping()
        for item in self._opened:
            item.remove()
        self.local.stop_listening()
        await self._leave_connections()
        self._keeping.close()
        self.local.close()
        self.runtime.shut_down()
        await self.peers.wait_ended()
        await self.memory.save()

    async def _leave_connections(self) -> None:
        """Leave what login processes say from now on to our successor, and answer the rest."""
        is_all_answered = trio.Event()

        def look() -> None:
            if self._keeping.leave():
                self.poll_set.call_later(_LOOK_PERIOD_S, look)
            else:
                is_all_answered.set()

        look()
        with trio.move_on_after(limits.LEAVE_S):
            await is_all_answered.wait()

    def _stop_for(self, reason: str) -> None:
        self._stop_reason = self._stop_reason or reason
        self._stop.set()

    # --- what comes from outside ----------------------------------------------------------------

    async def _obey(self, received: AsyncIterator[int]) -> None:
        async for number in received:
            if number == signal.SIGHUP:
                await self._reload()
            else:
                self._stop_for(signal.Signals(number).name)

    async def _watch_master(self) -> None:
        """End when Dovecot's master reloads or dies: its pipe then hangs up."""
        await trio.lowlevel.wait_readable(master.ALIVE_DESCRIPTOR)
        self._stop_for("Dovecot's master reloads or has ended")

    async def _feed_watchdog(self) -> None:
        while True:
            self._notifier.is_alive()
            await trio.sleep(self._notifier.watchdog_interval_s)

    async def _reload(self) -> None:
        self._notifier.reloading()
        # In a thread, because host names are resolved, and logins go on meanwhile.
        fresh = await trio.to_thread.run_sync(self._reread)
        if isinstance(fresh, str):
            self.runtime.note("reload_refused", reason=fresh)
        else:
            self._apply(fresh)
        self._notifier.ready(f"serving {len(self._opened)} listeners")

    def _apply(self, fresh: Settings) -> None:
        changed = {
            field.name
            for field in attrs.fields(Settings)
            if getattr(fresh, field.name) != getattr(self.settings, field.name)
        }
        live = {name: getattr(fresh, name) for name in changed & LIVE_SETTINGS}
        self.settings = attrs.evolve(self.settings, **live)
        self.log.configure(self._form.format_line(self.settings), self._form.level_min)
        self.runtime.proxy_refresh_s = proxy_refresh_s(self.settings, self._opened)
        self._roster.sessions_max = self.settings.client_limit
        self.runtime.note("configuration_reloaded", changed=" ".join(sorted(live)))
        if late := changed - LIVE_SETTINGS:
            self.runtime.note("restart_needed", settings=" ".join(sorted(late)))


def proxy_refresh_s(settings: Settings, opened: Sequence[Opened]) -> int | None:
    """Return how often login processes report a session, None for never.

    The original's figure: half of the time after which the user would be forgotten.
    """
    has_listener = any(item.listener.role is Role.NOTIFY for item in opened)
    match settings.proxy_refresh:
        case ProxyRefresh.NO:
            return None
        case ProxyRefresh.AUTO if not has_listener:
            return None
        case _:
            return settings.user_expire_s // 2


def _give_up_root(settings: Settings, parent: Master | None) -> None:
    if os.geteuid() != 0:
        return
    if parent is None:
        setting = "default_internal_user, or user in service director"
        privileges.become_user(settings.user or settings.default_internal_user, setting)
        return
    wanted = parent.restrictions
    if wanted.user_id is not None and wanted.group_id is not None:
        privileges.become_ids(wanted.user_id, wanted.group_id, wanted.extra_groups)


def _calm_collector() -> None:
    """Keep Python's collector of cycles from stopping all logins for a while.

    A full collection looks at every object: 45 ms with 5,000 sessions. What is there at the start
    stays, so it is exempted; closed sessions leave no cycles (a test says so), so a full collection
    is due only after 7 million objects more were made than freed, which no limit lets happen.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(700, 10, 1000)


def _complain(message: str) -> None:
    print(f"director: Fatal: {message}", file=sys.stderr)
