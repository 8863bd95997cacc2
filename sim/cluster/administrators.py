"""Administrators at work: each types a command at some node, waits for the answer, thinks, goes on.

Two of them may change one host on two nodes at the same moment. Everything they do is entered in
the ledger before it is sent, because it explains why users are somewhere else afterwards.

HOST-FLUSH is a habit of some administrators only (`has_flushes`). It goes round the ring both ways
and so do logins; a login that meets it leaves the user known to the nodes on one side and forgotten
on the other. Our own nodes compare what they know afterwards (ring/DESIGN.md decision 28); in a
ring with Dovecot nodes the run ends in "differ in 1 users", about once in 30 such commands.
"""

from __future__ import annotations

from collections import Counter

import attrs
import trio

from sim.cluster.ledger import Ledger
from sim.cluster.nodes import Node
from sim.randomness import Stream

THINK_S = (0.1, 1.0)
ANSWER_S_MAX = 60.0
WEIGHTS = (50, 100, 150, 0)

ANSWERS = frozenset(
    {
        "OK",
        "NOTFOUND",
        "TRYAGAIN",
        "host is already being updated - try again later",
        "Ring sync timed out",
    }
)


@attrs.define(eq=False, kw_only=True)
class Administrators:
    """The first of `hosts` is never touched, so that one is always usable."""

    nodes: list[Node]
    hosts: list[str]
    users: list[str]
    ledger: Ledger
    has_flushes: bool
    answers: Counter[str] = attrs.Factory(Counter)

    async def work(self, stream: Stream) -> None:
        """One administrator, until cancelled."""
        while True:
            await trio.sleep(stream.uniform(*THINK_S))
            await self._command(stream.choice(self.nodes), *self._words(stream))

    def _words(self, stream: Stream) -> tuple[str, ...]:
        host, user = stream.choice(self.hosts[1:]), stream.choice(self.users)
        commands: list[tuple[str, ...]] = [
            ("USER-MOVE", user, stream.choice(self.hosts)),
            ("USER-MOVE", user, stream.choice(self.hosts)),
            ("USER-MOVE", user, stream.choice(self.hosts)),
            ("HOST-SET", host, str(stream.choice(WEIGHTS))),
            ("HOST-UPDATE", host, str(stream.choice(WEIGHTS))),
            ("HOST-DOWN", host),
            ("HOST-UP", host),
            ("HOST-REMOVE", host),
            ("HOST-RESET-USERS", host, "100"),
        ]
        if self.has_flushes:
            commands.append(("HOST-FLUSH", host))
        return stream.choice(commands)

    async def _command(self, node: Node, *words: str) -> None:
        asked_at = trio.current_time()
        touch = self.ledger.touch(words[1], asked_at)
        try:
            async with node.admin(ANSWER_S_MAX) as admin:
                answer = await admin.ask(*words)
        except OSError as error:
            self.answers["no answer"] += 1
            if node.was_well_since(asked_at):
                self.ledger.blame(f"{' '.join(words)} at {node.name}: {error}")
            return
        finally:
            touch.end(trio.current_time())
        self.answers[answer] += 1
        if answer not in ANSWERS:
            self.ledger.blame(f"{' '.join(words)} at {node.name}: answered {answer!r}")
