"""A machine and a Dovecot made of values, healthy until a test spoils something."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

from director.config import parse_text
from director.definitions import VARIABLES
from director.facts import Account, DovecotFacts, Entry, EntryKind, Finding, Level
from director.settings import Settings, load_text
from ring.address import IpAddress, parse_ip

BASE = "/run/dovecot"
DOVECOT_ID, DOVENULL_ID, VMAIL_ID = 100, 101, 5000

OURS = """\
director_mail_servers = 10.0.0.10
service director {
  unix_listener login/ext/director {
    mode = 0666
  }
  unix_listener director-userdb {
    mode = 0600
  }
}
"""

DOVECOT_24 = """\
base_dir = /run/dovecot
protocols = imap lmtp
default_login_user = dovenull
lmtp_proxy = yes
doveadm_port = 24245
passdb static {
  fields {
    proxy = yes
  }
}
protocol lmtp {
  auth_socket_path = director-userdb
}
protocol doveadm {
  auth_socket_path = director-userdb
}
service imap-login {
  executable = imap-login
  restart_request_count = unlimited
}
"""

DOVECOT_23 = """\
base_dir = /run/dovecot
protocols = imap
default_login_user = dovenull
doveadm_port = 24245
protocol doveadm {
  auth_socket_path = director-userdb
}
service imap-login {
  executable = imap-login ext/director
}
"""


def settings(text: str = OURS) -> Settings:
    return load_text(
        text, "director.conf", resolve=lambda name: [parse_ip("10.0.0.1")], can_bind=lambda ip: True
    )


def dovecot(
    text: str = DOVECOT_24,
    *,
    version: str = "2.4.1",
    socket_paths: Mapping[str, str] | None = None,
) -> DovecotFacts:
    config = parse_text(text, "doveconf", VARIABLES, {})
    return DovecotFacts(
        version=version,
        config=config,
        base_dir=Path(BASE),
        services={section.label: section for section in config.root.children("service")},
        socket_paths={"imap": "ext/director"} if socket_paths is None else socket_paths,
    )


def account(name: str, user_id: int, *group_ids: int) -> Account:
    return Account(
        name=name,
        user_id=user_id,
        group_id=user_id,
        group_name=name,
        group_ids=frozenset({user_id, *group_ids}),
    )


def unix_socket(mode: int, owner: int = 0, group: int = 0) -> Entry:
    return Entry(kind=EntryKind.SOCKET, mode=mode, ids=(owner, group))


def directory(mode: int, owner: int = 0, group: int = 0) -> Entry:
    return Entry(kind=EntryKind.DIRECTORY, mode=mode, ids=(owner, group))


@attrs.define(eq=False)
class FakeMachine:
    """`dead` sockets are there and refuse; `unreachable` are addresses nobody answers on."""

    entries: dict[str, Entry] = attrs.Factory(
        lambda: {
            f"{BASE}": directory(0o755),
            f"{BASE}/login": directory(0o750, 0, DOVENULL_ID),
            f"{BASE}/login/ext": directory(0o755),
            f"{BASE}/login/ext/director": unix_socket(0o666),
            f"{BASE}/director-admin": unix_socket(0o600, DOVECOT_ID),
            f"{BASE}/director-userdb": unix_socket(0o600, DOVECOT_ID),
            f"{BASE}/auth-login": unix_socket(0o600, DOVECOT_ID),
            f"{BASE}/auth-userdb": unix_socket(0o666, DOVECOT_ID, DOVECOT_ID),
            f"{BASE}/anvil": unix_socket(0o660, 0, DOVECOT_ID),
            f"{BASE}/ipc": unix_socket(0o600, DOVECOT_ID),
            f"{BASE}/master": unix_socket(0o600),
        }
    )
    accounts: dict[str, Account] = attrs.Factory(
        lambda: {
            "root": account("root", 0),
            "dovecot": account("dovecot", DOVECOT_ID),
            "dovenull": account("dovenull", DOVENULL_ID),
            "vmail": account("vmail", VMAIL_ID),
        }
    )
    dead: set[str] = attrs.Factory(set)
    unread: set[str] = attrs.Factory(set)
    unreachable: dict[str, str] = attrs.Factory(dict)
    has_ring_port: bool = True

    def entry(self, path: Path) -> Entry | None:
        return self.entries.get(str(path))

    def account(self, name: str) -> Account | None:
        return self.accounts.get(name)

    def answers(self, path: Path) -> bool:
        return str(path) in self.entries and str(path) not in self.dead

    def has_reader(self, path: Path) -> bool:
        return str(path) not in self.unread

    def is_listened_on(self, ip: IpAddress, port: int) -> bool:
        return self.has_ring_port

    def reaches(self, ip: IpAddress, port: int) -> str:
        return self.unreachable.get(str(ip), "")


def wrongs(findings: list[Finding]) -> dict[str, str]:
    """Return what is wrong, with its fix."""
    return {f.text: f.fix for f in findings if f.level is Level.WRONG}
