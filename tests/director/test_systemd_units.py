"""The units in conf/systemd fit the configuration in conf/standalone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from director.listeners import ListenerKind
from director.settings import load

CONF = Path(__file__).resolve().parents[2] / "conf"


def values(unit: str, key: str) -> list[str]:
    lines = (CONF / "systemd" / unit).read_text().splitlines()
    return [line.removeprefix(f"{key}=") for line in lines if line.startswith(f"{key}=")]


def test_systemd_listens_where_the_configuration_says() -> None:
    settings = load(CONF / "standalone" / "director.conf", {}, {})
    streams = [
        path
        for unit in ("ringdirector.socket", "ringdirector-private.socket")
        for path in values(unit, "ListenStream")
    ]

    assert sorted(streams) == sorted(
        str(listener.path) for listener in settings.listeners if listener.kind is ListenerKind.UNIX
    )


def test_modes_are_those_of_the_configuration() -> None:
    settings = load(CONF / "standalone" / "director.conf", {}, {})
    mode_by_path = {str(listener.path): listener.mode for listener in settings.listeners}
    for unit in ("ringdirector.socket", "ringdirector-private.socket"):
        [mode] = values(unit, "SocketMode")
        for path in values(unit, "ListenStream"):
            assert int(mode, 8) == mode_by_path[path]


def test_the_service_needs_both_sockets() -> None:
    [required] = values("ringdirector.service", "Requires")

    assert required.split() == ["ringdirector.socket", "ringdirector-private.socket"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    """A program that is always there stands in for ours, which is not installed."""
    for unit in (CONF / "systemd").iterdir():
        text = unit.read_text().replace("ExecStart=/usr/bin/director", "ExecStart=/bin/true")
        (tmp_path / unit.name).write_text(text)
    units = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")
