"""Root is given up for good, and descriptors are allowed."""

from __future__ import annotations

import os
import pwd
import resource
import subprocess
import sys

import pytest

from director import privileges
from director.errors import StartupRefused

CHILD = """
import os
from director import privileges
privileges.become_user("nobody", "default_internal_user")
print(os.getresuid(), os.getresgid())
"""


def test_an_unknown_account_is_named_with_its_setting() -> None:
    with pytest.raises(StartupRefused, match="default_internal_user = no-such-user: "):
        privileges.become_user("no-such-user", "default_internal_user")


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up root")
def test_root_becomes_the_user_and_cannot_go_back() -> None:
    output = subprocess.run(
        [sys.executable, "-c", CHILD], check=True, capture_output=True, text=True
    ).stdout
    nobody = pwd.getpwnam("nobody")

    assert output == f"{(nobody.pw_uid,) * 3} {(nobody.pw_gid,) * 3}\n"


@pytest.mark.slow
def test_ps_shows_a_director() -> None:
    child = "from director import privileges; privileges.name_process(); "
    child += "print(open('/proc/self/comm').read(), end='')"
    output = subprocess.run(
        [sys.executable, "-c", child], check=True, capture_output=True, text=True
    ).stdout

    assert output == "director\n"


def test_all_descriptors_that_are_allowed_are_taken() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        limit = privileges.raise_descriptor_limit()

        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == limit == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_an_unknown_group_is_named() -> None:
    with pytest.raises(StartupRefused, match=r"extra group .*no-such-group.* does not exist"):
        privileges.become_ids(os.getuid(), os.getgid(), ["no-such-group"])
