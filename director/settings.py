"""What the operator configured, as one typed frozen value.

`load` reads a file in Dovecot's syntax (`config.py`), lets environment variables and options
overrule it, and either returns `Settings` that the daemon can start with, or raises `ConfigError`
with file, line, column, setting, what was got and what is expected. Nothing is half accepted: the
start-up failures of the classic program (login-sockets.md section 1.1) are found here too.

Settings that are not ours are ignored, because the file may be the whole Dovecot configuration; a
name that begins with `director_` must be one we know, so that a misspelt one cannot go unnoticed.
They count at the top level only, where the classic program reads them too.

`resolve` and `can_bind` are what this needs from the machine; tests pass their own.
"""

from __future__ import annotations

import difflib
import enum
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import attrs

from director import config as configuration
from director.addresses import (
    Resolve,
    can_bind_to,
    find_own,
    parse_directors,
    resolve_name,
)
from director.config import Config, ConfigError, Section, Value
from director.definitions import BY_NAME, REMOVED, VARIABLES
from director.flush import FlushProgram
from director.listeners import (
    Listener,
    Role,
    default_listeners,
    read_listeners,
)
from director.quantities import parse_number, parse_size_bytes, parse_time_s
from ring.address import DirectorAddress, IpAddress
from ring.errors import ValueRefused
from ring.hashing import HashKind, UsernameTemplate
from ring.hosts import parse_mail_servers
from ring.settings import HostSetting, NodeSettings

T = TypeVar("T")


class LogFormat(enum.Enum):
    TEXT = "text"
    JSON = "json"


class KickMethod(enum.Enum):
    AUTO = "auto"
    IPC = "ipc"
    ANVIL = "anvil"
    NONE = "none"


class ProxyRefresh(enum.Enum):
    AUTO = "auto"
    YES = "yes"
    NO = "no"


@attrs.frozen(kw_only=True)
class Settings:
    """Everything the daemon needs to know; `definitions.py` says what each setting means.

    `own` is None if `director_servers` is empty. The `*_text` fields are what the operator wrote,
    before names were resolved and ranges expanded.
    """

    base_dir: Path
    default_internal_user: str
    default_login_user: str

    own: DirectorAddress | None
    directors: tuple[DirectorAddress, ...]
    directors_text: str
    hosts: tuple[HostSetting, ...]
    hosts_text: str
    username_hash: UsernameTemplate
    director_hash: HashKind
    master_user_separator: bytes
    """One byte, or empty."""

    user_expire_s: int
    user_kick_delay_s: int
    ping_idle_timeout_s: int
    ping_max_timeout_s: int
    max_parallel_moves: int
    max_parallel_kicks: int
    output_buffer_bytes: int
    flush_socket: str
    """Empty, or `unix:`, `tcp:` or `exec:` and an address that may hold `%i` and `%h`."""

    log_format: LogFormat
    kick: KickMethod
    proxy_refresh: ProxyRefresh
    auth_login_socket: Path
    auth_userdb_socket: Path
    snapshot_path: Path | None
    snapshot_interval_s: int
    """0: only at the end."""

    listeners: tuple[Listener, ...]
    """The enabled ones."""
    user: str
    chroot: Path | None
    client_limit: int

    def node_settings(self) -> NodeSettings:
        """Return the part of the settings that the node decides by."""
        return NodeSettings(
            own=self.own,
            directors=self.directors,
            hosts=self.hosts,
            director_hash=self.director_hash.value,
            user_expire_s=self.user_expire_s,
            user_kick_delay_s=self.user_kick_delay_s,
            ping_idle_timeout_s=self.ping_idle_timeout_s,
            ping_max_timeout_s=self.ping_max_timeout_s,
            max_parallel_moves=self.max_parallel_moves,
            max_parallel_kicks=self.max_parallel_kicks,
            output_buffer_bytes=self.output_buffer_bytes,
            has_flush_program=bool(self.flush_socket),
        )


def load(
    path: Path | None,
    overrides: Mapping[str, str],
    environ: Mapping[str, str],
    *,
    resolve: Resolve | None = None,
    can_bind: Callable[[IpAddress], bool] | None = None,
) -> Settings:
    """Return the settings of the file at `path` (None: defaults), as overruled by the others.

    `overrides` are names (or paths like `service/director/client_limit`) and texts, and win over
    `environ`, where `DIRECTOR_USER_EXPIRE` stands for `director_user_expire`, `DIRECTOR_BASE_DIR`
    for `base_dir`, and `DIRECTOR_CONFIG_TEXT` for more lines of the file, sections included.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    if path is None:
        config = configuration.parse_text("", "defaults", VARIABLES, environ)
    else:
        config = configuration.parse_file(path, VARIABLES, environ)
    return load_config(config, overrides, environ, resolve=resolve, can_bind=can_bind)


def load_text(
    text: str,
    source: str,
    *,
    resolve: Resolve | None = None,
    can_bind: Callable[[IpAddress], bool] | None = None,
) -> Settings:
    """Like `load`, but the configuration is `text` and nothing overrules it."""
    config = configuration.parse_text(text, source, VARIABLES, {})
    return load_config(config, {}, {}, resolve=resolve, can_bind=can_bind)


def load_config(
    config: Config,
    overrides: Mapping[str, str],
    environ: Mapping[str, str],
    *,
    resolve: Resolve | None = None,
    can_bind: Callable[[IpAddress], bool] | None = None,
) -> Settings:
    """Like `load`, but the configuration is already a tree; what overrules is set in it."""
    if MORE_VARIABLE in environ:
        configuration.extend(
            config, environ[MORE_VARIABLE], f"environment variable {MORE_VARIABLE}"
        )
    for variable, text in sorted(environ.items()):
        name = _setting_of_variable(variable)
        if name is not None:
            configuration.assign(config, name, text, f"environment variable {variable}")
    for name, text in overrides.items():
        configuration.assign(config, name, text, f"option -o {name}")
    _refuse_unknown_names(config)
    return _read_settings(
        _Reader(config),
        resolve if resolve is not None else resolve_name,
        can_bind if can_bind is not None else can_bind_to,
    )


# --- names ------------------------------------------------------------------------------------

MORE_VARIABLE = "DIRECTOR_CONFIG_TEXT"
"""More configuration, read behind the file: for containers, which have no file to write it in."""

_NOT_SETTINGS = re.compile(r"DIRECTOR_(CONFIG|CONFIG_TEXT|SERVICE_.*|PORT|PORT_.*)")
"""The command's own variables, and those that Kubernetes sets for a service named director."""


def _setting_of_variable(variable: str) -> str | None:
    """Return the setting that an environment variable stands for, None if it is not for us."""
    if not variable.startswith("DIRECTOR_") or _NOT_SETTINGS.fullmatch(variable):
        return None
    full = variable.lower()
    short = full.removeprefix("director_")
    return short if full not in BY_NAME and short in BY_NAME else full


def _refuse_unknown_names(config: Config) -> None:
    for name, value in config.root.values.items():
        if not name.startswith("director_") or name in BY_NAME:
            continue
        if name in REMOVED:
            raise ConfigError(value.position, f"{name} no longer exists: {REMOVED[name]}")
        close = difflib.get_close_matches(name, BY_NAME, n=1, cutoff=0.0)
        raise ConfigError(
            value.position, f"got the unknown setting {name}, expected perhaps {close[0]}"
        )


# --- values -----------------------------------------------------------------------------------


class _Reader:
    """Reads one value after the other from the tree, or its default."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.values = config.root.values

    def value(self, name: str) -> Value:
        default = BY_NAME[name].default
        return self.values.get(name) or Value(default, self.config.root.position)

    def text(self, name: str) -> str:
        return self.config.text(self.value(name))

    def refused(self, name: str, why: object) -> ConfigError:
        return ConfigError(self.value(name).position, f"{name}: {why}")

    def parsed(self, name: str, parse: Callable[[str], T]) -> T:
        try:
            return parse(self.text(name))
        except ValueRefused as error:
            raise self.refused(name, error) from None

    def quantity(self, name: str) -> int:
        """Return a time, size or number within the bounds of its definition."""
        definition = BY_NAME[name]
        number = self.parsed(name, _PARSERS[definition.kind])
        too_high = definition.highest is not None and number > definition.highest
        if number < definition.lowest or too_high:
            raise self.refused(name, f"got {self.text(name)!r}, expected a {definition.range}")
        return number

    def choice(self, name: str) -> str:
        text, choices = self.text(name).lower(), BY_NAME[name].choices
        if text not in choices:
            raise self.refused(name, f"got {self.text(name)!r}, expected one of {choices}")
        return text

    def path(self, name: str, base_dir: Path) -> Path:
        text = self.text(name)
        if not text:
            raise self.refused(name, "got nothing, expected a path")
        return base_dir / text


_PARSERS = {"time": parse_time_s, "size": parse_size_bytes, "number": parse_number}


def _read_settings(
    read: _Reader, resolve: Resolve, can_bind: Callable[[IpAddress], bool]
) -> Settings:
    base_dir = read.path("base_dir", Path())
    if not base_dir.is_absolute():
        raise read.refused("base_dir", f"got {str(base_dir)!r}, expected an absolute path")
    service = _Service.read(read, base_dir, resolve)
    directors, own = _read_ring(read, service.listeners, resolve, can_bind)
    return Settings(
        base_dir=base_dir,
        default_internal_user=read.text("default_internal_user"),
        default_login_user=read.text("default_login_user"),
        own=own,
        directors=directors,
        directors_text=read.text("director_servers"),
        hosts=_read_hosts(read, resolve),
        hosts_text=read.text("director_mail_servers"),
        username_hash=read.parsed("director_username_hash", UsernameTemplate.parse),
        director_hash=HashKind(read.choice("director_hash")),
        master_user_separator=_read_separator(read),
        user_expire_s=read.quantity("director_user_expire"),
        user_kick_delay_s=read.quantity("director_user_kick_delay"),
        ping_idle_timeout_s=read.quantity("director_ping_idle_timeout"),
        ping_max_timeout_s=read.quantity("director_ping_max_timeout"),
        max_parallel_moves=read.quantity("director_max_parallel_moves"),
        max_parallel_kicks=read.quantity("director_max_parallel_kicks"),
        output_buffer_bytes=read.quantity("director_output_buffer_size"),
        flush_socket=read.parsed("director_flush_socket", parse_flush_socket),
        log_format=LogFormat(read.choice("director_log_format")),
        kick=KickMethod(read.choice("director_kick")),
        proxy_refresh=ProxyRefresh(read.choice("director_proxy_refresh")),
        auth_login_socket=read.path("director_auth_login_socket", base_dir),
        auth_userdb_socket=read.path("director_auth_userdb_socket", base_dir),
        snapshot_path=read.parsed("director_snapshot_path", _parse_absolute_path),
        snapshot_interval_s=read.quantity("director_snapshot_interval"),
        listeners=service.listeners,
        user=service.user,
        chroot=service.chroot,
        client_limit=service.client_limit,
    )


@attrs.frozen(kw_only=True)
class _Service:
    """The `service director` section, or what stands for it when there is none."""

    listeners: tuple[Listener, ...]
    user: str
    chroot: Path | None
    client_limit: int

    @classmethod
    def read(cls, read: _Reader, base_dir: Path, resolve: Resolve) -> _Service:
        section = read.config.root.child("service", "director")
        client_limit = read.quantity("default_client_limit")
        user = read.text("default_internal_user")
        if section is None:
            return cls(
                listeners=default_listeners(base_dir),
                user=user,
                chroot=None,
                client_limit=client_limit,
            )
        listeners = read_listeners(read.config, section, base_dir, read.value("listen"), resolve)
        if not any(listener.role in (Role.LOGIN, Role.USERDB) for listener in listeners):
            raise ConfigError(
                section.position,
                "service director: got no enabled listener for logins, expected a mode in "
                "unix_listener login/director, for example mode = 0666",
            )
        limit = section.values.get("client_limit")
        if limit is not None:
            try:
                client_limit = parse_number(read.config.text(limit)) or client_limit
            except ValueRefused as error:
                raise ConfigError(limit.position, f"client_limit: {error}") from None
        chroot = _section_text(read.config, section, "chroot")
        return cls(
            listeners=listeners,
            user=_section_text(read.config, section, "user") or user,
            chroot=base_dir / chroot if chroot else None,
            client_limit=client_limit,
        )


def _section_text(config: Config, section: Section, key: str) -> str:
    value = section.values.get(key)
    return config.text(value) if value is not None else ""


def _read_ring(
    read: _Reader,
    listeners: tuple[Listener, ...],
    resolve: Resolve,
    can_bind: Callable[[IpAddress], bool],
) -> tuple[tuple[DirectorAddress, ...], DirectorAddress | None]:
    """Return all directors and which of them we are (ring-protocol.md section 6)."""
    name = "director_servers"
    if not read.text(name).split():
        return (), None
    ring = next((x for x in listeners if x.role is Role.RING and x.ip is not None), None)
    if ring is None or ring.ip is None:
        raise read.refused(
            name,
            "got directors, but no TCP listener for the ring; expected an inet_listener with a "
            "port in service director",
        )
    directors = read.parsed(name, lambda text: parse_directors(text, ring.port, resolve))
    own = find_own(directors, ring.ip, ring.port, can_bind)
    if own is None:
        where = "any address" if ring.ip.is_unspecified else str(ring.ip)
        raise read.refused(
            name,
            f"got {read.text(name)!r}, expected this machine among them: we listen on {where} "
            f"port {ring.port}",
        )
    return directors, own


def _read_hosts(read: _Reader, resolve: Resolve) -> tuple[HostSetting, ...]:
    name = "director_mail_servers"
    if not read.text(name).split():
        raise read.refused(name, "got nothing, expected the addresses of the backends")
    return read.parsed(name, lambda text: parse_mail_servers(text, resolve))


def _read_separator(read: _Reader) -> bytes:
    text = read.text("auth_master_user_separator") or read.text("master_user_separator")
    return text.encode("utf-8", "surrogateescape")[:1]


def parse_flush_socket(text: str) -> str:
    """Return `text` if it names a flush program (users-and-hosts.md section 12), or nothing.

    Raises:
        ValueRefused: another scheme, or an unknown variable.
    """
    if text:
        FlushProgram.parse(text)
    return text


def _parse_absolute_path(text: str) -> Path | None:
    if text and not text.startswith("/"):
        raise ValueRefused(f"got {text!r}, expected an absolute path")
    return Path(text) if text else None
