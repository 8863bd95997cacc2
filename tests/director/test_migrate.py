"""From `doveconf -n` of a 2.3 director to our configuration, 2.4's, and what to look after."""

from __future__ import annotations

from pathlib import Path

import pytest

from director.config import ConfigError, Section, parse_text
from director.listeners import ListenerKind, Role
from director.migrate import MigrationReport, migrate
from director.settings import ProxyRefresh, load_text
from ring.hashing import HashKind

FIXTURE = Path(__file__).parent / "fixtures" / "doveconf-n-2.3.conf"
MINIMAL = """\
# 2.3.19.1 (9b53102964): /etc/dovecot/dovecot.conf
director_mail_servers = 10.0.0.1
service director {
  unix_listener login/director {
    mode = 0666
  }
}
"""


def findings(text: str) -> list[str]:
    return [str(finding) for finding in migrate(MINIMAL + text).findings]


def proxy_tree(report: MigrationReport) -> Section:
    return parse_text(report.proxy, "proxy", {}, {}).root


def test_our_configuration_keeps_every_setting_of_the_old_ring() -> None:
    before = load_text(FIXTURE.read_text(), "old", can_bind=lambda ip: True)
    report = migrate(FIXTURE.read_text())
    after = load_text(report.configuration, "new", can_bind=lambda ip: True)

    assert after.node_settings() == before.node_settings()
    assert after.username_hash == before.username_hash
    assert after.master_user_separator == before.master_user_separator
    assert after.client_limit == before.client_limit
    assert after.director_hash is HashKind.MD5
    assert "director_hash = md5\n" in report.configuration


def test_sockets_move_to_where_dovecot_24_lets_them_be() -> None:
    after = load_text(migrate(FIXTURE.read_text()).configuration, "new", can_bind=lambda ip: True)
    by_role = {x.role: x for x in after.listeners}

    assert by_role[Role.LOGIN].name == "login/ext/director"
    assert by_role[Role.LOGIN].mode == 0o666
    assert by_role[Role.USERDB].group == "mail"
    assert by_role[Role.RING].port == 9090
    assert not any(x.kind is ListenerKind.FIFO for x in after.listeners)
    assert after.proxy_refresh is ProxyRefresh.NO


def test_proxy_asks_our_sockets_for_each_protocol_that_asked_before() -> None:
    report = migrate(FIXTURE.read_text())
    root = proxy_tree(report)
    sockets = {
        section.label: section.values["login_socket_path"].text
        for section in root.children("protocol")
        if "login_socket_path" in section.values
    }

    assert sockets == dict.fromkeys(("imap", "pop3", "submission", "sieve"), "ext/director")
    for protocol in ("lmtp", "doveadm"):
        section = root.child("protocol", protocol)
        assert section is not None
        assert section.values["auth_socket_path"].text == "director-userdb"
    assert root.values["doveadm_port"].text == "24245"
    imap = root.child("service", "imap-login")
    assert imap is not None
    assert imap.values["restart_request_count"].text == "unlimited"
    assert imap.values["process_min_avail"].text == "8"
    assert "director_" not in report.proxy
    assert not any(line.endswith("{ }") for line in report.proxy.splitlines())


def test_login_service_that_did_not_ask_does_not_ask_now() -> None:
    report = migrate(
        MINIMAL + "service imap-login {\n  executable = imap-login -D\n}\n"
        "service pop3-login {\n  executable = /usr/lib/dovecot/pop3-login -D sub/d\n}\n"
    )
    root = proxy_tree(report)

    assert root.child("protocol", "imap") is None
    pop3 = root.child("protocol", "pop3")
    assert pop3 is not None
    assert pop3.values["login_socket_path"].text == "sub/d"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "doveconf:2:25: Dovecot 2.4 refuses to start with director_* settings; take out "
         "director_mail_servers ("),
        ("", "doveconf:3:1: take out service director"),
        ("service ipc {\n}\n", "doveconf:8:1: take out service ipc"),
        ("service imap-login {\nunix_listener login/ipc-proxy {\n}\n}\n",
         "doveconf:9:1: take out unix_listener login/ipc-proxy"),
        ("service imap-login {\nexecutable = imap-login director\nservice_count = 0\n}\n",
         "doveconf:10:17: service_count of imap-login is called restart_request_count"),
        ("director_consistent_hashing = yes\n", "director_consistent_hashing no longer exists"),
        ("director_doveadm_port = 9095\n", "director_doveadm_port no longer exists: give the"),
        ("master_user_separator = *\n", "master_user_separator is called auth_master_user_separa"),
        ("auth_master_user_separator = *\n", "was not read by directors before 2.3.20"),
        ("passdb {\nargs = proxy=y proxy_always=y\n}\n", "passdb field proxy_always is gone"),
        ("passdb {\noverride_fields = director_proxy_maybe\n}\n", "director_proxy_maybe never"),
        ("passdb {\n}\n", "doveconf:8:1: passdb has another syntax in 2.4"),
        ("director_flush_socket = exec:/bin/flush\n", "it is exec:/run/dovecot/bin/flush now"),
        ("lmtp_proxy = yes\n", "doveconf:8:14: lmtp_proxy is set, but protocol lmtp has no auth"),
        ("protocol doveadm {\nauth_socket_path = x\n}\n", "only with doveadm_port set does it go"),
        ("service director {\nexecutable = director -t 9091\n}\n", "(-D, -t) are not taken over"),
        ("service director {\ninet_listener {\nport = 1\nssl = yes\n}\n}\n", "ssl of this inet_"),
        ("service director {\nfifo_listener login/proxy-notify {\nmode = 0666\n}\n}\n",
         "doveconf:9:1: fifo_listener login/proxy-notify is left out"),
    ],
)  # fmt: skip
def test_removed_piece_is_found_where_it_stands(text: str, expected: str) -> None:
    got = findings(text)

    assert any(expected in finding for finding in got), got


@pytest.mark.parametrize(
    "text",
    [
        "protocol lmtp {\nauth_socket_path = x\n}\nlmtp_proxy = yes\n",
        "director_flush_socket = tcp:10.0.0.9:77\n",
        "service director {\nchroot =\n}\ndirector_flush_socket = unix:/run/flush\n",
        "service imap-login {\nservice_count = 0\n}\n",
        "service director {\nexecutable = director\ninet_listener {\nport = 1\nssl = no\n}\n}\n",
    ],
)
def test_what_stays_as_it_is_is_not_reported(text: str) -> None:
    settings = "director_flush_socket" in text
    got = [f for f in findings(text) if not (settings and "director_* settings" in f)]

    assert len(got) == (1 if settings else 2), got


def test_output_of_something_else_is_named_or_refused() -> None:
    other = migrate(MINIMAL.replace("2.3.19.1", "2.2.36"))
    assert "got the output of Dovecot 2.2.36, expected that of 2.3" in str(other.findings[0])

    unknown = migrate(MINIMAL.partition("\n")[2])
    assert "expected the output of doveconf -n" in str(unknown.findings[0])

    with pytest.raises(ConfigError, match="director_mail_servers: got nothing"):
        migrate("# 2.3.19.1 (x)\nprotocols = imap\n")
