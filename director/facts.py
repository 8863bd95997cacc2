"""What `director doctor` knows about this machine: Dovecot's settings, and what is really there.

Collects, judges nothing (`doctor.py` does). Dovecot's settings come from `doveconf`, asked for
what the running instance was started with (base_dir/dovecot.conf leads there). 2.4 must be asked
more than once: built-in services and the default base_dir are shown only when named, and
`login_socket_path` has been hidden since 2.4.2, but is told when asked for.
"""

from __future__ import annotations

import enum
import errno
import grp
import os
import pwd
import re
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, TypeAlias

import attrs

from director.config import Config, ConfigError, Section, parse_text
from director.definitions import VARIABLES
from ring.address import IpAddress

DOVECONF_TIMEOUT_S = 10.0
REACH_TIMEOUT_S = 3.0
LEAVE_TIMEOUT_S = 0.2
SERVICES = (
    "imap-login",
    "pop3-login",
    "submission-login",
    "managesieve-login",
    "anvil",
    "director",
)
SESSION_END = "proxy_session_finished"
LOGIN_PROTOCOLS = ("imap", "pop3", "submission", "sieve")

RunDoveconf: TypeAlias = Callable[..., str]
"""Called with doveconf's arguments; returns what it prints, or raises DoveconfFailed."""


class DoveconfFailed(Exception):
    """doveconf is not there or refuses Dovecot's configuration; the text says why."""


class Level(enum.Enum):
    FINE = "ok"
    NOTE = "note"
    WRONG = "WRONG"


@attrs.frozen
class Finding:
    """One line of the doctor's report; `fix` is empty unless it is WRONG."""

    level: Level
    text: str
    fix: str


class EntryKind(enum.Enum):
    SOCKET = "socket"
    FIFO = "FIFO"
    DIRECTORY = "directory"
    OTHER = "other"


@attrs.frozen(kw_only=True)
class Entry:
    """What stands at a path; `ids` are of its owner and its group."""

    kind: EntryKind
    mode: int
    ids: tuple[int, int]


@attrs.frozen(kw_only=True)
class Account:
    name: str
    user_id: int
    group_id: int
    group_name: str
    group_ids: frozenset[int]

    def may(self, entry: Entry, wanted: int) -> bool:
        """Return whether mode bits like 0o2 (write) or 0o1 (enter) are ours on this entry."""
        user_id, group_id = entry.ids
        if self.user_id == 0:
            return True
        if self.user_id == user_id:
            return bool(entry.mode >> 6 & wanted)
        if group_id in self.group_ids:
            return bool(entry.mode >> 3 & wanted)
        return bool(entry.mode & wanted)


class Machine(Protocol):
    """What there is besides settings. `LocalMachine` is the real one."""

    def entry(self, path: Path) -> Entry | None: ...

    def account(self, name: str) -> Account | None: ...

    def answers(self, path: Path) -> bool:
        """Return whether somebody listens on this unix socket."""

    def has_reader(self, path: Path) -> bool:
        """Return whether somebody has this FIFO open for reading."""

    def is_listened_on(self, ip: IpAddress, port: int) -> bool:
        """Return whether somebody here listens on this address and port of ours."""

    def reaches(self, ip: IpAddress, port: int) -> str:
        """Return why nobody answers there, empty if somebody does."""


def obstacle(
    machine: Machine, path: Path, account: Account, *, below: Path | None
) -> tuple[Path, int] | None:
    """Return what keeps the account from connecting to `path`, with its mode; None: nothing.

    Directories are looked at from `below` on, where a chrooted process starts; None: from the top.
    """
    directories = [
        directory
        for directory in reversed(path.parents)
        if below is None or (directory != below and directory.is_relative_to(below))
    ]
    for place, wanted in [*((directory, 0o1) for directory in directories), (path, 0o2)]:
        entry = machine.entry(place)
        if entry is not None and not account.may(entry, wanted):
            return place, entry.mode
    return None


# --- Dovecot's settings -----------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class DovecotFacts:
    """`services` come with their defaults; `socket_paths` are login_socket_path by protocol."""

    version: str
    config: Config
    base_dir: Path
    services: Mapping[str, Section]
    socket_paths: Mapping[str, str]

    @property
    def number(self) -> tuple[int, ...]:
        return tuple(int(part) for part in re.findall(r"[0-9]+", self.version)[:3])

    @property
    def is_23(self) -> bool:
        return self.number[:2] < (2, 4)

    @property
    def protocols(self) -> frozenset[str]:
        """Written as a list, or as a block of names with yes or no (2.4)."""
        blocks = [dict(block.values) for block in self.config.root.children("protocols")]
        enabled = [name for block in blocks for name in block if block[name].text == "yes"]
        return frozenset([*self.text("protocols").split(), *enabled])

    @property
    def starts_director(self) -> bool:
        """Return whether Dovecot's master runs a director that asks for logins."""
        names = self.director_listeners("unix_listener")
        return any(name.startswith("login/") for name in names)

    def director_listeners(self, kind: str) -> list[str]:
        """Return the names of the enabled listeners of `service director`."""
        service = self.services.get("director")
        if service is None:
            return []
        return [
            listener.label
            for listener in service.children(kind)
            if self._text(listener, "mode").lstrip("0") or "mode" not in listener.values
        ]

    def text(self, name: str) -> str:
        return self._text(self.config.root, name)

    def protocol_text(self, protocol: str, name: str) -> str:
        """Return what a setting is for one protocol."""
        if name == "login_socket_path":
            return self.socket_paths.get(protocol, "")
        section = self.config.root.child("protocol", protocol)
        return (section and self._text(section, name)) or self.text(name)

    def service_text(self, service: str, name: str) -> str:
        section = self.services.get(service)
        return self._text(section, name) if section is not None else ""

    def exported_to(self) -> frozenset[Path]:
        """Return the sockets to which a metric exports the ends of proxied sessions (2.4)."""
        metrics = self.config.root.children("metric")
        used = {
            self._text(m, "exporter") for m in metrics if SESSION_END in self._text(m, "filter")
        }
        exporters = self.config.root.children("event_exporter")
        return frozenset(
            self.base_dir / self._text(exporter, "unix_path")
            for exporter in exporters
            if exporter.label in used and self._text(exporter, "driver") == "unix"
        )

    def passdb_fields(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        """Yield each passdb's place and the fields that it adds by itself."""
        sections = [("", self.config.root)]
        sections += [(f"protocol {s.label}, ", s) for s in self.config.root.children("protocol")]
        for place, section in sections:
            for passdb in section.children("passdb"):
                fields = dict(self._fields(passdb))
                driver = passdb.label or self._text(passdb, "driver")
                yield f"{place}passdb {driver}", fields

    @property
    def has_only_static_passdbs(self) -> bool:
        passdbs = list(self.config.root.children("passdb"))
        drivers = {passdb.label or self._text(passdb, "driver") for passdb in passdbs}
        return drivers == {"static"}

    def _fields(self, passdb: Section) -> Iterator[tuple[str, str]]:
        for block in passdb.sections:
            if block.name == "fields":
                yield from ((name, value.text) for name, value in block.values.items())
        for name in ("args", "default_fields", "override_fields"):  # as 2.3 writes them
            for word in self._text(passdb, name).split():
                key, _, value = word.partition("=")
                yield key, value

    def _text(self, section: Section, name: str) -> str:
        value = section.values.get(name)
        text = value.text if value is not None else ""
        variable = re.fullmatch(r"\$(?:SET:)?(\w+)", text)
        if variable is None:
            return text
        meant = self.config.root.values.get(variable[1])
        return meant.text if meant is not None else VARIABLES.get(variable[1], "")


def read_dovecot(run: RunDoveconf) -> DovecotFacts:
    """Ask doveconf for everything.

    Raises:
        DoveconfFailed: it does not answer, or not as any doveconf we know.
    """
    text = run("-a")
    version = re.match(r"# ([0-9.]+)", text)
    if version is None:
        raise DoveconfFailed(f"doveconf printed {text[:80]!r}, expected a line with its version")
    try:
        config = parse_text(text, "doveconf -a", VARIABLES, {})
        more = parse_text(run(*(f"service/{name}" for name in SERVICES)), "doveconf", VARIABLES, {})
    except ConfigError as error:
        raise DoveconfFailed(str(error)) from None
    services = {
        section.label: section
        for tree in (config, more)  # what was asked for by name is complete, and wins
        for section in tree.root.children("service")
    }
    paths = {
        protocol: run("-h", "-f", f"protocol={protocol}", "login_socket_path").strip()
        for protocol in LOGIN_PROTOCOLS
    }
    base_dir = run("base_dir").partition("=")[2].strip()  # not in -a if it is the default
    return DovecotFacts(
        version=version[1],
        config=config,
        base_dir=Path(base_dir),
        services=services,
        socket_paths=paths,
    )


def doveconf(program: str, file: Path | None) -> RunDoveconf:
    """Return what runs doveconf on this configuration file, None for the usual one."""
    command = [program, *(["-c", str(file)] if file is not None else [])]

    def run(*arguments: str) -> str:
        try:
            done = subprocess.run(
                [*command, *arguments],
                capture_output=True,
                timeout=DOVECONF_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DoveconfFailed(f"{program} cannot be run: {error}") from None
        if done.returncode != 0:
            raise DoveconfFailed(done.stderr.decode(errors="replace").strip())
        return done.stdout.decode("utf-8", "surrogateescape")

    return run


# --- the real machine -------------------------------------------------------------------------


class LocalMachine:
    """The machine we run on. Connects to sockets, and says nothing there."""

    def entry(self, path: Path) -> Entry | None:
        try:
            found = path.stat()
        except OSError:
            return None
        return Entry(
            kind=_KINDS.get(stat.S_IFMT(found.st_mode), EntryKind.OTHER),
            mode=stat.S_IMODE(found.st_mode),
            ids=(found.st_uid, found.st_gid),
        )

    def account(self, name: str) -> Account | None:
        try:
            found = pwd.getpwnam(name)
            group_name = grp.getgrgid(found.pw_gid).gr_name
        except KeyError:
            return None
        return Account(
            name=name,
            user_id=found.pw_uid,
            group_id=found.pw_gid,
            group_name=group_name,
            group_ids=frozenset(os.getgrouplist(name, found.pw_gid)),
        )

    def answers(self, path: Path) -> bool:
        with socket.socket(socket.AF_UNIX) as attempt:
            attempt.settimeout(REACH_TIMEOUT_S)
            try:
                attempt.connect(str(path))
            except OSError:
                return False
            _take_leave(attempt)
        return True

    def has_reader(self, path: Path) -> bool:
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    def is_listened_on(self, ip: IpAddress, port: int) -> bool:
        """Not by connecting: our neighbours' director would take that for a neighbour's."""
        family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
        with socket.socket(family) as attempt:
            attempt.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # closed ones do not count
            try:
                attempt.bind((str(ip), port))
            except OSError as error:
                return error.errno == errno.EADDRINUSE
        return False

    def reaches(self, ip: IpAddress, port: int) -> str:
        try:
            socket.create_connection((str(ip), port), REACH_TIMEOUT_S).close()
        except OSError as error:
            return error.strerror or str(error)
        return ""


def _take_leave(connection: socket.socket) -> None:
    """End a connection so that nobody logs an error: read what is said before hanging up."""
    connection.settimeout(LEAVE_TIMEOUT_S)
    try:
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
    except OSError:
        pass


_KINDS = {
    stat.S_IFSOCK: EntryKind.SOCKET,
    stat.S_IFIFO: EntryKind.FIFO,
    stat.S_IFDIR: EntryKind.DIRECTORY,
}
