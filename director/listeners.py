"""Which sockets the director listens on, and what is spoken there.

The `service director { ... }` section decides, as in Dovecot (login-sockets.md section 1). The last
word of a listener's name selects the protocol: `director-userdb` speaks the auth master protocol,
an `inet_listener` of any other name is for the ring. If there is no such section at all, the
director listens where a proxy expects it: see `DEFAULT_LISTENERS`.

A listener with mode 0 or port 0 is disabled and does not appear. What the classic program reads
from `service` but the daemon decides itself (process_limit, idle_kill, ...) is ignored.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import attrs

from director.addresses import Resolve, parse_port
from director.config import Config, ConfigError, Position, Section, Value
from director.quantities import parse_mode
from ring.address import IpAddress, parse_ip
from ring.errors import ValueRefused


class ListenerKind(enum.Enum):
    UNIX = "unix_listener"
    FIFO = "fifo_listener"
    INET = "inet_listener"


class Role(enum.Enum):
    """What is spoken on a listener (login-sockets.md section 1.2)."""

    LOGIN = "login"
    USERDB = "userdb"
    AUTHREPLY = "authreply"
    RING = "ring"
    ADMIN = "admin"
    NOTIFY = "notify"
    EVENTS = "events"


_ROLES = {
    "auth": Role.LOGIN,
    "userdb": Role.USERDB,
    "authreply": Role.AUTHREPLY,
    "ring": Role.RING,
    "admin": Role.ADMIN,
    "doveadm": Role.ADMIN,
    "notify": Role.NOTIFY,
    "events": Role.EVENTS,
}


@attrs.frozen(kw_only=True)
class Listener:
    """One socket. `path` is absolute and only for UNIX and FIFO, `ip` and `port` for INET.

    `user` and `group` are names or numbers, empty for those the daemon runs as.
    """

    kind: ListenerKind
    role: Role
    name: str
    path: Path | None = None
    ip: IpAddress | None = None
    port: int = 0
    mode: int = 0
    user: str = ""
    group: str = ""

    def __str__(self) -> str:
        return str(self.path) if self.path else f"{self.name or 'inet'} {self.ip} {self.port}"


DEFAULT_LISTENERS = (
    (ListenerKind.UNIX, "director-admin", 0o600),
    (ListenerKind.UNIX, "director-userdb", 0o600),
    (ListenerKind.UNIX, "login/director", 0o666),
    (ListenerKind.FIFO, "login/proxy-notify", 0o666),
)
"""Without a `service director` section. The login directory itself keeps strangers out."""

BUILT_IN_LISTENERS = (
    (ListenerKind.UNIX, "director-admin", 0o600),
    (ListenerKind.UNIX, "login/director", 0),
    (ListenerKind.FIFO, "login/proxy-notify", 0),
)
"""What a `service director` section changes; mode 0 is disabled (login-sockets.md section 1.1)."""


def role_of(kind: ListenerKind, name: str) -> Role:
    """Return what is spoken on a listener of this kind and name."""
    if kind is ListenerKind.FIFO:
        return Role.NOTIFY
    suffix = PurePosixPath(name).name.rpartition("-")[2]
    fallback = Role.RING if kind is ListenerKind.INET else Role.LOGIN
    return _ROLES.get(suffix, fallback)


def default_listeners(base_dir: Path) -> tuple[Listener, ...]:
    """Return the listeners of a configuration that has no `service director` section."""
    return tuple(
        Listener(kind=kind, role=role_of(kind, name), name=name, path=base_dir / name, mode=mode)
        for kind, name, mode in DEFAULT_LISTENERS
    )


def read_listeners(
    config: Config,
    service: Section,
    base_dir: Path,
    listen: Value,
    resolve: Resolve,
) -> tuple[Listener, ...]:
    """Return the enabled listeners of a `service director` section.

    UNIX and FIFO come sorted by name, then TCP in the order of the file, which decides the ring's.

    Raises:
        ConfigError: a bad mode, port or address.
    """
    listeners = []
    for kind in (ListenerKind.UNIX, ListenerKind.FIFO):
        built_in = {name: mode for k, name, mode in BUILT_IN_LISTENERS if k is kind}
        written = {section.label: section for section in service.children(kind.value)}
        for name in sorted({*built_in, *written}):
            listener = _path_listener(
                config, kind, name, written.get(name), built_in.get(name, 0o600), base_dir
            )
            if listener.mode:
                listeners.append(listener)
    for section in service.children(ListenerKind.INET.value):
        listeners.extend(_inet_listeners(config, section, listen, resolve))
    return tuple(listeners)


def _path_listener(
    config: Config,
    kind: ListenerKind,
    name: str,
    section: Section | None,
    default_mode: int,
    base_dir: Path,
) -> Listener:
    def text(key: str) -> str:
        value = section.values.get(key) if section else None
        return config.text(value) if value else ""

    if section is not None and not name:
        raise ConfigError(section.position, f"got a {kind.value} without a name, expected a path")
    mode = default_mode
    if section is not None and (value := section.values.get("mode")):
        mode = _checked(config, value, "mode", parse_mode)
    return Listener(
        kind=kind,
        role=role_of(kind, name),
        name=name,
        path=base_dir / name,
        mode=mode,
        user=text("user"),
        group=text("group"),
    )


def _inet_listeners(
    config: Config,
    section: Section,
    listen: Value,
    resolve: Resolve,
) -> Iterator[Listener]:
    port_value = section.values.get("port")
    port = _checked(config, port_value, "port", parse_port) if port_value else 0
    if not port:
        return
    address = section.values.get("address")
    if address is None or not config.text(address):
        address = listen
    for word in config.text(address).replace(",", " ").split():
        for ip in _addresses(word, address.position, resolve):
            yield Listener(
                kind=ListenerKind.INET,
                role=role_of(ListenerKind.INET, section.label),
                name=section.label,
                ip=ip,
                port=port,
            )


def _addresses(word: str, position: Position, resolve: Resolve) -> Sequence[IpAddress]:
    if word in ("*", "::", "[::]"):
        return [parse_ip("0.0.0.0" if word == "*" else "::")]
    try:
        return [parse_ip(word)]
    except ValueRefused:
        addresses = resolve(word)
    if not addresses:
        raise ConfigError(position, f"address: got {word!r}, expected an IP or a known host name")
    return addresses


def _checked(config: Config, value: Value, key: str, parse: Callable[[str], int]) -> int:
    try:
        return parse(config.text(value))
    except ValueRefused as error:
        raise ConfigError(value.position, f"{key}: {error}") from None
