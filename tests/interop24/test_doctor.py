"""`director doctor` on a real Dovecot 2.4: nothing wrong, then one planted mistake at a time.

Mistakes in Dovecot's configuration are planted in a copy of it, the others in the running instance;
each test puts back what it spoiled.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from tests.interop.lab import Lab
from tests.interop.loopback import RING_PORT
from tests.interop24.ours import chroot
from tests.interop24.proxies import Proxy, ProxySettings, Way

pytestmark = [pytest.mark.interop24, pytest.mark.slow]


@attrs.frozen(kw_only=True)
class Patient:
    proxy: Proxy
    lonely_ip: str
    """An address in `director_servers` where no director is."""

    def findings(self, *options: str) -> tuple[int, dict[str, str]]:
        """Return the exit status and what is wrong, with its fix."""
        done = self.proxy.director("doctor", "-q", *options)
        assert done.stderr == ""
        lines = done.stdout.splitlines()
        wrong = [line.removeprefix("WRONG").strip() for line in lines[::2]]
        fixes = [line.strip().removeprefix("-> ") for line in lines[1::2]]
        return done.returncode, dict(zip(wrong, fixes, strict=True))

    def with_dovecot(self, old: str, new: str) -> dict[str, str]:
        """Return what is wrong if Dovecot's configuration said `new` in the place of `old`."""
        text = self.proxy.dovecot.configuration_file.read_text()
        assert old in text
        file = self.proxy.directory / "spoilt.conf"
        file.write_text(text.replace(old, new))
        status, wrong = self.findings("--dovecot-config", str(file))
        assert status == 1
        return wrong

    def wrong(self) -> dict[str, str]:
        status, wrong = self.findings()
        assert status == 1
        return wrong

    @property
    def run(self) -> Path:
        return self.proxy.dovecot.run


@pytest.fixture(scope="module")
def patient() -> Generator[Patient, None, None]:
    with Lab(chroot()) as lab:
        ip, lonely_ip = lab.address(), lab.address()
        settings = ProxySettings(
            way=Way.STANDALONE, director={"director_mail_servers": lab.address()}
        )
        proxy = lab.keep(Proxy(lab, "proxy", ip, settings))
        proxy.start()
        yield Patient(proxy=proxy, lonely_ip=lonely_ip)


def test_nothing_is_wrong_below_the_master() -> None:
    with Lab(chroot()) as lab:
        director = {"director_mail_servers": lab.address()}
        settings = ProxySettings(way=Way.UNDER_MASTER, director=director)
        proxy = lab.keep(Proxy(lab, "proxy", lab.address(), settings))
        proxy.start()
        said = proxy.director("doctor").stdout.splitlines()

    assert said[-1] == "Nothing wrong."
    assert any("live users are known from what is written to" in line for line in said)


@contextmanager
def mode_of(path: Path, mode: int) -> Iterator[None]:
    before = path.stat().st_mode & 0o7777
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


@contextmanager
def away(path: Path) -> Iterator[None]:
    path.rename(path.with_name("elsewhere"))
    try:
        yield
    finally:
        path.with_name("elsewhere").rename(path)


def only(wrong: dict[str, str]) -> tuple[str, str]:
    assert len(wrong) == 1, wrong
    return next(iter(wrong.items()))


def test_nothing_is_wrong_with_what_our_files_say(patient: Patient) -> None:
    assert patient.findings() == (0, {})


def test_logins_do_not_ask(patient: Patient) -> None:
    wrong = patient.with_dovecot("login_socket_path = ext/director", "")

    assert wrong == {
        f"{protocol} logins do not ask the director": "Dovecot: login_socket_path = ext/director"
        for protocol in ("imap", "pop3", "submission", "sieve")
    }


def test_login_socket_path_is_absolute(patient: Patient) -> None:
    path = patient.run / "login" / "ext" / "director"
    wrong = patient.with_dovecot("login_socket_path = ext/director", f"login_socket_path = {path}")

    assert len(wrong) == 4
    assert all("inside the chroot" in text for text in wrong)


def test_login_socket_path_stands_in_the_service(patient: Patient) -> None:
    wrong = patient.with_dovecot(
        "login_socket_path = ext/director",
        "service imap-login {\n  login_socket_path = ext/director\n}",
    )

    assert len(wrong) == 4
    assert all("login_socket_path = ext/director" in fix for fix in wrong.values())


def test_lmtp_does_not_ask(patient: Patient) -> None:
    wrong = patient.with_dovecot(
        "protocol lmtp {\n  auth_socket_path = director-userdb\n}", "protocol lmtp {\n}"
    )
    text, fix = only(wrong)

    assert text == f"lmtp asks {patient.run}/auth-userdb, not the director"
    assert fix == "Dovecot: protocol lmtp { auth_socket_path = director-userdb }"


def test_lmtp_delivers_here(patient: Patient) -> None:
    _, fix = only(patient.with_dovecot("lmtp_proxy = yes", "lmtp_proxy = no"))

    assert fix == "Dovecot: lmtp_proxy = yes"


def test_login_processes_ignore_kicks(patient: Patient) -> None:
    wrong = patient.with_dovecot("restart_request_count = unlimited", "restart_request_count = 1")

    assert len(wrong) == 4
    assert any(
        "service imap-login { restart_request_count = unlimited" in f for f in wrong.values()
    )


def test_anvil_is_closed_to_us(patient: Patient) -> None:
    with mode_of(patient.run / "anvil", 0o600):
        _, fix = only(patient.wrong())

    assert "service anvil { unix_listener anvil { mode = 0660 group = dovecot } }" in fix


def test_directory_is_closed_to_login_processes(patient: Patient) -> None:
    directory = patient.run / "login" / "ext"
    with mode_of(directory, 0o700):
        text, fix = only(patient.wrong())

    assert text.startswith(f"dovenull may not enter {directory}/director")
    assert "DirectoryMode=0755" in fix


def test_socket_is_missing(patient: Patient) -> None:
    with away(patient.run / "login" / "ext" / "director"):
        text, fix = only(patient.wrong())

    assert "is missing: clients whose login process asks there hang" in text
    assert "systemctl enable --now ringdirector.socket" in fix


def test_socket_is_dead(patient: Patient) -> None:
    path = patient.run / "director-userdb"
    with away(path):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
        text, fix = only(patient.wrong())

    assert text == f"nobody listens on {path}: it was left behind"
    assert fix.startswith("systemctl start ringdirector.socket")


def test_auth_socket_belongs_to_another_account(patient: Patient) -> None:
    path = patient.run / "auth-userdb"
    before = path.stat()
    shutil.chown(path, 65534, 65534)
    _, fix = only(patient.wrong())
    shutil.chown(path, before.st_uid, before.st_gid)

    assert "unix_listener auth-userdb { user = dovecot mode = 0600 }" in fix


def test_director_settings_were_left_in_dovecots_file(patient: Patient) -> None:
    wrong = patient.with_dovecot(
        "lmtp_proxy = yes", "lmtp_proxy = yes\ndirector_mail_servers = 10.0.0.10"
    )
    text, fix = only(wrong)

    assert "director_mail_servers" in text
    assert "take the director_* settings out of Dovecot's configuration" in fix


def test_passdb_gives_a_host(patient: Patient) -> None:
    wrong = patient.with_dovecot("    proxy = yes\n", "    proxy = yes\n    host = 10.0.0.10\n")
    _, fix = only(wrong)

    assert fix == "Dovecot, passdb static: take out host"


def test_base_dir_is_another(patient: Patient) -> None:
    other = patient.proxy.directory / "other"
    wrong = patient.with_dovecot(f"base_dir = {patient.run}", f"base_dir = {other}")

    assert f"director.conf: base_dir = {other}" in wrong.values()


def test_ring_does_not_answer(patient: Patient) -> None:
    """Neither our own port, because the daemon runs without a ring, nor the other director."""
    ip = patient.proxy.ip
    ring = "service/director/inet_listener/ring"
    _, wrong = patient.findings(
        "-o", f"director_servers={ip} {patient.lonely_ip}",
        "-o", f"{ring}/address={ip}",
        "-o", f"{ring}/port={RING_PORT}",
    )  # fmt: skip

    assert len(wrong) == 2
    assert any(text.startswith("nobody listens on") for text in wrong)
    assert f"start it, or open port {RING_PORT} in the firewall between us" in wrong.values()


def test_sessions_are_never_closed(patient: Patient) -> None:
    _, wrong = patient.findings("-o", "director_kick=none")

    assert list(wrong.values()) == ["director.conf: director_kick = auto"]


def test_listener_stands_where_dovecot_does_not_start(patient: Patient) -> None:
    _, wrong = patient.findings("-o", "service/director/unix_listener/login\\sdirector/mode=0666")

    assert any("Dovecot will not start while it is there" in text for text in wrong)
