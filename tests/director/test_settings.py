"""From configuration text to settings: defaults, bounds, refusals, overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from director.config import ConfigError
from director.settings import (
    KickMethod,
    LogFormat,
    ProxyRefresh,
    Settings,
    load,
    load_text,
    parse_flush_socket,
)
from ring.address import IpAddress, parse_ip
from ring.errors import ValueRefused
from ring.hashing import HashKind

HOSTS = "director_mail_servers = 10.0.0.1 10.0.0.2@hot\n"
NAMES = {"mail.example": ["10.0.0.8", "10.0.0.9"]}


def resolve(name: str) -> Sequence[IpAddress]:
    return [parse_ip(text) for text in NAMES.get(name, [])]


def settings(text: str) -> Settings:
    return load_text(text, "t.conf", resolve=resolve)


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        settings(text)
    return str(caught.value)


def test_defaults_are_the_classic_ones() -> None:
    found = settings(HOSTS)

    assert Path("/run/dovecot") == found.base_dir
    assert found.username_hash.text == "%Lu"
    assert HashKind.MD5 is found.director_hash
    assert (
        found.user_expire_s,
        found.user_kick_delay_s,
        found.ping_idle_timeout_s,
        found.ping_max_timeout_s,
    ) == (900, 2, 30, 60)
    assert (
        found.max_parallel_moves,
        found.max_parallel_kicks,
        found.output_buffer_bytes,
    ) == (100, 100, 10 * 2**20)
    assert (
        found.flush_socket,
        found.master_user_separator,
        found.own,
        found.directors,
    ) == ("", b"", None, ())
    assert LogFormat.TEXT is found.log_format
    assert KickMethod.AUTO is found.kick
    assert ProxyRefresh.AUTO is found.proxy_refresh
    assert Path("/run/dovecot/auth-login") == found.auth_login_socket
    assert Path("/run/dovecot/auth-userdb") == found.auth_userdb_socket
    assert (found.snapshot_path, found.snapshot_interval_s) == (None, 0)
    assert (
        found.default_internal_user,
        found.default_login_user,
        found.user,
        found.chroot,
        found.client_limit,
    ) == ("dovecot", "dovenull", "dovecot", None, 1000)


def test_node_settings_carry_what_the_node_decides_by() -> None:
    found = settings(
        "director_mail_servers = mail.example@t\ndirector_hash = murmur3\n"
        "director_user_expire = 1 h\ndirector_flush_socket = unix:/flush\n"
    )
    node = found.node_settings()

    assert [str(host.ip) for host in node.hosts] == ["10.0.0.8", "10.0.0.9"]
    assert node.hosts[0].hostname == b"mail.example"
    assert node.hosts[1].tag == b"t"
    assert (
        node.director_hash,
        node.user_expire_s,
        node.has_flush_program,
        node.own,
    ) == ("murmur3", 3600, True, None)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("director_user_expire = 60", "2:24: director_user_expire: got '60' without a unit"),
        ("director_user_expire = 9 s", "got '9 s', expected a time, 10 or more seconds"),
        ("director_user_expire = 1h30m", "got '1h30m', expected a whole number and a unit"),
        ("director_user_kick_delay = 200ms", "got '200ms' in milliseconds"),
        ("director_max_parallel_moves = -1", "got '-1', expected a whole number"),
        ("director_output_buffer_size = 10X", "got '10X', expected a size like"),
        ("director_hash = sha1", "got 'sha1', expected one of ('md5', 'murmur3')"),
        ("director_username_hash = %Q", "director_username_hash: "),
        ("director_flush_socket = /bin/x", "'/bin/x' does not say how to reach the flush program"),
        ("director_snapshot_path = x", "got 'x', expected an absolute path"),
        ("director_auth_login_socket =", "got nothing, expected a path"),
        ("base_dir = run", "got 'run', expected an absolute path"),
        ("director_mail_servers = nowhere", "director_mail_servers: "),
        ("director_mail_servers = ", "got nothing, expected the addresses of the backends"),
        ("director_mail_severs = 1.1.1.1", "got the unknown setting director_mail_severs, "
         "expected perhaps director_mail_servers"),
        ("director_doveadm_port = 24245", "director_doveadm_port no longer exists: give the"),
        ("director_consistent_hashing = yes", "no longer exists"),
        ("director_user_expire = $nosuch", "got the unknown variable $nosuch"),
    ],
)  # fmt: skip
def test_bad_value_is_refused_with_place_and_expectation(line: str, message: str) -> None:
    got = refusal(HOSTS + line)

    assert got.startswith("t.conf:2:")
    assert message in got


def test_settings_of_others_are_ignored() -> None:
    found = settings(
        HOSTS + "mail_location = $nosuch\nprotocol lmtp {\n  director_bogus = 1\n}\n"
        "ssl_key = </no/such\nplugin {\n  director_x = y\n}\n"
    )

    assert found.user_expire_s == 900


# --- single settings --------------------------------------------------------------------------


def test_separator_is_one_byte_and_the_new_name_wins() -> None:
    found = settings(HOSTS + "master_user_separator = *x\n")
    assert found.master_user_separator == b"*"

    found = settings(HOSTS + "master_user_separator = *\nauth_master_user_separator = +")
    assert found.master_user_separator == b"+"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unix:flush-%i",
        "unix:/run/%i.sock",
        "tcp:%{host}:77",
        "tcp:[%{ip}]:77",
        "exec:/bin/flush %h 100%%",
    ],
)
def test_flush_socket_is_taken_as_written(text: str) -> None:
    assert text == parse_flush_socket(text)


@pytest.mark.parametrize("text", ["unix:", "tcp:host", "http://x", "exec:/x %u", "unix:/x%"])
def test_bad_flush_socket_is_refused(text: str) -> None:
    with pytest.raises(ValueRefused):
        parse_flush_socket(text)


def test_our_own_settings_are_read() -> None:
    found = settings(
        HOSTS + "director_log_format = json\ndirector_kick = ANVIL\ndirector_proxy_refresh = no\n"
        "director_snapshot_path = /var/lib/d/snapshot\n"
        "director_snapshot_interval = 60 s\ndirector_auth_login_socket = /x/auth\n"
    )

    assert LogFormat.JSON is found.log_format
    assert KickMethod.ANVIL is found.kick
    assert ProxyRefresh.NO is found.proxy_refresh
    assert (Path("/var/lib/d/snapshot"), 60) == (found.snapshot_path, found.snapshot_interval_s)
    assert Path("/x/auth") == found.auth_login_socket


# --- environment and options ------------------------------------------------------------------


def loaded(path: Path | None, overrides: Mapping[str, str], environ: Mapping[str, str]) -> Settings:
    return load(path, overrides, environ, resolve=resolve)


def test_options_win_over_environment_over_file(tmp_path: Path) -> None:
    path = tmp_path / "d.conf"
    path.write_text(HOSTS + "director_user_expire = 1 min\ndirector_hash = murmur3\n")
    found = loaded(
        path,
        {"director_user_expire": "3 min", "service/director/client_limit": "7"}
        | {"service/director/unix_listener/login\\sdirector/mode": "0666"},
        {"DIRECTOR_USER_EXPIRE": "2 min", "DIRECTOR_MAX_PARALLEL_MOVES": "5", "HOME": "/"},
    )

    assert (found.user_expire_s, found.max_parallel_moves, found.client_limit) == (180, 5, 7)
    assert HashKind.MURMUR3 is found.director_hash


def test_environment_alone_is_enough() -> None:
    found = loaded(None, {}, {"DIRECTOR_MAIL_SERVERS": "10.0.0.1", "DIRECTOR_BASE_DIR": "/d"})

    assert (str(found.base_dir), str(found.hosts[0].ip)) == ("/d", "10.0.0.1")


def test_environment_may_hold_whole_sections() -> None:
    text = (
        "director_mail_servers = 10.0.0.1\nservice director {\n"
        "unix_listener login/x {\nmode = 0666\n}\n}\n"
    )
    found = loaded(None, {}, {"DIRECTOR_CONFIG_TEXT": text, "DIRECTOR_MAIL_SERVERS": "10.0.0.2"})

    assert "login/x" in [listener.name for listener in found.listeners]
    assert str(found.hosts[0].ip) == "10.0.0.2"


def test_environment_of_other_people_is_ignored() -> None:
    found = loaded(
        None,
        {"director_mail_servers": "10.0.0.1"},
        {"DIRECTOR_SERVICE_HOST": "x", "DIRECTOR_PORT": "tcp://x", "DIRECTOR_CONFIG": "/x"},
    )

    assert len(found.hosts) == 1


FOUND = {"DIRECTOR_MAIL_SERVERS": "10.0.0.1"}


@pytest.mark.parametrize(
    ("overrides", "environ", "message"),
    [
        ({"director_hsh": "x"}, {}, "option -o director_hsh: got the unknown setting"),
        ({"director_hash": "x"}, FOUND, "option -o director_hash: director_hash: got 'x'"),
        ({}, {"DIRECTOR_USER_EXPIR": "1 s"}, "environment variable DIRECTOR_USER_EXPIR: got the "
         "unknown setting director_user_expir, expected perhaps director_user_expire"),
        ({}, FOUND | {"DIRECTOR_KICK": "x"}, "variable DIRECTOR_KICK: director_kick: got 'x'"),
        ({}, {}, "defaults: director_mail_servers: got nothing"),
    ],
)  # fmt: skip
def test_refused_override_names_itself(
    overrides: dict[str, str], environ: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(None, overrides, environ)

    assert message in str(caught.value)
