"""From the configuration of a Dovecot 2.3 director to ours and a Dovecot 2.4 proxy's.

Reads what `doveconf -n` of 2.3 prints and writes three things: the configuration of our daemon as a
service of its own, the lines by which Dovecot 2.4 finds it, and a finding for every piece that 2.4
no longer has (dovecot-2.4-plug.md section 1) or that means something else now. It does not
translate the rest of a Dovecot configuration: passdb, ssl and mail settings have their own guide
in Dovecot's documentation.

The hash stays md5, because the first step of a migration is to join the old ring. Names are not
resolved and addresses not tried: this may run on any machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import attrs

from director.config import Config, Position, Section, Value, parse_text
from director.definitions import REMOVED, VARIABLES
from director.effective import format_value, service_lines, setting_texts
from director.listeners import Listener, ListenerKind
from director.settings import ProxyRefresh, Settings, load_config, load_text
from ring.address import parse_ip

SOURCE = "doveconf"
SOCKET_FOLDER = "ext"
"""Below login/: Dovecot 2.4 does not start while a foreign socket is in login/ itself."""

_PROTOCOLS = {
    "imap-login": "imap",
    "pop3-login": "pop3",
    "submission-login": "submission",
    "managesieve-login": "sieve",
}


@attrs.frozen
class Finding:
    """Something an operator must know before the change; where it was met, and what to do."""

    position: Position
    text: str

    def __str__(self) -> str:
        return f"{self.position}: {self.text}"


@attrs.frozen(kw_only=True)
class MigrationReport:
    """`configuration` is for us, `proxy` for Dovecot 2.4."""

    configuration: str
    proxy: str
    findings: tuple[Finding, ...]


def migrate(doveconf_text: str) -> MigrationReport:
    """Return what replaces the director of this `doveconf -n` output.

    Raises:
        ConfigError: the text is no configuration, or not that of a director.
    """
    config = parse_text(doveconf_text, SOURCE, VARIABLES, {})
    findings = [*_version_findings(doveconf_text), *_setting_findings(config)]
    for name in REMOVED:
        config.root.values.pop(name, None)
    settings = load_config(
        config, {}, {}, resolve=lambda name: [parse_ip("192.0.2.1")], can_bind=lambda ip: True
    )
    findings += _service_findings(config)
    findings += _passdb_findings(config)
    moved, moved_findings = _moved(config, settings)
    findings += moved_findings
    return MigrationReport(
        configuration="\n".join(_configuration_lines(moved)) + "\n",
        proxy="\n".join(_proxy_lines(config)) + "\n",
        findings=tuple(findings),
    )


# --- what is written --------------------------------------------------------------------------


def _moved(config: Config, settings: Settings) -> tuple[Settings, list[Finding]]:
    """Return the settings for a daemon that Dovecot's master no longer starts."""
    findings = []
    listeners = []
    for listener in settings.listeners:
        if listener.kind is ListenerKind.FIFO:
            where = _listener_position(config, listener)
            text = (
                f"fifo_listener {listener.name} is left out: without Dovecot's master nobody may "
                "own it; live users are learned from Dovecot's lists of sessions instead"
            )
            findings.append(Finding(where, text))
        else:
            listeners.append(_moved_listener(listener))
    flush_socket = settings.flush_socket
    if _is_chrooted(config) and re.match("(unix|exec):/", flush_socket):
        scheme, path = flush_socket.split(":", 1)
        flush_socket = f"{scheme}:{settings.base_dir}{path}"
        text = (
            "director_flush_socket was seen from inside base_dir, where the old director was "
            f"chrooted; it is {flush_socket} now"
        )
        findings.append(Finding(config.root.values["director_flush_socket"].position, text))
    moved = attrs.evolve(
        settings,
        listeners=tuple(listeners),
        flush_socket=flush_socket,
        proxy_refresh=ProxyRefresh.NO,
        chroot=None,
    )
    return moved, findings


def _moved_listener(listener: Listener) -> Listener:
    path = PurePosixPath(listener.name)
    if listener.kind is not ListenerKind.UNIX or path.parent != PurePosixPath("login"):
        return listener
    return attrs.evolve(listener, name=f"login/{SOCKET_FOLDER}/{path.name}")


def _configuration_lines(settings: Settings) -> Iterator[str]:
    defaults = setting_texts(load_text("director_mail_servers = 10.0.0.1", SOURCE))
    yield "# /etc/ringdirector/director.conf"
    yield "# Check it with: director check-config -c /etc/ringdirector/director.conf"
    yield ""
    for name, text in setting_texts(settings).items():
        if name == "director_hash":
            yield "# As in the old ring. Only a ring that is stopped as a whole can change it."
            yield f"director_hash = {text}"
        elif text != defaults[name]:
            yield f"{name} = {format_value(text)}"
    yield ""
    yield from service_lines(settings)


def _proxy_lines(config: Config) -> Iterator[str]:
    yield "# /etc/dovecot/conf.d/director.conf for Dovecot 2.4"
    for service, socket in _login_sockets(config):
        yield f"protocol {_PROTOCOLS[service.label]} {{"
        yield f"  login_socket_path = {socket}"
        yield "}"
    for protocol in ("lmtp", "doveadm"):
        section = config.root.child("protocol", protocol)
        value = section.values.get("auth_socket_path") if section else None
        if value is not None:
            yield f"protocol {protocol} {{"
            yield f"  auth_socket_path = {format_value(config.text(value))}"
            yield "}"
    for name in ("base_dir", "default_internal_user", "default_login_user", "doveadm_port"):
        if name in config.root.values:
            yield f"{name} = {format_value(config.text(config.root.values[name]))}"
    if "lmtp_proxy" in config.root.values:
        yield f"lmtp_proxy = {config.text(config.root.values['lmtp_proxy'])}"
    yield "# Kicks only reach login processes that serve many clients (up to 2.4.4)."
    for service, _ in _login_sockets(config):
        yield f"service {service.label} {{"
        yield "  restart_request_count = unlimited"
        for name in ("client_limit", "process_min_avail", "process_limit"):
            if name in service.values:
                yield f"  {name} = {config.text(service.values[name])}"
        yield "}"
    yield "# The director lists and closes sessions through this socket."
    yield "service anvil {"
    yield "  unix_listener anvil {"
    yield "    mode = 0660"
    yield "    group = $SET:default_internal_group"
    yield "  }"
    yield "}"


def _login_sockets(config: Config) -> Iterator[tuple[Section, str]]:
    """Yield the login services that ask the director, and at which socket they will."""
    for service in config.root.children("service"):
        executable = service.values.get("executable")
        if service.label not in _PROTOCOLS or executable is None:
            continue
        words = [w for w in config.text(executable).split()[1:] if not w.startswith("-")]
        if words:
            yield service, words[0] if "/" in words[0] else f"{SOCKET_FOLDER}/{words[0]}"


# --- what is found ----------------------------------------------------------------------------


def _version_findings(text: str) -> Iterator[Finding]:
    version = re.match(r"# (\d+)\.(\d+)\.\S+", text)
    if version is None:
        message = "got no line with Dovecot's version, expected the output of doveconf -n"
    elif version.groups() != ("2", "3"):
        message = f"got the output of Dovecot {version[0][2:]}, expected that of 2.3"
    else:
        return
    yield Finding(Position(SOURCE, 1, 1), message)


def _setting_findings(config: Config) -> Iterator[Finding]:
    values = config.root.values
    ours = [name for name in values if name.startswith("director_")]
    if ours:
        yield Finding(
            values[ours[0]].position,
            "Dovecot 2.4 refuses to start with director_* settings; take out "
            f"{', '.join(sorted(ours))} (they are in the director's own file)",
        )
    for name, advice in REMOVED.items():
        if name in values:
            yield Finding(values[name].position, f"{name} no longer exists: {advice}")
    old, new = values.get("master_user_separator"), values.get("auth_master_user_separator")
    if old is not None:
        text = "master_user_separator is called auth_master_user_separator in our file and in 2.4"
        yield Finding(old.position, text)
    elif new is not None:
        yield Finding(
            new.position,
            "auth_master_user_separator was not read by directors before 2.3.20; in a ring with "
            "one of those, logins of master users go to another backend there than here",
        )
    yield from _proxying_findings(config)


def _proxying_findings(config: Config) -> Iterator[Finding]:
    values = config.root.values
    for protocol, switch in (("lmtp", "lmtp_proxy"), ("doveadm", "doveadm_port")):
        section = config.root.child("protocol", protocol)
        asks = section is not None and "auth_socket_path" in section.values
        value = values.get(switch)
        is_on = value is not None and config.text(value) not in ("no", "0")
        if value is not None and is_on and not asks:
            text = f"{switch} is set, but protocol {protocol} has no auth_socket_path: it does not "
            yield Finding(value.position, text + "ask the director, neither before nor after")
        if section is not None and asks and not is_on:
            text = f"protocol {protocol} asks the director, but only with {switch} set does it "
            yield Finding(section.position, text + "go where the director says")


def _service_findings(config: Config) -> Iterator[Finding]:
    director = config.root.child("service", "director")
    if director is not None:
        yield Finding(
            director.position,
            "take out service director: Dovecot 2.4 does not know it, and 2.3 would start its own",
        )
        executable = director.values.get("executable")
        if executable is not None and len(config.text(executable).split()) > 1:
            text = "the options of the director's executable (-D, -t) are not taken over"
            yield Finding(executable.position, text)
        for section in director.children("inet_listener"):
            for name in ("ssl", "haproxy"):
                value = section.values.get(name)
                if value is not None and config.text(value) != "no":
                    text = f"{name} of this inet_listener is not taken over"
                    yield Finding(value.position, text)
    ipc = config.root.child("service", "ipc")
    if ipc is not None:
        text = "take out service ipc for 2.4, where sessions are closed through anvil"
        yield Finding(ipc.position, text)
    for service in config.root.children("service"):
        for listener in service.children("unix_listener"):
            if listener.label == "login/ipc-proxy":
                text = "take out unix_listener login/ipc-proxy: it is gone in 2.4"
                yield Finding(listener.position, text)
    for service, _ in _login_sockets(config):
        value = service.values.get("service_count")
        if value is not None:
            text = f"service_count of {service.label} is called restart_request_count in 2.4"
            yield Finding(value.position, text)


_FIELDS = {
    "proxy_always": "is gone in 2.4; return proxy=y instead",
    "director_proxy_maybe": "never worked well and does nothing here; use proxy_maybe",
}


def _passdb_findings(config: Config) -> Iterator[Finding]:
    for passdb in config.root.children("passdb"):
        for value in _field_values(passdb):
            for field, advice in _FIELDS.items():
                if re.search(rf"(^|\s){field}(=|\s|$)", value.text):
                    yield Finding(value.position, f"passdb field {field} {advice}")
    first = next(config.root.children("passdb"), None)
    if first is not None:
        text = "passdb has another syntax in 2.4 (fields { ... }); look for proxy_always and "
        yield Finding(first.position, text + "director_proxy_maybe in SQL and LDAP queries too")


def _field_values(passdb: Section) -> Iterator[Value]:
    return (
        value
        for name, value in passdb.values.items()
        if name in ("args", "default_fields", "override_fields")
    )


def _is_chrooted(config: Config) -> bool:
    """Return whether Dovecot chroots the director, as it does unless told otherwise."""
    director = config.root.child("service", "director")
    chroot = director.values.get("chroot") if director is not None else None
    return chroot is None or bool(config.text(chroot))


def _listener_position(config: Config, listener: Listener) -> Position:
    director = config.root.child("service", "director")
    section = director.child(listener.kind.value, listener.name) if director is not None else None
    return section.position if section is not None else config.root.position
