"""Our own program inside the chroot: a copy of the checkout, as Debian 13's Python runs it.

One copy for each test run, because the chroot is shared and checkouts differ; compiled once, for
Dovecot's unprivileged user cannot keep what it compiles.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
LIBRARIES = "/opt/libraries"
"""Inside the chroot; `build-chroot` puts there what our director imports."""


def chroot() -> Path:
    """Return the chroot with Dovecot 2.4; the marker has made sure that there is one."""
    return Path(os.environ["DOVECOT24_CHROOT"])


@functools.cache
def director_program() -> str:
    """Return the path, inside the chroot, of the `director` command of this checkout."""
    place = Path(tempfile.mkdtemp(prefix="director-code-", dir=chroot() / "tmp"))
    atexit.register(shutil.rmtree, place)
    place.chmod(0o755)
    for package in ("ring", "director"):
        shutil.copytree(
            CHECKOUT / package, place / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    inside = "/" + str(place.relative_to(chroot()))
    subprocess.run(
        ["chroot", str(chroot()), "python3", "-m", "compileall", "-q", inside], check=True
    )
    script = place / "director-command"
    script.write_text(
        f'#!/bin/sh\nPYTHONPATH={inside}:{LIBRARIES} exec /usr/bin/python3 -m director "$@"\n'
    )
    script.chmod(0o755)
    return f"{inside}/director-command"


def run_director(configuration: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a verb of the `director` command inside the chroot."""
    return subprocess.run(
        ["chroot", str(chroot()), director_program(), *arguments],
        env={**os.environ, "DIRECTOR_CONFIG": str(configuration)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
