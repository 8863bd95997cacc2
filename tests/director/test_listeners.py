"""Which sockets a `service director` section opens, and what is spoken there."""

from __future__ import annotations

from pathlib import Path

import pytest

from director.config import ConfigError
from director.listeners import Listener, ListenerKind, Role
from director.settings import Settings, load_text
from ring.address import parse_ip

HOSTS = "director_mail_servers = 10.0.0.1 10.0.0.2@hot\n"
NAMES = {"ring.example": ["10.9.0.1", "10.9.0.2"]}


def settings(text: str) -> Settings:
    return load_text(
        text, "t.conf", resolve=lambda name: [parse_ip(ip) for ip in NAMES.get(name, [])]
    )


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        settings(text)
    return str(caught.value)


def service(text: str) -> str:
    return HOSTS + "service director {\n" + text + "\n}\n"


def by_role(found: Settings, role: Role) -> list[str]:
    return [str(listener) for listener in found.listeners if listener.role is role]


def test_without_a_service_section_the_usual_sockets_are_opened() -> None:
    found = settings(HOSTS + "base_dir = /d\n")

    assert [(x.kind, x.role, str(x.path), x.mode) for x in found.listeners] == [
        (ListenerKind.UNIX, Role.ADMIN, "/d/director-admin", 0o600),
        (ListenerKind.UNIX, Role.USERDB, "/d/director-userdb", 0o600),
        (ListenerKind.UNIX, Role.LOGIN, "/d/login/director", 0o666),
        (ListenerKind.FIFO, Role.NOTIFY, "/d/login/proxy-notify", 0o666),
    ]


def test_service_section_changes_the_built_in_listeners() -> None:
    found = settings(
        service(
            "unix_listener login/director {\n mode = 0666\n user = $default_login_user\n}\n"
            "unix_listener director-admin {\n mode = 0\n}\n"
            "unix_listener director-userdb {\n}\n"
            "client_limit = 5000\nuser = mail\nchroot = .\n"
        )
    )

    assert [
        Listener(
            kind=ListenerKind.UNIX,
            role=Role.USERDB,
            name="director-userdb",
            path=Path("/run/dovecot/director-userdb"),
            mode=0o600,
        ),
        Listener(
            kind=ListenerKind.UNIX,
            role=Role.LOGIN,
            name="login/director",
            path=Path("/run/dovecot/login/director"),
            mode=0o666,
            user="dovenull",
        ),
    ] == list(found.listeners)
    assert (5000, "mail", Path("/run/dovecot")) == (found.client_limit, found.user, found.chroot)


LOGIN = "unix_listener login/director {\nmode = 0666\n}\n"


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("login/director", Role.LOGIN),
        ("x-auth", Role.LOGIN),
        ("director-userdb", Role.USERDB),
        ("userdb", Role.USERDB),
        ("a/b-authreply", Role.AUTHREPLY),
        ("director-admin", Role.ADMIN),
        ("x-doveadm", Role.ADMIN),
        ("x-ring", Role.RING),
        ("x-notify", Role.NOTIFY),
    ],
)
def test_last_word_of_the_name_selects_the_protocol(name: str, role: Role) -> None:
    found = settings(service(f"unix_listener {name} {{\nmode = 0666\n}}\n{LOGIN}"))

    assert [role] == [x.role for x in found.listeners if x.name == name]


def test_inet_listeners_listen_on_each_address() -> None:
    found = settings(
        "listen = *\n"
        + service(
            LOGIN + "inet_listener {\nport = 9090\n}\n"
            "inet_listener doveadm {\naddress = 10.9.0.2, [fd00::1]\nport = 24245\n}\n"
            "inet_listener off {\nport = 0\n}\ninet_listener x-userdb {\nport = 7\n"
            "address = ring.example\n}\n"
        )
    )

    assert by_role(found, Role.RING) == ["inet 0.0.0.0 9090"]
    assert [name for name in by_role(found, Role.ADMIN) if name.startswith("doveadm")] == [
        "doveadm 10.9.0.2 24245",
        "doveadm fd00::1 24245",
    ]
    assert by_role(found, Role.USERDB) == ["x-userdb 10.9.0.1 7", "x-userdb 10.9.0.2 7"]


def test_fifo_is_for_notify_whatever_its_name() -> None:
    found = settings(service(LOGIN + "fifo_listener login/x-admin {\nmode = 0600\n}\n"))

    assert by_role(found, Role.NOTIFY) == ["/run/dovecot/login/x-admin"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.conf:2:1: service director: got no enabled listener for logins"),
        ("unix_listener login/director {\nmode = 666\n}", "4:8: mode: got '666', expected "
         "permissions like 0666 or 0600 (a leading 0 is missing: 0666?)"),
        ("unix_listener login/director {\nmode = rw\n}", "mode: got 'rw'"),
        ("unix_listener {\nmode = 0666\n}", "3:1: got a unix_listener without a name"),
        ("inet_listener {\nport = 70000\n}", "4:8: port: got '70000', expected a port"),
        ("inet_listener {\nport = 1\naddress = nowhere\n}", "address: got 'nowhere', expected an"),
        (LOGIN + "client_limit = many", "6:16: client_limit: got 'many'"),
    ],
)  # fmt: skip
def test_bad_service_section_is_refused(text: str, message: str) -> None:
    assert message in refusal(service(text))
