"""The part of `doctor.py` about sessions: can we close them, and do we hear that they live?

dovecot-2.4-lab.md sections 5 and 6. Up to 2.4.4 anvil says that it kicked and did not where login
processes serve one client each; there only root can end a session, over the process's own socket.
"""

from __future__ import annotations

from collections.abc import Iterator

from director.facts import Account, DovecotFacts, Finding, Level, Machine, obstacle
from director.listeners import Role
from director.settings import KickMethod, ProxyRefresh, Settings

LOGIN_SERVICES = ("imap-login", "pop3-login", "submission-login", "managesieve-login")
KICKS_WORK_SINCE = (2, 4, 5)


def check_kicks(
    settings: Settings, dovecot: DovecotFacts, machine: Machine, account: Account | None
) -> Iterator[Finding]:
    method = settings.kick
    if method is KickMethod.AUTO:
        method = KickMethod.IPC if dovecot.is_23 else KickMethod.ANVIL
    yield Finding(Level.NOTE, f"sessions are closed through {method.value}", "")
    if method is KickMethod.NONE:
        text = "director_kick = none: a moved user's old sessions stay on the old backend"
        yield Finding(Level.WRONG, text, "director.conf: director_kick = auto")
        return
    if (method is KickMethod.IPC) != dovecot.is_23:
        right = "ipc" if dovecot.is_23 else "anvil"
        text = f"director_kick = {method.value}, but Dovecot {dovecot.version} is kicked by {right}"
        yield Finding(Level.WRONG, text, "director.conf: director_kick = auto")
        return
    path = settings.base_dir / method.value
    if machine.entry(path) is None:
        yield Finding(Level.WRONG, f"{path} is missing", "systemctl restart dovecot")
    elif account is not None and obstacle(machine, path, account, below=None) is not None:
        block = f"unix_listener {method.value} {{ mode = 0660 group = {account.group_name} }}"
        yield Finding(
            Level.WRONG,
            f"{account.name}, our account, may not connect to {path}: no session can be closed",
            f"Dovecot: service {method.value} {{ {block} }}, then restart (not reload) Dovecot",
        )
    else:
        yield Finding(Level.FINE, f"we may connect to {path}", "")
    if method is KickMethod.ANVIL and (account is None or account.user_id != 0):
        yield from _check_process_modes(dovecot)


def _check_process_modes(dovecot: DovecotFacts) -> Iterator[Finding]:
    if dovecot.number >= KICKS_WORK_SINCE:
        return
    for service in LOGIN_SERVICES:
        protocol = "sieve" if service == "managesieve-login" else service.removesuffix("-login")
        if protocol not in dovecot.protocols:
            continue
        if dovecot.service_text(service, "restart_request_count") == "1":
            yield Finding(
                Level.WRONG,
                f"{service} serves one client per process: up to 2.4.4 it says yes to a kick and "
                "does nothing",
                f"Dovecot: service {service} {{ restart_request_count = unlimited "
                "client_limit = 2000 process_min_avail = 4 }; or run the director as root",
            )


def check_refresh(
    settings: Settings, dovecot: DovecotFacts, machine: Machine, account: Account | None
) -> Iterator[Finding]:
    """From where are live users known: FIFO, list, or events, in this order?"""
    fifos = [item.path for item in settings.listeners if item.role is Role.NOTIFY and item.path]
    if settings.proxy_refresh is ProxyRefresh.NO or (
        settings.proxy_refresh is ProxyRefresh.AUTO and not fifos
    ):
        if _can_list(settings, machine, account, "ipc" if dovecot.is_23 else "anvil"):
            text = "live users are known from Dovecot's own list of sessions, asked for regularly"
            yield Finding(Level.NOTE, text, "")
        else:
            yield _check_events(settings, dovecot)
        return
    where = ", ".join(map(str, fifos))
    yield Finding(Level.NOTE, f"live users are known from what is written to {where}", "")
    if not fifos:
        yield Finding(
            Level.WRONG,
            "director_proxy_refresh = yes, but the director reads no FIFO: login processes that "
            "write to it freeze",
            "director.conf: director_proxy_refresh = auto",
        )
    for fifo in fifos:
        if not machine.has_reader(fifo):
            yield Finding(
                Level.WRONG,
                f"nobody reads {fifo}: login processes that write to it freeze",
                "start the director, or director.conf: director_proxy_refresh = no",
            )


def _can_list(settings: Settings, machine: Machine, account: Account | None, name: str) -> bool:
    path = settings.base_dir / name
    if settings.kick is KickMethod.NONE or machine.entry(path) is None:
        return False
    return account is None or obstacle(machine, path, account, below=None) is None


def _check_events(settings: Settings, dovecot: DovecotFacts) -> Finding:
    """The list of sessions is closed to us: are we told when they begin and end?"""
    paths = [item.path for item in settings.listeners if item.role is Role.EVENTS and item.path]
    if not paths:
        text = "live users are not known: everybody is forgotten some time after the last login"
        return Finding(Level.NOTE, text, "")
    if dovecot.exported_to().intersection(paths):
        text = f"live users are known from the sessions that Dovecot exports to {paths[0]}"
        return Finding(Level.NOTE, text, "")
    return Finding(
        Level.WRONG,
        f"nobody exports sessions to {paths[0]}, so live users are not known",
        "Dovecot: event_exporter director { driver = unix format = json "
        f"unix_path = {paths[0]} }}, metric director_sessions {{ exporter = director "
        "exporter_include = name fields filter = event=proxy_session_established OR "
        "event=proxy_session_finished }",
    )
