"""The example configurations load, and say everything about every setting."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from director.cli.check_config import comment
from director.definitions import DEFINITIONS, Definition
from director.listeners import Role
from director.settings import Settings, load, load_text
from ring.address import parse_ip
from ring.hashing import HashKind

CONF = Path(__file__).parents[2] / "conf"
STANDALONE = CONF / "standalone" / "director.conf"
DROP_IN = CONF / "dovecot-2.3" / "10-director.conf"
PROXY_24 = CONF / "dovecot-2.4" / "director.conf"
FIXTURE = Path(__file__).parent / "fixtures" / "doveconf-n-2.3.conf"


def read(path: Path) -> Settings:
    return load(path, {}, {}, resolve=lambda name: [], can_bind=lambda ip: True)


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.name)
def test_setting_is_documented_where_it_is_defined_and_in_conf(definition: Definition) -> None:
    text = STANDALONE.read_text()
    expected = comment(definition)
    assert expected in text, f"conf/standalone/director.conf lacks:\n{expected}"
    following = text[text.index(expected) + len(expected) :].lstrip("\n").splitlines()[0]

    assert following.lstrip("#").startswith(f"{definition.name} =")


def test_standalone_example_is_for_a_new_ring_beside_dovecot() -> None:
    settings = read(STANDALONE)

    assert settings.director_hash is HashKind.MURMUR3
    assert [str(x) for x in settings.listeners] == [
        "/run/dovecot/director-admin",
        "/run/dovecot/director-userdb",
        "/run/dovecot/login/ext/director",
    ]


def test_standalone_example_with_all_its_examples_in_force_loads() -> None:
    """Goal: what stands behind a single # is good too. Method: take the # away."""
    text = re.sub(r"(?m)^(\s*)#(?=\w+ =|\w+ \w+ \{$|  \w+ = |\}$)", r"\1", STANDALONE.read_text())
    settings = load_text(text, "t.conf", can_bind=lambda ip: True)

    assert settings.own is not None
    assert settings.own.ip == parse_ip("10.0.0.1")
    assert settings.flush_socket


def test_drop_in_for_dovecot_23_keeps_its_hash_and_its_sockets() -> None:
    settings = read(DROP_IN)

    assert settings.director_hash is HashKind.MD5
    assert {x.role for x in settings.listeners} == {
        Role.LOGIN,
        Role.USERDB,
        Role.ADMIN,
        Role.NOTIFY,
        Role.RING,
    }


def test_proxy_of_24_asks_where_the_standalone_director_listens(tmp_path: Path) -> None:
    """Goal: both halves of a 2.4 installation fit. Method: read both, compare the paths."""
    lines = PROXY_24.read_text().splitlines()
    login = next(x.partition("= ")[2] for x in lines if x.startswith("login_socket_path"))
    userdb = next(x.partition("= ")[2] for x in lines if "auth_socket_path" in x)
    names = {x.role: x.name for x in read(STANDALONE).listeners}

    assert names[Role.LOGIN] == f"login/{login}"
    assert names[Role.USERDB] == userdb
    assert not any(x.startswith("director_") for x in lines)


@pytest.mark.parametrize("file", sorted((CONF / "systemd").glob("*.socket")), ids=lambda f: f.name)
def test_sockets_of_systemd_outlive_the_daemon(file: Path) -> None:
    """A login process that finds no socket never asks again; so no restart may touch them."""
    names = {line.partition("=")[0] for line in file.read_text().splitlines()}

    assert not names & {"PartOf", "BindsTo", "StopPropagatedFrom", "RemoveOnStop"}


def test_output_of_doveconf_of_a_23_director_loads_unchanged() -> None:
    settings = read(FIXTURE)

    assert (settings.user_expire_s, settings.max_parallel_moves) == (1200, 200)
    assert len(settings.hosts) == 12
    assert [str(d) for d in settings.directors] == [
        "10.1.0.11:9090",
        "10.1.0.12:9090",
        "10.1.0.13:9091",
    ]
    assert str(settings.own) == "10.1.0.11:9090"
    assert settings.master_user_separator == b"*"
    assert settings.flush_socket == "unix:/run/flush/%{ip}.sock"
    assert [(x.role, str(x), f"{x.mode:04o}", x.user, x.group) for x in settings.listeners] == [
        (Role.ADMIN, "/run/dovecot/director-admin", "0660", "", "adm"),
        (Role.USERDB, "/run/dovecot/director-userdb", "0660", "", "mail"),
        (Role.LOGIN, "/run/dovecot/login/director", "0666", "", ""),
        (Role.NOTIFY, "/run/dovecot/login/proxy-notify", "0600", "dovenull", ""),
        (Role.RING, "inet 10.1.0.11 9090", "0000", "", ""),
        (Role.ADMIN, "doveadm 127.0.0.1 9095", "0000", "", ""),
    ]
