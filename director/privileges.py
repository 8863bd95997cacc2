"""Give up what the daemon does not need, and take the descriptors it does.

Order matters and is decided in `daemon.py`: sockets are bound as root, then root is given up for
good, then the first byte from outside is read. Chroot is not done: a Python program imports as it
goes, and the sockets of auth are outside; the original left its own chroot documented as
impossible too (director-docs-facts.md section 1, "Process model").
"""

from __future__ import annotations

import grp
import os
import pwd
import resource
from collections.abc import Sequence
from pathlib import Path

from director.errors import StartupRefused


def raise_descriptor_limit() -> int:
    """Allow as many open files as the hard limit does; return how many that is.

    Each login connection takes two descriptors, and the usual soft limit of 1,024 is for programs
    that call select(2).
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def name_process() -> None:
    """Be called `director` in ps, top and the kernel's log, as the original was."""
    try:
        Path("/proc/self/comm").write_text("director")
    except OSError:
        pass  # not Linux, or no /proc: the interpreter's name has to do


def become_user(name: str, setting: str) -> None:
    """Change from root to the account `name` with its groups, for good.

    Raises:
        StartupRefused: there is no such account; `setting` is where its name comes from.
    """
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        raise StartupRefused(
            f"{setting} = {name}: there is no such account on this machine; "
            "create it, or name another one"
        ) from None
    _become(account.pw_uid, account.pw_gid, os.getgrouplist(name, account.pw_gid))


def become_ids(user_id: int, group_id: int, groups: Sequence[str]) -> None:
    """Change from root to these ids and the groups of these names, for good."""
    try:
        group_ids = [grp.getgrnam(name).gr_gid for name in groups]
    except KeyError as error:
        raise StartupRefused(f"service director: extra group {error} does not exist") from None
    _become(user_id, group_id, [group_id, *group_ids])


def _become(user_id: int, group_id: int, group_ids: list[int]) -> None:
    os.setgroups(group_ids)
    os.setresgid(group_id, group_id, group_id)
    os.setresuid(user_id, user_id, user_id)
    assert user_id == 0 or not _can_become_root(), "root could be taken back"


def _can_become_root() -> bool:
    try:
        os.setuid(0)
    except PermissionError:
        return False
    return True
