"""Mail hosts: one real Dovecot that listens on several addresses and is another host on each.

Each address has its own mail store, and names itself in IMAP's CAPABILITY, in the EHLO answer of
submission and in ManageSieve's IMPLEMENTATION. POP3 and doveadm have no such field: there the
subject of a user's probe message, another one in each store, tells where we are. One instance
instead of one per host saves processes and start-up time, and it is enough: whom a director
tells apart are addresses.

Any password is right: what happens before the backend is the proxy's business.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.interop.dovecot import NOBODY, Dovecot, common_settings, directory_of, login_service
from tests.interop.lab import Lab
from tests.interop.loopback import (
    DOVEADM_PORT,
    IMAP_PORT,
    LMTP_PORT,
    POP3_PORT,
    SIEVE_PORT,
    SUBMISSION_PORT,
)

PROBE_SUBJECT = "Subject: probe-"


def self_description(ip: str, name: str) -> str:
    """Return the settings that make everything reached over `ip` call itself `name`."""
    return f"""\
local {ip} {{
  hostname = {name}
  managesieve_implementation_string = {name}
  protocol imap {{
    imap_capability = +XBACKEND={name}
  }}
}}
"""


def mail_storage(directory: Path, store: str) -> str:
    """Return the settings of mail location, users, and the LMTP and doveadm listeners."""
    return f"""\
mail_location = maildir:{directory}/mail/{store}/%u
userdb {{
  driver = static
  args = uid={NOBODY} gid={NOBODY} home={directory}/home/%u
}}
service imap {{
  client_limit = 1000
  service_count = 0
}}
service lmtp {{
  inet_listener lmtp {{
    port = {LMTP_PORT}
  }}
}}
service doveadm {{
  inet_listener {{
    port = {DOVEADM_PORT}
  }}
}}
"""


class Backends:
    """`ips` are the mail hosts; all are up once constructed."""

    def __init__(self, lab: Lab, count: int) -> None:
        self.ips = [lab.address() for _ in range(count)]
        directory = directory_of(lab, "backends")
        busy = "  service_count = 0\n  process_min_avail = 1\n  client_limit = 4000"
        configuration = (
            common_settings(
                directory,
                name="backends",
                addresses=self.ips,
                protocols="imap pop3 submission sieve lmtp",
            )
            + mail_storage(directory, "%{lip}")
            + "passdb {\n  driver = static\n  args = nopassword=y\n}\n"
            # Submission insists on a relay before it answers; any SMTP greeting will do.
            + f"submission_relay_host = {self.ips[0]}\n"
            + f"submission_relay_port = {SUBMISSION_PORT}\n"
            + login_service("imap-login", listener="imap", port=IMAP_PORT, settings=busy)
            + login_service("pop3-login", listener="pop3", port=POP3_PORT, settings=busy)
            + login_service(
                "submission-login", listener="submission", port=SUBMISSION_PORT, settings=busy
            )
            + login_service("managesieve-login", listener="sieve", port=SIEVE_PORT, settings=busy)
            + "".join(self_description(ip, ip) for ip in self.ips)
        )
        self.dovecot = Dovecot(lab, "backends", configuration)
        for ip in self.ips:
            make_maildir(self.dovecot.directory / "mail" / ip)
        self.dovecot.start()

    def put_probe_message(self, user: str) -> None:
        """Give the user a message in each store that tells which store it is."""
        for ip in self.ips:
            put_message(self.dovecot.directory / "mail" / ip / user, f"{PROBE_SUBJECT}{ip}\n\n")

    def stores_with(self, user: str, text: str) -> list[str]:
        """Return the backends that hold a message of the user with this text."""
        return [
            ip
            for ip in self.ips
            if any(
                text in file.read_text()
                for file in (self.dovecot.directory / "mail" / ip / user).glob("[cn]*/*")
            )
        ]


def make_maildir(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    os.chown(directory, NOBODY, NOBODY)


def put_message(maildir: Path, text: str) -> None:
    for directory in (maildir, *(maildir / part for part in ("cur", "new", "tmp"))):
        make_maildir(directory)
    message = maildir / "cur" / "1000000000.probe:2,S"
    message.write_text(text)
    os.chown(message, NOBODY, NOBODY)
