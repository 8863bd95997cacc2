"""Mail hosts of Dovecot 2.4: one instance that is another host on each of its addresses.

As `tests.interop.backends` does it for 2.3, and found out by the same clients.
"""

from __future__ import annotations

from tests.interop.backends import PROBE_SUBJECT, make_maildir, put_message
from tests.interop.dovecot import Dovecot, directory_of
from tests.interop.lab import Lab
from tests.interop24.dovecot_settings import (
    LOGIN_SERVICES,
    MANY_CLIENTS,
    common_settings,
    login_service,
    other_services,
    self_description,
)

NO_PASSWORDS = """\
passdb static {
  fields {
    nopassword = yes
  }
}
"""
SCRIPTS = """\
sieve_script personal {{
  driver = file
  path = {directory}/sieve/%{{local_ip}}
  active_path = {directory}/sieve/%{{local_ip}}.active
}}
"""
BUSY_IMAP = """\
service imap {
  client_limit = 1000
  restart_request_count = unlimited
}
"""


class Backends:
    """`ips` are the mail hosts; all are up once constructed."""

    def __init__(self, lab: Lab, count: int) -> None:
        self.ips = [lab.address() for _ in range(count)]
        directory = directory_of(lab, "backends")
        configuration = (
            common_settings(directory, name="backends", addresses=self.ips)
            + "ssl = no\n"
            + NO_PASSWORDS
            + SCRIPTS.format(directory=directory)
            + BUSY_IMAP
            + other_services()
            + "".join(login_service(service, MANY_CLIENTS) for service in LOGIN_SERVICES)
            + "".join(map(self_description, self.ips))
        )
        self.dovecot = Dovecot(lab, "backends", configuration)
        for ip in self.ips:
            make_maildir(directory / "mail" / ip)
            make_maildir(directory / "sieve" / ip)
            (directory / "sieve" / ip / f"{ip}.sieve").write_text("keep;\n")
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
