"""What every test shares: Hypothesis profiles, and who may skip the tests with real Dovecot.

Hypothesis: profile `ci` (the default) draws the same examples on every run, so that a red build is
red for everybody; `HYPOTHESIS_PROFILE=soak pytest` draws many random ones.

Real Dovecot: tests marked `interop` need root (Dovecot's master does) and Debian's packages. A
laptop without them skips with the reason; where `CI=true` the same lack is a failure, because a
build that silently tested nothing would be green for months.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, database=None)
hypothesis.settings.register_profile("soak", max_examples=5000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

DOVECOT_PROGRAMS = {
    "/usr/sbin/dovecot": "dovecot-core",
    "/usr/lib/dovecot/director": "dovecot-core of Dovecot 2.3",
    "/usr/lib/dovecot/imap": "dovecot-imapd",
    "/usr/lib/dovecot/pop3": "dovecot-pop3d",
    "/usr/lib/dovecot/lmtp": "dovecot-lmtpd",
    "/usr/lib/dovecot/submission": "dovecot-submissiond",
    "/usr/lib/dovecot/managesieve": "dovecot-managesieved",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="write what scenarios did into their files, instead of failing",
    )


def missing_for_interop() -> str:
    """Return what this machine lacks to run real Dovecot 2.3, empty if nothing."""
    if os.geteuid() != 0:
        return "Dovecot's master must be started by root"
    missing = sorted({p for f, p in DOVECOT_PROGRAMS.items() if not Path(f).exists()})
    return f"Debian packages are missing: {', '.join(missing)}" if missing else ""


def missing_for_interop24() -> str:
    """Return what this machine lacks to run Dovecot 2.4, empty if nothing."""
    if os.geteuid() != 0:
        return "a chroot can be entered by root only"
    chroot = os.environ.get("DOVECOT24_CHROOT", "")
    if not chroot:
        return "DOVECOT24_CHROOT does not name a chroot with Dovecot 2.4"
    if not Path(chroot, "usr/sbin/dovecot").exists():
        return f"DOVECOT24_CHROOT={chroot} has no usr/sbin/dovecot"
    return ""


# Marker -> what is missing, and whether CI has promised to provide it (`.ci/run`).
REQUIREMENTS: dict[str, tuple[Callable[[], str], bool]] = {
    "interop": (missing_for_interop, True),
    "interop24": (missing_for_interop24, False),
}


@pytest.hookimpl(tryfirst=True)  # before the fixtures of the test are made
def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, (missing, is_promised_in_ci) in REQUIREMENTS.items():
        if item.get_closest_marker(marker) is None:
            continue
        reason = missing()
        if reason and is_promised_in_ci and os.environ.get("CI") == "true":
            pytest.fail(f"{marker} tests must not be skipped in CI: {reason}", pytrace=False)
        if reason:
            pytest.skip(reason)
