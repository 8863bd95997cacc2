"""Each mistake alone on a healthy machine: found, and the line to change named."""

from __future__ import annotations

from director import doctor
from director.facts import DovecotFacts, Finding
from director.settings import Settings
from tests.director.doctored import (
    BASE,
    DOVECOT_23,
    DOVECOT_24,
    DOVECOT_ID,
    OURS,
    VMAIL_ID,
    FakeMachine,
    directory,
    dovecot,
    settings,
    unix_socket,
    wrongs,
)

RING = OURS.replace(
    "service director {",
    "director_servers = 10.0.0.1 10.0.0.2\n"
    "service director {\n  inet_listener ring {\n    address = 10.0.0.1\n    port = 9090\n  }",
)
UNDER_MASTER = (
    DOVECOT_24
    + """\
service director {
  user = $SET:default_internal_user
  process_limit = 1
  process_min_avail = 1
  unix_listener login/director {
    mode = 0666
  }
  unix_listener director-userdb {
    mode = 0600
  }
  fifo_listener login/proxy-notify {
    mode = 0666
  }
}
"""
)
OURS_UNDER_MASTER = OURS.replace("login/ext/director", "login/director")


def examine(ours: Settings, facts: DovecotFacts, machine: FakeMachine) -> list[Finding]:
    return doctor.examine(ours, facts, machine, doctor.RING_SYNCED)


def only(problems: dict[str, str]) -> tuple[str, str]:
    assert len(problems) == 1, problems
    return next(iter(problems.items()))


def machine_under_master() -> FakeMachine:
    machine = FakeMachine()
    machine.entries[f"{BASE}/login/director"] = unix_socket(0o666)
    return machine


def test_a_healthy_machine_has_nothing_wrong() -> None:
    assert wrongs(examine(settings(), dovecot(), FakeMachine())) == {}
    assert wrongs(examine(settings(), dovecot(DOVECOT_23, version="2.3.19.1"), FakeMachine())) == {}
    assert wrongs(examine(settings(RING), dovecot(), FakeMachine())) == {}
    under_master = examine(
        settings(OURS_UNDER_MASTER),
        dovecot(UNDER_MASTER, socket_paths={"imap": "director"}),
        machine_under_master(),
    )
    assert wrongs(under_master) == {}
    assert any("login/proxy-notify" in finding.text for finding in under_master)


def test_another_base_dir() -> None:
    ours = settings(OURS + "base_dir = /var/run/dovecot\n")
    fixes = wrongs(examine(ours, dovecot(), FakeMachine()))

    assert "director.conf: base_dir = /run/dovecot" in fixes.values()


def test_unknown_account() -> None:
    ours = settings(OURS.replace("service director {", "service director {\n  user = nobody2"))
    text, fix = only(wrongs(examine(ours, dovecot(), FakeMachine())))

    assert "nobody2" in text
    assert "user = dovecot" in fix


def test_dovecot_that_does_not_run() -> None:
    machine = FakeMachine()
    del machine.entries[f"{BASE}/master"]
    _, fix = only(wrongs(examine(settings(), dovecot(), machine)))

    assert fix == "systemctl start dovecot"


def test_missing_listener() -> None:
    machine = FakeMachine()
    del machine.entries[f"{BASE}/login/ext/director"]
    text, fix = only(wrongs(examine(settings(), dovecot(), machine)))

    assert "clients whose login process asks there hang" in text
    assert "ringdirector.socket" in fix


def test_something_else_in_the_place_of_a_listener() -> None:
    machine = FakeMachine()
    machine.entries[f"{BASE}/login/ext/director"] = directory(0o755)
    text, fix = only(wrongs(examine(settings(), dovecot(), machine)))

    assert "is not a socket" in text
    assert fix.startswith(f"rm {BASE}/login/ext/director")


def test_dead_listener() -> None:
    machine = FakeMachine(dead={f"{BASE}/login/ext/director"})
    text, fix = only(wrongs(examine(settings(), dovecot(), machine)))

    assert "nobody listens" in text
    assert "systemctl start" in fix


def test_listener_in_login_itself() -> None:
    text, fix = only(
        wrongs(
            examine(
                settings(OURS_UNDER_MASTER),
                dovecot(socket_paths={"imap": "director"}),
                machine_under_master(),
            )
        )
    )

    assert "Dovecot will not start" in text
    assert "login_socket_path = ext/director" in fix


def test_directory_closed_to_login_processes() -> None:
    machine = FakeMachine()
    machine.entries[f"{BASE}/login/ext"] = directory(0o700)
    text, fix = only(wrongs(examine(settings(), dovecot(), machine)))

    assert f"dovenull may not enter {BASE}/login/ext/director" in text
    assert f"chmod 0755 {BASE}/login/ext" in fix


def test_socket_closed_to_login_processes() -> None:
    machine = FakeMachine()
    machine.entries[f"{BASE}/login/ext/director"] = unix_socket(0o600, DOVECOT_ID)
    _, fix = only(wrongs(examine(settings(), dovecot(), machine)))

    assert fix.startswith(f"chmod 0666 {BASE}/login/ext/director")


def test_logins_that_do_not_ask() -> None:
    for asked in ("", "login"):
        text, fix = only(
            wrongs(examine(settings(), dovecot(socket_paths={"imap": asked}), FakeMachine()))
        )

        assert text == "imap logins do not ask the director"
        assert fix == "Dovecot: login_socket_path = ext/director"


def test_logins_that_ask_elsewhere() -> None:
    facts = dovecot(socket_paths={"imap": "director"})
    text, _ = only(wrongs(examine(settings(), facts, FakeMachine())))

    assert text == "imap logins ask login/director, which is not ours"


def test_absolute_socket_path() -> None:
    facts = dovecot(socket_paths={"imap": f"{BASE}/login/ext/director"})
    text, fix = only(wrongs(examine(settings(), facts, FakeMachine())))

    assert "inside the chroot" in text
    assert fix == "Dovecot: login_socket_path = ext/director"


def test_socket_path_inside_a_service_is_ignored_by_dovecot() -> None:
    text = DOVECOT_24.replace(
        "  executable = imap-login\n",
        "  executable = imap-login\n  login_socket_path = ext/director\n",
    )
    facts = dovecot(text, socket_paths={"imap": ""})
    _, fix = only(wrongs(examine(settings(), facts, FakeMachine())))

    assert "inside service imap-login it is ignored" in fix


def test_argument_of_the_executable_wins() -> None:
    text = DOVECOT_24.replace("= imap-login\n", "= imap-login director\n")
    _, fix = only(wrongs(examine(settings(), dovecot(text), FakeMachine())))

    assert fix.startswith("Dovecot, service imap-login: executable = imap-login, and")


def test_dovecot_23_is_told_by_the_executable() -> None:
    text = DOVECOT_23.replace(" ext/director", "")
    facts = dovecot(text, version="2.3.19.1")
    _, fix = only(wrongs(examine(settings(), facts, FakeMachine())))

    assert fix == "Dovecot, service imap-login: executable = imap-login ext/director"


def test_no_listener_below_login() -> None:
    ours = settings(OURS.replace("login/ext/director", "ext-director"))
    fixes = wrongs(examine(ours, dovecot(), FakeMachine()))

    assert any("no listener below login/" in text for text in fixes)


def test_lmtp_that_does_not_ask() -> None:
    text = DOVECOT_24.replace("protocol lmtp {\n  auth_socket_path = director-userdb", "section {")
    text = text.replace("section {\n}\n", "")
    found, fix = only(wrongs(examine(settings(), dovecot(text), FakeMachine())))

    assert "lmtp asks" in found
    assert fix == "Dovecot: protocol lmtp { auth_socket_path = director-userdb }"


def test_lmtp_that_delivers_here() -> None:
    text = DOVECOT_24.replace("lmtp_proxy = yes", "lmtp_proxy = no")
    _, fix = only(wrongs(examine(settings(), dovecot(text), FakeMachine())))

    assert fix == "Dovecot: lmtp_proxy = yes"


def test_doveadm_without_a_port() -> None:
    text = DOVECOT_24.replace("doveadm_port = 24245", "doveadm_port = 0")
    _, fix = only(wrongs(examine(settings(), dovecot(text), FakeMachine())))

    assert fix == "Dovecot: doveadm_port = 24245"


def test_doveadm_need_not_be_proxied() -> None:
    text = DOVECOT_24.replace("doveadm_port = 24245\n", "").replace(
        "protocol doveadm {\n  auth_socket_path = director-userdb\n}\n", ""
    )
    found = examine(settings(), dovecot(text), FakeMachine())

    assert wrongs(found) == {}
    assert any(finding.text.startswith("doveadm is not proxied") for finding in found)


def test_snapshot_that_cannot_be_written() -> None:
    ours = settings(OURS + "director_snapshot_path = /var/lib/ringdirector/snapshot\n")
    machine = FakeMachine()
    text, fix = only(wrongs(examine(ours, dovecot(), machine)))
    assert "/var/lib/ringdirector is missing" in text
    assert fix == "install -d -m 0700 -o dovecot -g dovecot /var/lib/ringdirector"

    machine.entries["/var/lib/ringdirector"] = directory(0o700)
    assert "closed to dovecot" in only(wrongs(examine(ours, dovecot(), machine)))[0]

    machine.entries["/var/lib/ringdirector"] = directory(0o700, DOVECOT_ID)
    assert wrongs(examine(ours, dovecot(), machine)) == {}


def test_missing_auth_socket() -> None:
    ours = settings(OURS + "director_auth_login_socket = auth/login\n")
    text, fix = only(wrongs(examine(ours, dovecot(), FakeMachine())))

    assert "is missing" in text
    assert fix.startswith("director.conf: director_auth_login_socket = auth-login")


def test_auth_socket_of_somebody_else() -> None:
    machine = FakeMachine()
    machine.entries[f"{BASE}/auth-login"] = unix_socket(0o600, VMAIL_ID)
    text, fix = only(wrongs(examine(settings(), dovecot(), machine)))

    assert "may not connect" in text
    assert "unix_listener auth-login { user = dovecot mode = 0600 }" in fix


def test_userdb_socket_that_refuses_pass() -> None:
    machine = FakeMachine()
    machine.entries[f"{BASE}/auth-userdb"] = unix_socket(0o666, VMAIL_ID, VMAIL_ID)
    text, fix = only(wrongs(examine(settings(), dovecot(), machine)))

    assert "refuses to say where users are proxied" in text
    assert "unix_listener auth-userdb { user = dovecot mode = 0600 }" in fix


def test_passdb_that_gives_a_host() -> None:
    text = DOVECOT_24.replace("    proxy = yes\n", "    proxy = yes\n    host = 10.0.0.10\n")
    found, fix = only(wrongs(examine(settings(), dovecot(text), FakeMachine())))

    assert "host = 10.0.0.10" in found
    assert fix == "Dovecot, passdb static: take out host"


def test_passdb_that_never_proxies() -> None:
    text = DOVECOT_24.replace("    proxy = yes\n", "    nopassword = yes\n")
    _, fix = only(wrongs(examine(settings(), dovecot(text), FakeMachine())))

    assert "proxy = yes" in fix


def test_service_that_may_run_twice() -> None:
    text = UNDER_MASTER.replace("process_limit = 1", "process_limit = 100")
    facts = dovecot(text, socket_paths={"imap": "director"})
    _, fix = only(wrongs(examine(settings(OURS_UNDER_MASTER), facts, machine_under_master())))

    assert fix == "Dovecot, service director: process_limit = 1"


def test_service_in_a_chroot() -> None:
    text = UNDER_MASTER.replace("process_limit", "chroot = empty\n  process_limit")
    facts = dovecot(text, socket_paths={"imap": "director"})
    _, fix = only(wrongs(examine(settings(OURS_UNDER_MASTER), facts, machine_under_master())))

    assert fix == "Dovecot, service director: chroot ="


def test_director_that_does_not_answer() -> None:
    text, fix = only(wrongs(doctor.examine(settings(), dovecot(), FakeMachine(), None)))

    assert text == "the director does not answer on director-admin"
    assert "journalctl -u ringdirector" in fix


def test_ring_port_of_ours_without_a_listener() -> None:
    text, fix = only(wrongs(examine(settings(RING), dovecot(), FakeMachine(has_ring_port=False))))

    assert text == "nobody listens on 10.0.0.1:9090, our own ring port"
    assert "inet_listener ring { address = 10.0.0.1 port = 9090 }" in fix


def test_director_that_cannot_be_reached() -> None:
    machine = FakeMachine(unreachable={"10.0.0.2": "timed out"})
    found = doctor.examine(settings(RING), dovecot(), machine, "ring handshaking")
    text, fix = only(wrongs(found))

    assert text == "the director 10.0.0.2:9090 cannot be reached: timed out"
    assert "firewall" in fix


def test_directors_are_left_in_peace_while_the_ring_is_synced() -> None:
    machine = FakeMachine(unreachable={"10.0.0.2": "never asked"})

    assert wrongs(examine(settings(RING), dovecot(), machine)) == {}
