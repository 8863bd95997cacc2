"""Dovecot's settings as doveconf tells them, and what is really there."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from director.facts import (
    DoveconfFailed,
    EntryKind,
    LocalMachine,
    doveconf,
    obstacle,
    read_dovecot,
)
from ring.address import parse_ip
from tests.director.doctored import (
    BASE,
    DOVECOT_23,
    DOVECOT_24,
    DOVENULL_ID,
    FakeMachine,
    account,
    directory,
    dovecot,
    unix_socket,
)

COMPLETE = """\
service imap-login {
  user = $SET:default_login_user
  restart_request_count = 1
}
"""


def answering(*arguments: str) -> str:
    """Answer as 2.4's doveconf does: built-in services only when they are named."""
    if arguments == ("-a",):
        return "# 2.4.1-4 (7d8c0e5759): /etc/dovecot/dovecot.conf\n" + DOVECOT_24
    if arguments == ("base_dir",):
        return "base_dir = /run/dovecot\n"
    if arguments[0] == "-h":
        return {"protocol=imap": "ext/director\n"}.get(arguments[2], "\n")
    return COMPLETE


def test_doveconf_is_asked_for_services_and_hidden_settings() -> None:
    facts = read_dovecot(answering)

    assert facts.version == "2.4.1"
    assert facts.number == (2, 4, 1)
    assert not facts.is_23
    assert facts.base_dir == Path(BASE)
    assert facts.protocols == {"imap", "lmtp"}
    assert facts.service_text("imap-login", "restart_request_count") == "1"
    assert facts.service_text("imap-login", "user") == "dovenull"
    assert facts.protocol_text("imap", "login_socket_path") == "ext/director"
    assert facts.protocol_text("pop3", "login_socket_path") == ""
    assert facts.protocol_text("lmtp", "auth_socket_path") == "director-userdb"
    assert facts.protocol_text("imap", "doveadm_port") == "24245"
    assert facts.service_text("nonesuch", "user") == ""
    assert not facts.starts_director


def test_what_is_no_doveconf() -> None:
    with pytest.raises(DoveconfFailed, match="expected a line with its version"):
        read_dovecot(lambda *arguments: "hello\n")
    with pytest.raises(DoveconfFailed, match="expected"):
        read_dovecot(lambda *arguments: "# 2.4.1\nservice {{\n")


def test_protocols_as_a_block() -> None:
    block = "protocols {\n  imap = yes\n  lmtp = no\n}\n"
    facts = dovecot(DOVECOT_24.replace("protocols = imap lmtp\n", block))

    assert facts.protocols == {"imap"}


def test_fields_of_passdbs_in_both_spellings() -> None:
    modern = dovecot(DOVECOT_24 + "protocol imap {\n  passdb sql {\n  }\n}\n")
    classic = dovecot(
        DOVECOT_23 + "passdb {\n  driver = static\n  args = proxy=y host=10.0.0.10\n}\n"
    )

    assert list(modern.passdb_fields()) == [
        ("passdb static", {"proxy": "yes"}),
        ("protocol imap, passdb sql", {}),
    ]
    assert modern.has_only_static_passdbs
    assert list(classic.passdb_fields()) == [("passdb static", {"proxy": "y", "host": "10.0.0.10"})]


def test_only_enabled_listeners_count() -> None:
    text = (
        "service director {\n  unix_listener login/director {\n    mode = 0\n  }\n"
        "  unix_listener director-admin {\n    mode = 0600\n  }\n"
        "  unix_listener director-userdb {\n  }\n}\n"
    )
    facts = dovecot(DOVECOT_24 + text)

    assert facts.director_listeners("unix_listener") == ["director-admin", "director-userdb"]
    assert not facts.starts_director


def test_rights_are_those_of_the_first_class_that_fits() -> None:
    member = account("dovenull", DOVENULL_ID)

    assert member.may(directory(0o750, 0, DOVENULL_ID), 0o1)
    assert not member.may(directory(0o740, 0, DOVENULL_ID), 0o1)
    assert not member.may(directory(0o077, DOVENULL_ID), 0o1)
    assert member.may(unix_socket(0o602), 0o2)
    assert account("root", 0).may(unix_socket(0), 0o2)


def test_obstacle_is_the_first_on_the_way() -> None:
    machine = FakeMachine()
    path = Path(BASE, "login/ext/director")
    stranger = account("stranger", 4711)
    inside = obstacle(machine, path, stranger, below=Path(BASE, "login"))

    assert obstacle(machine, path, stranger, below=None) == (Path(BASE, "login"), 0o750)
    assert inside is None


def test_doveconf_that_fails_or_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DoveconfFailed, match="cannot be run"):
        doveconf(str(tmp_path / "missing"), None)("-a")
    program = tmp_path / "doveconf"
    program.write_text('#!/bin/sh\necho "$@" $0 >&2\nexit 89\n')
    program.chmod(0o755)
    with pytest.raises(DoveconfFailed, match=r"-c /x\.conf -a"):
        doveconf(str(program), Path("/x.conf"))("-a")
    program.write_text("#!/bin/sh\necho $#\n")

    assert doveconf(str(program), None)("-a") == "1\n"


def test_the_real_machine(tmp_path: Path) -> None:
    machine = LocalMachine()
    path, fifo = tmp_path / "socket", tmp_path / "fifo"
    os.mkfifo(fifo)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket() as inet:
        listener.bind(str(path))
        path.chmod(0o640)

        assert not machine.answers(path)
        listener.listen()
        assert machine.answers(path)
        entry = machine.entry(path)
        assert entry is not None
        assert (entry.kind, entry.mode) == (EntryKind.SOCKET, 0o640)
        inet.bind(("127.0.0.1", 0))
        port = inet.getsockname()[1]
        assert machine.reaches(parse_ip("127.0.0.1"), port) == "Connection refused"
        assert not machine.is_listened_on(parse_ip("127.0.0.2"), port)
        inet.listen()
        assert machine.is_listened_on(parse_ip("127.0.0.1"), port)
        assert machine.reaches(parse_ip("127.0.0.1"), port) == ""
    assert not machine.has_reader(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    assert machine.has_reader(fifo)
    os.close(reader)
    found = machine.entry(fifo)
    assert found is not None
    assert found.kind is EntryKind.FIFO
    assert machine.entry(tmp_path / "nothing") is None
    assert machine.account("no such account") is None
    root = machine.account("root")
    assert root is not None
    assert root.user_id == 0
