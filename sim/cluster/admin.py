"""What an administrator can ask of a node (doveadm-director.md section 1)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from sim.cluster.lines import Lines

GREETING = b"VERSION\tdirector-doveadm\t1\t0\n"


@attrs.frozen(kw_only=True)
class State:
    """What a node says of itself and the ring."""

    is_synced: bool
    members: frozenset[str]
    neighbours: frozenset[str]
    hosts: tuple[tuple[str, ...], ...]
    """Address, weight, tag and state of each; not the count of users, which `users` has."""
    users: dict[str, str]
    """Address by hash."""


class Admin:
    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    async def ask(self, *words: str) -> str:
        """Send a command whose answer is one line; return the line."""
        await self._lines.send("\t".join(words).encode() + b"\n")
        return (await self._lines.line()).decode()

    async def ask_list(self, *words: str) -> list[list[str]]:
        """Send a command whose answer is lines up to an empty one; return their fields."""
        rows = []
        line = await self.ask(*words)
        while line:
            rows.append(line.split("\t"))
            line = (await self._lines.line()).decode()
        return rows

    async def state(self) -> State:
        rows = [row for row in await self.ask_list("DIRECTOR-LIST") if "." in row[0]]
        return State(
            is_synced=any(row[2] == "self" and row[4] == "ring synced" for row in rows),
            members=frozenset(row[0] for row in rows if row[2] not in ("removed", "in", "out")),
            neighbours=frozenset(row[2] for row in rows) & {"left", "right"},
            hosts=tuple((row[0], row[1], *row[3:5]) for row in await self.ask_list("HOST-LIST")),
            users={row[0]: row[2] for row in await self.ask_list("USER-LIST")},
        )


@asynccontextmanager
async def administrator(path: Path, timeout_s: float) -> AsyncGenerator[Admin, None]:
    """Connect; everything together may take `timeout_s`.

    Raises:
        OSError: the director does not answer as it should, or not in time.
    """
    with trio.move_on_after(timeout_s) as scope:
        lines = await Lines.connect(path)
        try:
            await lines.send(GREETING)
            await lines.line()
            yield Admin(lines)
        finally:
            await lines.close()
    if scope.cancelled_caught:
        raise TimeoutError(f"{path}: no answer within {timeout_s:g} s")
