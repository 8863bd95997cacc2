"""Is this machine set up so that a director can do its work? What is wrong, and the line to change.

Compares three things: our settings, what Dovecot says its own are (`facts.DovecotFacts`), and what
is really there: sockets, their modes, who answers (`facts.Machine`). Decides nothing by itself and
changes nothing. Every check knows one way in which an installation silently does not work, most
of them met in dovecot-2.4-lab.md: a login process that asks a socket nobody holds lets its client
hang; one with a single client says yes to a kick and does nothing; an auth socket of another owner
answers USER and refuses PASS.

Accounts are compared with modes instead of tried out, so that one run, as root, can speak for the
director, the login processes and lmtp. The daemon itself is asked about its ring only: it is the
patient, and most patients that need a doctor do not run.

Not checked, because nobody but the operator knows: whether the passdb behind SQL or LDAP answers
`proxy=y` without a host, and whether all backends share one storage.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs

from director.doctor_sessions import check_kicks, check_refresh
from director.facts import (
    Account,
    DovecotFacts,
    EntryKind,
    Finding,
    Level,
    Machine,
    obstacle,
)
from director.listeners import Listener, ListenerKind, Role, role_of
from director.settings import Settings

LOGIN_PROTOCOLS = {
    "imap": "imap-login",
    "pop3": "pop3-login",
    "submission": "submission-login",
    "sieve": "managesieve-login",
}
LOGIN_FOLDER = "login"
RING_SYNCED = "ring synced"


def examine(
    settings: Settings, dovecot: DovecotFacts, machine: Machine, ring_status: str | None
) -> list[Finding]:
    """Return everything that was looked at, in the order of a login's way.

    `ring_status` is what the director says about its ring if it has neighbours, empty if it has
    none, None if it does not answer.
    """
    if dovecot.starts_director:
        settings = attrs.evolve(settings, listeners=master_listeners(dovecot))
    host = Host(settings=settings, dovecot=dovecot, machine=machine)
    return [
        *check_versions(host),
        *check_listeners(host),
        *check_logins(host),
        *check_deliveries(host),
        *check_auth(host),
        *check_passdbs(host),
        *check_service(host),
        *check_kicks(settings, dovecot, machine, host.account),
        *check_refresh(settings, dovecot, machine, host.account),
        *check_snapshot(host),
        *check_ring(host, ring_status),
    ]


def master_listeners(dovecot: DovecotFacts) -> tuple[Listener, ...]:
    """Return what Dovecot's master opens for the director, whatever our own file says."""
    return tuple(
        Listener(kind=kind, role=role_of(kind, name), name=name, path=dovecot.base_dir / name)
        for kind in (ListenerKind.UNIX, ListenerKind.FIFO)
        for name in dovecot.director_listeners(kind.value)
    )


@attrs.frozen(kw_only=True)
class Host:
    """What all checks look at."""

    settings: Settings
    dovecot: DovecotFacts
    machine: Machine

    @property
    def is_under_master(self) -> bool:
        return self.dovecot.starts_director

    @property
    def account(self) -> Account | None:
        """Whom the director runs as, None if there is no such account."""
        name = self.settings.user or self.settings.default_internal_user
        if self.is_under_master:
            name = self.dovecot.service_text("director", "user") or "root"
        return self.machine.account(name)

    def listeners(self, role: Role) -> list[Listener]:
        return [item for item in self.settings.listeners if item.role is role]


def fine(text: str) -> Finding:
    return Finding(Level.FINE, text, "")


def wrong(text: str, fix: str) -> Finding:
    return Finding(Level.WRONG, text, fix)


# --- who is there -----------------------------------------------------------------------------


def check_versions(host: Host) -> Iterator[Finding]:
    dovecot, settings = host.dovecot, host.settings
    yield Finding(Level.NOTE, f"Dovecot {dovecot.version}", "")
    if dovecot.base_dir != settings.base_dir:
        yield wrong(
            f"Dovecot's base_dir is {dovecot.base_dir}, ours {settings.base_dir}",
            f"director.conf: base_dir = {dovecot.base_dir}",
        )
    if host.account is None:
        name = settings.user or settings.default_internal_user
        yield wrong(
            f"the director is to run as {name}, an account that does not exist",
            "director.conf, service director: user = dovecot",
        )
    if not host.machine.answers(dovecot.base_dir / "master"):
        yield wrong(f"no Dovecot runs in {dovecot.base_dir}", "systemctl start dovecot")


def check_listeners(host: Host) -> Iterator[Finding]:
    for listener in host.settings.listeners:
        if listener.kind is ListenerKind.UNIX and listener.path is not None:
            yield from _check_unix_listener(host, listener, listener.path)


def _check_unix_listener(host: Host, listener: Listener, path: Path) -> Iterator[Finding]:
    login_directory = host.settings.base_dir / LOGIN_FOLDER
    if path.parent == login_directory and not host.is_under_master:
        yield wrong(
            f"{path} stands in {login_directory} itself: Dovecot will not start while it is there",
            f"director.conf: unix_listener login/ext/{path.name}, and Dovecot: "
            f"login_socket_path = ext/{path.name}",
        )
    entry = host.machine.entry(path)
    if entry is None:
        yield wrong(
            f"{path} is missing: {_LOST[listener.role]}",
            "service director in Dovecot's configuration, then doveadm reload"
            if host.is_under_master
            else "systemctl enable --now ringdirector.socket ringdirector-private.socket",
        )
        return
    if entry.kind is not EntryKind.SOCKET:
        yield wrong(f"{path} is not a socket", f"rm {path}; systemctl restart ringdirector.socket")
        return
    if not host.machine.answers(path):
        yield wrong(
            f"nobody listens on {path}: it was left behind",
            "systemctl start ringdirector.socket ringdirector-private.socket ringdirector.service",
        )
    asker = _asker(host, listener)
    if asker is None:
        return
    found = obstacle(host.machine, path, asker, below=login_directory)
    if found is not None:
        where, mode = found
        unit = "ringdirector.socket: DirectoryMode=0755" if where != path else "SocketMode=0666"
        yield wrong(
            f"{asker.name} may not enter {path}: {where} has mode {mode:04o}",
            f"chmod {'0755' if where != path else '0666'} {where}; for good, {unit}",
        )
    else:
        yield fine(f"{path} is there for {asker.name}")


_LOST = {
    Role.LOGIN: "clients whose login process asks there hang",
    Role.AUTHREPLY: "clients whose login process asks there hang",
    Role.USERDB: "lmtp and doveadm fail",
    Role.ADMIN: "the director cannot be asked or told anything",
    Role.RING: "there is no ring",
    Role.NOTIFY: "nobody hears of live users",
    Role.EVENTS: "nobody hears of live users",
}


def _asker(host: Host, listener: Listener) -> Account | None:
    """Return who must reach the listener, None if that is root, who always may."""
    if listener.role is not Role.LOGIN:
        return None
    name = host.dovecot.text("default_login_user") or host.settings.default_login_user
    return host.machine.account(name)


# --- who asks us ------------------------------------------------------------------------------


def check_logins(host: Host) -> Iterator[Finding]:
    """Does each login service ask a socket that is ours?"""
    ours = {
        str(listener.path.relative_to(host.settings.base_dir / LOGIN_FOLDER)): listener.path
        for listener in host.listeners(Role.LOGIN)
        if listener.path is not None
        and listener.path.is_relative_to(host.settings.base_dir / LOGIN_FOLDER)
    }
    if not ours:
        yield wrong(
            "the director has no listener below login/, so no login can ask it",
            "director.conf, service director: unix_listener login/ext/director { mode = 0666 }",
        )
        return
    expected = next(iter(ours))
    for protocol, service in LOGIN_PROTOCOLS.items():
        if protocol not in host.dovecot.protocols:
            continue
        asked, setting = _asked_socket(host.dovecot, protocol, service, expected)
        if asked in ours:
            yield fine(f"{protocol} logins ask {ours[asked]}")
        elif asked.startswith("/"):
            yield wrong(
                f"{protocol} logins ask {asked}, an absolute path, which is looked up inside the "
                "chroot of the login processes",
                setting,
            )
        elif asked:
            yield wrong(f"{protocol} logins ask login/{asked}, which is not ours", setting)
        else:
            yield wrong(f"{protocol} logins do not ask the director", setting)


def _asked_socket(
    dovecot: DovecotFacts, protocol: str, service: str, expected: str
) -> tuple[str, str]:
    """Return which socket below login/ a protocol asks, and the setting that would be right."""
    arguments = [w for w in dovecot.service_text(service, "executable").split()[1:] if w[0] != "-"]
    if dovecot.is_23:
        asked = arguments[0] if arguments else ""
        return asked, f"Dovecot, service {service}: executable = {service} {expected}"
    if arguments:
        fix = f"Dovecot, service {service}: executable = {service}, and login_socket_path = "
        return arguments[0], fix + expected
    asked = dovecot.protocol_text(protocol, "login_socket_path")
    if dovecot.service_text(service, "login_socket_path"):
        return asked, (
            f"Dovecot: login_socket_path = {expected} at the top level; inside service {service} "
            "it is ignored"
        )
    return ("" if asked == "login" else asked), f"Dovecot: login_socket_path = {expected}"


def check_deliveries(host: Host) -> Iterator[Finding]:
    """Do lmtp and doveadm ask us, and do they go where we say?"""
    dovecot = host.dovecot
    sockets = {listener.path for listener in host.listeners(Role.USERDB)}
    name = next((str(path) for path in sockets), "director-userdb")
    for protocol in ("lmtp", "doveadm"):
        if protocol == "lmtp" and "lmtp" not in dovecot.protocols:
            continue
        asked = dovecot.base_dir / dovecot.protocol_text(protocol, "auth_socket_path")
        has_port = dovecot.text("doveadm_port") not in ("", "0")
        if protocol == "doveadm" and asked not in sockets and not has_port:
            yield Finding(Level.NOTE, "doveadm is not proxied: neither port nor socket is set", "")
            continue
        if asked not in sockets:
            yield wrong(
                f"{protocol} asks {asked}, not the director",
                f"Dovecot: protocol {protocol} {{ auth_socket_path = {Path(name).name} }}",
            )
            continue
        if protocol == "lmtp" and dovecot.text("lmtp_proxy") != "yes":
            yield wrong("lmtp asks the director and delivers here", "Dovecot: lmtp_proxy = yes")
        elif protocol == "doveadm" and not has_port:
            yield wrong("doveadm never asks where a user is", "Dovecot: doveadm_port = 24245")
        else:
            yield fine(f"{protocol} asks {asked}")


# --- whom we ask ------------------------------------------------------------------------------


def check_auth(host: Host) -> Iterator[Finding]:
    account = host.account
    pairs = (
        ("auth_login_socket", host.settings.auth_login_socket),
        ("auth_userdb_socket", host.settings.auth_userdb_socket),
    )
    for name, path in pairs:
        entry = host.machine.entry(path)
        if entry is None or not host.machine.answers(path):
            what = "is missing" if entry is None else "is dead: nobody listens"
            usual = path.name if path.name.startswith("auth") else name.replace("_socket", "")
            yield wrong(
                f"the auth service's socket {path} {what}",
                f"director.conf: director_{name} = {usual.replace('_', '-')}, or start Dovecot",
            )
            continue
        if account is None:
            continue
        block = f"unix_listener {path.name} {{ user = {account.name} mode = 0600 }}"
        fix = f"Dovecot: service auth {{ {block} }}, then restart Dovecot"
        if obstacle(host.machine, path, account, below=None) is not None:
            yield wrong(f"{account.name}, our account, may not connect to {path}", fix)
        elif name == "auth_userdb_socket" and not _is_trusted(account, entry.ids):
            yield wrong(
                f"{path} belongs to another account than {account.name}, ours: it answers, but "
                "refuses to say where users are proxied (PASS)",
                fix,
            )
        else:
            yield fine(f"{account.name} may ask {path}")


def _is_trusted(account: Account, ids: tuple[int, int]) -> bool:
    user_id, group_id = ids
    return account.user_id in (0, user_id) or account.group_id == group_id


def check_passdbs(host: Host) -> Iterator[Finding]:
    """Only passdbs whose fields stand in the configuration can be looked at."""
    proxies = False
    for place, fields in host.dovecot.passdb_fields():
        proxies = proxies or "proxy" in fields or "proxy_maybe" in fields
        if "host" in fields:
            yield wrong(
                f"{place} gives host = {fields['host']}: such logins do not ask the director",
                f"Dovecot, {place}: take out host",
            )
    if host.dovecot.has_only_static_passdbs and not proxies:
        yield wrong(
            "no passdb answers proxy=y: every login stays on this machine",
            "Dovecot: passdb static { fields { proxy = yes } }",
        )


def check_service(host: Host) -> Iterator[Finding]:
    """Is the director started by Dovecot's master started rightly, or not at all?"""
    dovecot = host.dovecot
    if not host.is_under_master:
        yield Finding(Level.NOTE, "the director runs beside Dovecot", "")
        return
    yield Finding(Level.NOTE, "the director is a service of Dovecot's master", "")
    wanted = {"process_limit": "1", "process_min_avail": "1"}
    for setting, value in wanted.items():
        got = dovecot.service_text("director", setting)
        if got != value:
            yield wrong(
                f"service director has {setting} = {got}: there must be exactly one director, "
                "always",
                f"Dovecot, service director: {setting} = {value}",
            )
    if dovecot.service_text("director", "chroot"):
        yield wrong(
            "service director has a chroot, where it finds neither itself nor the auth service",
            "Dovecot, service director: chroot =",
        )


def check_snapshot(host: Host) -> Iterator[Finding]:
    path = host.settings.snapshot_path
    if path is None or host.account is None:
        return
    entry = host.machine.entry(path.parent)
    if entry is not None and host.account.may(entry, 0o2):
        yield fine(f"the snapshot can be written to {path.parent}")
        return
    why = "is missing" if entry is None else f"is closed to {host.account.name}"
    yield wrong(
        f"{path.parent} {why}: a restarted director will not remember its users",
        f"install -d -m 0700 -o {host.account.name} -g {host.account.group_name} {path.parent}",
    )


def check_ring(host: Host, status: str | None) -> Iterator[Finding]:
    """Others are left in peace while ours is one of them: they would wonder who asks."""
    if status is None:
        yield wrong(
            "the director does not answer on director-admin",
            "systemctl restart ringdirector; journalctl -u ringdirector",
        )
    own = host.settings.own
    if own is None:
        yield Finding(Level.NOTE, "no ring: director_servers is empty", "")
        return
    is_listening = host.machine.is_listened_on(own.ip, own.port)
    if is_listening:
        yield fine(f"somebody listens on {own}, our own ring port")
    else:
        yield wrong(
            f"nobody listens on {own}, our own ring port",
            f"director.conf: inet_listener ring {{ address = {own.ip} port = {own.port} }}; then "
            "restart the director",
        )
    if is_listening and status == RING_SYNCED:
        yield fine(f"{len(host.settings.directors)} directors are configured; {status}")
        return
    for address in host.settings.directors:
        problem = host.machine.reaches(address.ip, address.port) if address != own else ""
        if problem:
            yield wrong(
                f"the director {address} cannot be reached: {problem}",
                f"start it, or open port {address.port} in the firewall between us",
            )
