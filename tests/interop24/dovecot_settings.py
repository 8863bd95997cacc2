"""What backends and proxies of Dovecot 2.4 have in common, as text of their configuration."""

from __future__ import annotations

from pathlib import Path

import attrs

from tests.interop.dovecot import NOBODY
from tests.interop.loopback import (
    DOVEADM_PORT,
    IMAP_PORT,
    LMTP_PORT,
    POP3_PORT,
    SIEVE_PORT,
    SUBMISSION_PORT,
)

VERSION = "2.4.1"
PORTS = {
    "imap": IMAP_PORT,
    "pop3": POP3_PORT,
    "submission": SUBMISSION_PORT,
    "sieve": SIEVE_PORT,
    "lmtp": LMTP_PORT,
    "doveadm": DOVEADM_PORT,
}
LOGIN_SERVICES = {
    "imap-login": "imap",
    "pop3-login": "pop3",
    "submission-login": "submission",
    "managesieve-login": "sieve",
}
MANY_CLIENTS = """\
  restart_request_count = unlimited
  client_limit = 2000
  process_min_avail = 1
"""
ONE_CLIENT = """\
  restart_request_count = 1
  client_limit = 1
  process_min_avail = 0
"""


@attrs.frozen(kw_only=True)
class Inet:
    """One more TCP listener of a login service; `flag` is a line like `ssl = yes`."""

    service: str
    name: str
    port: int
    flag: str


def common_settings(directory: Path, *, name: str, addresses: list[str]) -> str:
    """Return what every instance needs to live beside others on one machine."""
    return f"""\
dovecot_config_version = {VERSION}
dovecot_storage_version = {VERSION}
protocols = imap pop3 submission sieve lmtp
base_dir = {directory}/run
state_dir = {directory}/state
instance_name = {name}
log_path = {directory}/log
log_timestamp = "%Y-%m-%d %H:%M:%S.%{{usecs}} "
listen = {", ".join(addresses)}
auth_allow_cleartext = yes
auth_mechanisms = plain login
auth_username_format = %{{user}}
auth_failure_delay = 0
first_valid_uid = 1
mail_max_userip_connections = 10000
default_client_limit = 4000
default_process_limit = 400
doveadm_password = lab
submission_relay_host = {addresses[0]}
submission_relay_port = {SUBMISSION_PORT}
mail_driver = maildir
mail_path = {directory}/mail/%{{local_ip}}/%{{user}}
userdb static {{
  fields {{
    uid = {NOBODY}
    gid = {NOBODY}
    home = {directory}/home/%{{user}}
  }}
}}
service stats {{
  inet_listener http {{
    port = 0
  }}
}}
"""


def login_service(service: str, settings: str, *more: Inet) -> str:
    """Return the block of one login service, with TLS listeners only where `more` has them."""
    protocol = LOGIN_SERVICES[service]
    listeners = [(protocol, PORTS[protocol], "")]
    listeners += [(inet.name, inet.port, inet.flag) for inet in more if inet.service == service]
    twin = {"imap": "imaps", "pop3": "pop3s", "submission": "submissions"}.get(protocol)
    if twin is not None and twin not in (name for name, _, _ in listeners):
        listeners.append((twin, 0, ""))
    blocks = "".join(
        f"  inet_listener {name} {{\n    port = {port}\n    {flag}\n  }}\n"
        for name, port, flag in listeners
    )
    return f"service {service} {{\n{settings}{blocks}}}\n"


def other_services() -> str:
    """Return the TCP listeners of LMTP and doveadm."""
    return f"""\
service lmtp {{
  inet_listener lmtp {{
    port = {LMTP_PORT}
  }}
}}
service doveadm {{
  inet_listener doveadm {{
    port = {DOVEADM_PORT}
  }}
}}
"""


def self_description(ip: str) -> str:
    """Return the settings that make what is reached over `ip` call itself so.

    ManageSieve cannot (2.4 asks for its name without the address): there a script tells.
    """
    return f"""\
local {ip} {{
  hostname = {ip}
  protocol imap {{
    imap_capability {{
      XBACKEND-{ip} = yes
    }}
  }}
}}
"""
