"""The README's guide from 2.3 to 2.4 is followed to the letter.

One ring of two: `old` keeps Dovecot 2.3 and its own director throughout. `moving` gets our
director, then Dovecot 2.4, then all back. After each step the ring is whole, a user's logins over
both machines meet on one backend, and everybody is where they were.
"""

from __future__ import annotations

from collections.abc import Generator

import attrs
import pytest

from tests.interop.backends import Backends as Backends23
from tests.interop.clients import backends_of, imap_backend
from tests.interop.lab import Lab
from tests.interop.loopback import IMAP_PORT, LMTP_PORT, RING_PORT
from tests.interop.programs import wait_until
from tests.interop24.guide import commands_of, guide_blocks
from tests.interop24.machines import Machine, account_setting, root_of_23, root_of_24

pytestmark = [pytest.mark.interop, pytest.mark.interop24, pytest.mark.slow]

USERS = [f"user{n:02}@example.com" for n in range(12)]
RING = "A ring of Dovecot 2.3"
NEW = "A new installation of Dovecot 2.4"
BACK = "Back"
DROP_IN = "/etc/dovecot/conf.d/10-director.conf"
OURS = "/etc/ringdirector/director.conf"


@attrs.frozen(kw_only=True)
class Site:
    """What an operator knows of this place."""

    old_ip: str
    moving_ip: str
    backends: list[str]

    def director_23(self, ip: str) -> str:
        """Return the drop-in that has always been there."""
        return f"""\
director_servers = {self.old_ip}:{RING_PORT} {self.moving_ip}:{RING_PORT}
director_mail_servers = {" ".join(self.backends)}
service director {{
  unix_listener login/director {{
    mode = 0666
  }}
  fifo_listener login/proxy-notify {{
    mode = 0666
  }}
  unix_listener director-userdb {{
    mode = 0600
  }}
  inet_listener {{
    address = {ip}
    port = {RING_PORT}
  }}
}}
service imap-login {{
  executable = imap-login director
}}
protocol lmtp {{
  auth_socket_path = director-userdb
}}
"""

    def dovecot_23(self, ip: str) -> str:
        return f"""\
protocols = imap lmtp
listen = {ip}
log_path = /run/log
ssl = no
disable_plaintext_auth = no
lmtp_proxy = yes
passdb {{
  driver = static
  args = proxy=y nopassword=y port={IMAP_PORT}
}}
{listeners()}
!include conf.d/*.conf
"""

    def dovecot_24(self, ip: str) -> str:
        """Return what the operator made of it for 2.4, the director left out."""
        return f"""\
dovecot_config_version = 2.4.1
dovecot_storage_version = 2.4.1
protocols = imap lmtp
listen = {ip}
log_path = /run/log
ssl = no
auth_allow_cleartext = yes
mail_driver = maildir
mail_path = /nonexistent
passdb static {{
  fields {{
    proxy = yes
    nopassword = yes
    port = {IMAP_PORT}
  }}
}}
service stats {{
  inet_listener http {{
    port = 0
  }}
}}
{listeners()}
!include conf.d/*.conf
"""

    def reached(self) -> dict[str, str]:
        """Log everybody in over both machines, which must agree; return where."""
        over_old = backends_of(imap_backend, self.old_ip, USERS)
        over_moving = backends_of(imap_backend, self.moving_ip, USERS)
        assert over_moving == over_old
        return over_old


def listeners() -> str:
    return f"""\
service imap-login {{
  inet_listener imap {{
    port = {IMAP_PORT}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {LMTP_PORT}
  }}
}}
"""


def add_executable(text: str) -> str:
    """Edit the drop-in as the guide says."""
    lines = (
        f"  executable = /usr/bin/director serve -c {OURS}\n"
        "  chroot =\n  drop_priv_before_exec = yes\n  process_min_avail = 1\n"
    )
    if account := account_setting():
        lines = lines.replace("  drop_priv_before_exec = yes\n", account)
    return text.replace("service director {\n", "service director {\n" + lines)


@pytest.fixture
def lab() -> Generator[Lab, None, None]:
    with Lab() as made:
        yield made


def make_23(lab: Lab, name: str, site: Site, ip: str) -> Machine:
    machine = Machine(lab, name, root_of_23(), {DROP_IN: add_executable})
    machine.run("rm -rf /etc/dovecot")
    machine.write("/etc/dovecot/dovecot.conf", site.dovecot_23(ip))
    machine.write(DROP_IN, site.director_23(ip))
    return machine


def wait_whole(machine: Machine, site: Site, command: str = "director ring status") -> None:
    """Return when a member says that both are there and of one mind."""

    def is_whole() -> bool:
        said = machine.run(command)
        return site.old_ip in said and site.moving_ip in said and "synced" in said

    wait_until(is_whole, 60, "a whole ring")


def test_guide_has_the_blocks_this_test_follows() -> None:
    counts = {heading: len(blocks) for heading, blocks in guide_blocks().items()}

    assert counts == {"": 1, RING: 3, NEW: 2, BACK: 1, "When something is wrong": 0}


def test_a_ring_of_23_becomes_ours_then_24_then_goes_back(lab: Lab) -> None:
    site = Site(old_ip=lab.address(), moving_ip=lab.address(), backends=Backends23(lab, 3).ips)
    old = make_23(lab, "old", site, site.old_ip)
    moving = make_23(lab, "moving", site, site.moving_ip)
    for machine in (old, moving):
        machine.run("systemctl restart dovecot")
    wait_whole(moving, site, "doveadm director ring status")
    expected = site.reached()

    moving.follow(commands_of(""))
    moving.follow(commands_of(RING, 0, 1))
    wait_whole(moving, site)
    assert site.reached() == expected

    moving.stop()
    upgraded = upgrade(lab, moving, site)
    printed = upgraded.follow(commands_of(RING, 2))
    assert printed["director doctor"].endswith("Nothing wrong.\n")
    wait_whole(upgraded, site)
    assert site.reached() == expected

    back = commands_of(BACK)
    upgraded.follow(back[:1])
    upgraded.stop()
    moving.follow(back[1:])
    wait_whole(moving, site, "doveadm director ring status")
    assert site.reached() == expected
    for machine in (old, moving):
        machine.stop()


def upgrade(lab: Lab, machine: Machine, site: Site) -> Machine:
    """Return the machine with Dovecot 2.4 on it, as far as its packages and its operator go."""
    upgraded = Machine(lab, f"{machine.name}-24", root_of_24(), {})
    upgraded.run("rm -rf /etc/dovecot")
    upgraded.write("/etc/dovecot/dovecot.conf", site.dovecot_24(site.moving_ip))
    upgraded.run("mkdir -p /etc/dovecot/conf.d")
    upgraded.follow(commands_of(""))
    kept = "/etc/ringdirector/doveconf-2.3"
    upgraded.write(kept, machine.read(kept))
    return upgraded


def test_a_new_installation(lab: Lab) -> None:
    ip = lab.address()
    site = Site(old_ip="", moving_ip=ip, backends=Backends23(lab, 3).ips)

    def name_the_backends(text: str) -> str:
        lines = text.splitlines(keepends=True)
        number = next(n for n, x in enumerate(lines) if x.startswith("director_mail_servers ="))
        lines[number] = f"director_mail_servers = {' '.join(site.backends)}\n"
        return "".join(lines)

    machine = Machine(lab, "new", root_of_24(), {OURS: name_the_backends})
    machine.run("rm -rf /etc/dovecot")
    machine.write("/etc/dovecot/dovecot.conf", site.dovecot_24(ip))
    machine.run("mkdir -p /etc/dovecot/conf.d")
    printed = machine.follow(commands_of("") + commands_of(NEW))
    reached = backends_of(imap_backend, ip, USERS)
    said = {user: machine.run(f"director status {user}") for user in USERS}

    assert printed["director doctor"].endswith("Nothing wrong.\n")
    assert all(backend in printed["director status"] for backend in site.backends)
    assert all(f"Current: {reached[user]} " in said[user] for user in USERS)
    machine.stop()
