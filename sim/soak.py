"""Runs seed after seed, in several processes, until time is up or a promise breaks."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import time
from collections.abc import Callable, Generator

import attrs

from sim.report import Summary
from sim.run import Outcome, run
from sim.swarm import draw_plan


@attrs.frozen(kw_only=True)
class Drawn:
    """What the command line fixes of the plans to draw; None or 0 lets the seed decide."""

    directors: int | None = None
    users: int | None = None
    hours: float | None = None
    faults: tuple[str, ...] | None = None
    codec: str | None = None


def run_seed(seed: int, drawn: Drawn) -> Outcome:
    plan = draw_plan(
        seed,
        directors=drawn.directors,
        users=drawn.users,
        hours=drawn.hours,
        faults=drawn.faults,
        codec=drawn.codec,
    )
    outcome = run(plan)
    if outcome.violation is None:  # nobody will read these, and they are sent between processes
        outcome = attrs.evolve(outcome, lines=())
    return outcome


def outcomes(first_seed: int, drawn: Drawn, jobs: int) -> Generator[Outcome, None, None]:
    """Yield outcomes of one seed after the other, for ever, in the order of seeds."""
    if jobs == 1:
        seed = first_seed
        while True:
            yield run_seed(seed, drawn)
            seed += 1
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context) as pool:
        seed = first_seed
        waiting: list[concurrent.futures.Future[Outcome]] = []
        while True:
            while len(waiting) < 4 * jobs:
                waiting.append(pool.submit(run_seed, seed, drawn))
                seed += 1
            try:
                yield waiting.pop(0).result()
            except GeneratorExit:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def soak(
    first_seed: int,
    *,
    minutes: float,
    virtual_hours: float,
    jobs: int,
    drawn: Drawn,
    progress: Callable[[Summary, int], None],
) -> tuple[Summary, Outcome | None]:
    """Return the sum of all runs, and the outcome that broke a promise, if one did.

    Ends after so many minutes, or so many virtual hours if that is not 0.
    """
    summary = Summary()
    end = time.monotonic() + 60 * minutes
    stream = outcomes(first_seed, drawn, jobs)
    for outcome in stream:
        summary.add(outcome)
        progress(summary, outcome.plan.seed)
        if outcome.violation is not None:
            stream.close()
            return summary, outcome
        if time.monotonic() >= end or (virtual_hours and summary.virtual_s >= virtual_hours * 3600):
            break
    stream.close()
    return summary, None
