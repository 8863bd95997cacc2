"""The C programs compile without warnings, and talk to each other."""

import shutil
from pathlib import Path

import pytest

from sim.bench.processes import Program, wait_until
from sim.bench.tools import COMPILER, Load, Tools

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which(COMPILER[0]) is None, reason="needs a C compiler"),
]


def test_nothing_is_built_twice(tmp_path: Path) -> None:
    first = Tools.build(tmp_path)
    built_at = first.load.stat().st_mtime_ns
    Tools.build(tmp_path)

    assert first.load.stat().st_mtime_ns == built_at


def test_a_load_needs_somebody_to_talk_to(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"no load: .*No such file"):
        Load(Tools.build(tmp_path), [tmp_path / "nobody"]).finish()


def test_an_answer_without_a_host_is_a_failed_login(tmp_path: Path) -> None:
    """Method: without a director the stand-in's own answers name no host."""
    tools = Tools.build(tmp_path)
    sockets = [tmp_path / "login", tmp_path / "userdb"]
    auth = Program([tools.auth, *sockets], log=tmp_path / "log")
    try:
        wait_until(sockets[1].is_socket, 5.0, "start of the stand-in")
        logins = Load(tools, sockets[:1], "-c", 2, "-w", 4, "-n", 50).finish()
        lookups = Load(tools, sockets[1:], "-p", "userdb", "-n", 10).finish()
    finally:
        auth.stop()

    assert (logins.sent, logins.answered, logins.failed) == (50, 0, 50)
    assert (lookups.sent, lookups.answered, lookups.failed) == (10, 0, 10)
