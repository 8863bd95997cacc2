"""Reads `conf/systemd` as far as the tests play systemd; nothing else of it is tried."""

from __future__ import annotations

from pathlib import Path

import attrs

UNITS = Path(__file__).resolve().parents[2] / "conf" / "systemd"
BASE_DIR = "/run/dovecot"


@attrs.frozen(kw_only=True)
class HeldSocket:
    path: str
    mode: int
    user: str


def unit_values(file: Path) -> list[tuple[str, str]]:
    """Return the assignments of a unit in their order."""
    lines = (line.strip() for line in file.read_text().splitlines())
    pairs = (line.partition("=") for line in lines if line and line[0] not in "#;[")
    return [(name, value) for name, _, value in pairs]


def held_sockets(base_dir: Path) -> list[HeldSocket]:
    """Return the sockets of all socket units, for a Dovecot whose base_dir is this one."""
    held = []
    for file in sorted(UNITS.glob("*.socket")):
        pairs = unit_values(file)
        values = dict(pairs)
        held += [
            HeldSocket(
                path=value.replace(BASE_DIR, str(base_dir)),
                mode=int(values.get("SocketMode", "0666"), 8),
                user=values.get("SocketUser", ""),
            )
            for name, value in pairs
            if name == "ListenStream"
        ]
    return held


def service_values() -> dict[str, str]:
    return dict(unit_values(UNITS / "ringdirector.service"))
