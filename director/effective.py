"""Prints settings as configuration that reads back as the same settings.

This is what `director check-config` shows and what `director migrate` writes, so it is complete
(every setting, defaults included) and in Dovecot's syntax. What was computed from the values, such
as the addresses behind a host name, stands in comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

from director.listeners import BUILT_IN_LISTENERS, Listener, ListenerKind
from director.quantities import format_size, format_time
from director.settings import Settings

_NEEDS_QUOTES = re.compile(r"^[<\s]|[\s\\]$|[\"'#]|(^|\s)\$")


def format_effective(settings: Settings) -> str:
    """Return the settings as a configuration; `load_text` of it gives equal settings."""
    blocks = [*_settings_lines(settings), "", *service_lines(settings)]
    return "\n".join(blocks) + "\n"


def format_value(text: str) -> str:
    """Return `text` as the right-hand side of a setting, in quotes if it needs them."""
    if not _NEEDS_QUOTES.search(text):
        return text
    return _quoted(text)


def _quoted(text: str) -> str:
    return '"' + re.sub(r'([\\"])', r"\\\1", text) + '"'


def setting_texts(settings: Settings) -> dict[str, str]:
    """Return every setting outside `service director` by name, as text without quotes."""
    snapshot = settings.snapshot_path
    return {
        "base_dir": str(settings.base_dir),
        "default_internal_user": settings.default_internal_user,
        "default_login_user": settings.default_login_user,
        "director_servers": " ".join(settings.directors_text.split()),
        "director_mail_servers": " ".join(settings.hosts_text.split()),
        "director_username_hash": settings.username_hash.text,
        "director_hash": settings.director_hash.value,
        "auth_master_user_separator": settings.master_user_separator.decode("latin-1"),
        "director_user_expire": format_time(settings.user_expire_s),
        "director_user_kick_delay": format_time(settings.user_kick_delay_s),
        "director_ping_idle_timeout": format_time(settings.ping_idle_timeout_s),
        "director_ping_max_timeout": format_time(settings.ping_max_timeout_s),
        "director_max_parallel_moves": str(settings.max_parallel_moves),
        "director_max_parallel_kicks": str(settings.max_parallel_kicks),
        "director_output_buffer_size": format_size(settings.output_buffer_bytes),
        "director_flush_socket": settings.flush_socket,
        "director_kick": settings.kick.value,
        "director_proxy_refresh": settings.proxy_refresh.value,
        "director_auth_login_socket": _relative(settings.auth_login_socket, settings),
        "director_auth_userdb_socket": _relative(settings.auth_userdb_socket, settings),
        "director_log_format": settings.log_format.value,
        "director_snapshot_path": str(snapshot) if snapshot is not None else "",
        "director_snapshot_interval": format_time(settings.snapshot_interval_s),
    }


def _settings_lines(settings: Settings) -> Iterator[str]:
    for name, text in setting_texts(settings).items():
        yield f"{name} = {format_value(text)}".rstrip()
        if name == "director_servers" and settings.own is not None:
            yield f"# these are {' '.join(map(str, settings.directors))}"
            yield f"# this director is {settings.own}"
        if name == "director_mail_servers":
            hosts = [f"{h.ip}@{h.tag.decode()}" if h.tag else str(h.ip) for h in settings.hosts]
            if hosts != text.split():
                yield f"# these are {' '.join(hosts)}"


def _relative(path: object, settings: Settings) -> str:
    return str(path).removeprefix(f"{settings.base_dir}/")


def service_lines(settings: Settings) -> Iterator[str]:
    """Write the `service director` section."""
    yield "service director {"
    yield f"  user = {format_value(settings.user)}".rstrip()
    if settings.chroot is not None:
        yield f"  chroot = {format_value(str(settings.chroot))}"
    yield f"  client_limit = {settings.client_limit}"
    paths = [x for x in settings.listeners if x.kind is not ListenerKind.INET]
    for listener in paths:
        yield f"  {listener.kind.value} {_label(listener.name)} {{"
        yield f"    mode = {listener.mode:04o}"
        if listener.user:
            yield f"    user = {format_value(listener.user)}"
        if listener.group:
            yield f"    group = {format_value(listener.group)}"
        yield "  }"
    enabled = {(listener.kind, listener.name) for listener in paths}
    for kind, name, default_mode in BUILT_IN_LISTENERS:
        if default_mode and (kind, name) not in enabled:
            yield f"  {kind.value} {name} {{"
            yield "    mode = 0"
            yield "  }"
    inet = [x for x in settings.listeners if x.kind is ListenerKind.INET]
    for (name, port), same in groupby(inet, key=lambda x: (x.name, x.port)):
        yield from _inet_lines(name, port, list(same))
    yield "}"


def _inet_lines(name: str, port: int, listeners: list[Listener]) -> Iterator[str]:
    label = f" {_label(name)}" if name else ""
    yield f"  inet_listener{label} {{"
    yield f"    address = {', '.join(str(listener.ip) for listener in listeners)}"
    yield f"    port = {port}"
    yield "  }"


def _label(name: str) -> str:
    return format_value(name) if not re.search(r"[\s{}=]", name) else _quoted(name)
