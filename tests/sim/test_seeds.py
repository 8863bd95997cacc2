"""Two hundred seeds of the simulator, as many as every `make test` plays.

A failing seed is printed with the command that plays it again; it becomes a scenario before it is
fixed (STYLE section 9).
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import subprocess
import sys

import attrs
import pytest

from sim.plan import CODECS, Plan
from sim.run import Outcome, run
from sim.soak import Drawn, run_seed
from sim.swarm import draw_plan

SEEDS = range(200)


@pytest.mark.slow
def test_no_seed_breaks_a_promise() -> None:
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        outcomes = list(pool.map(run_seed, SEEDS, [Drawn()] * len(SEEDS), chunksize=5))
    broken = [
        f"{outcome.violation}: python -m sim run --seed {outcome.plan.seed}"
        for outcome in outcomes
        if outcome.violation is not None
    ]

    assert [] == broken
    assert [] == classic_excuses_of_native_runs(outcomes)
    assert_plays_something(outcomes)


def classic_excuses_of_native_runs(outcomes: list[Outcome]) -> list[str]:
    return [
        f"seed {outcome.plan.seed}: {window}"
        for outcome in outcomes
        for window in outcome.windows
        if outcome.plan.codec == "native" and ": classic " in window
    ]


def test_a_native_run_with_an_excuse_of_the_original_would_be_seen() -> None:
    plan = Plan(seed=1, directors=1, users=1, faults_s=3.0)
    excused = attrs.evolve(run(plan), windows={"one-host: classic export not forwarded": 1})
    classic = attrs.evolve(excused, plan=attrs.evolve(plan, codec="classic"))

    assert ["seed 1: one-host: classic export not forwarded"] == classic_excuses_of_native_runs(
        [excused, classic]
    )


def assert_plays_something(outcomes: list[Outcome]) -> None:
    """The draw reaches every wire and many faults; a swarm that does nothing breaks nothing."""
    assert {"native", "classic", "mixed"} == {outcome.plan.codec for outcome in outcomes}
    assert sum(outcome.logins for outcome in outcomes) > 5_000
    assert len({fault for outcome in outcomes for fault in outcome.faults}) > 15


COMMANDS = ("weight", "down", "up", "remove-host", "move-user", "move-users", "kick-user")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_administrators_reach_the_same_state_on_every_wire(seed: int) -> None:
    """Who is known may differ by those who expire just now; where somebody is may not."""
    plan = draw_plan(seed, faults=COMMANDS, codec="native")
    native, *others = [run(attrs.evolve(plan, codec=codec)) for codec in CODECS]
    placed = dict(line.split() for line in native.final_users)
    for other in others:
        known = dict(line.split() for line in other.final_users)

        assert native.final_hosts == other.final_hosts
        assert {u: placed[u] for u in placed.keys() & known} == {
            u: known[u] for u in placed.keys() & known
        }
        assert len(placed.keys() & known) > 0.8 * len(placed)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_trace_whatever_the_hash_seed() -> None:
    digests = set()
    for hash_seed in ("0", "1", "4242"):
        done = subprocess.run(
            [sys.executable, "-m", "sim", "run", "--seed", "7"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(next(x for x in done.stdout.splitlines() if x.startswith("trace ")))

    assert len(digests) == 1
    assert digests == {f"trace {run(draw_plan(7)).digest}"}
