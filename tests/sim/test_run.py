"""One run from its plan to its outcome."""

from __future__ import annotations

from collections.abc import Hashable

import attrs

from ring.hosts import MailHost
from ring.node import RingNode
from sim.plan import Plan
from sim.run import run
from sim.verdict import Promise

CALM = Plan(seed=3, directors=2, users=3, devices=1, faults_s=10.0, expire_s=10, kick_delay_s=0.5)


def test_a_calm_run_keeps_its_promises_and_says_what_happened() -> None:
    outcome = run(CALM)

    assert outcome.violation is None
    assert outcome.logins > 0
    assert outcome.logins == len(outcome.waits)
    assert outcome.virtual_s > CALM.faults_s
    assert outcome.messages["Users"] > 0
    assert outcome.bytes_sent > 0
    assert 4 == len(outcome.final_hosts)


def test_the_trace_is_a_function_of_the_plan() -> None:
    digests = {run(CALM).digest, run(CALM).digest}
    assert 1 == len(digests)

    assert digests != {run(attrs.evolve(CALM, seed=4)).digest}


class Broken(RingNode):
    """Cannot look up anybody."""

    def lookup(self, token: Hashable, user_hash: int, tag: bytes, now: float) -> MailHost | None:
        raise KeyError(user_hash)


def test_whatever_a_node_raises_is_a_broken_promise_with_its_place() -> None:
    violation = run(CALM, node_factory=Broken).violation
    assert violation is not None

    assert Promise.NO_BUG is violation.promise
    assert "KeyError" in violation.detail
    assert "lookup in test_run.py" in violation.detail
