"""Runs seed after seed, in several processes, until time is up or a promise breaks."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import time
from collections.abc import Callable, Generator

import attrs

from sim.plan import Plan, parse_settings
from sim.report import Summary
from sim.run import Outcome, run
from sim.swarm import PACES, draw_plan


@attrs.frozen(kw_only=True)
class Drawn:
    """What the command line fixes of the plans to draw; None lets the seed decide.

    `pace` is one of the swarm's, or `both`: seeds take turns. `settings` are any others of a plan,
    spelled as in a scenario file.
    """

    directors: int | None = None
    users: int | None = None
    hours: float | None = None
    faults: tuple[str, ...] | None = None
    codec: str | None = None
    pace: str = "rush"
    settings: tuple[str, ...] = ()

    def pace_of(self, seed: int) -> str:
        return PACES[seed % len(PACES)] if self.pace == "both" else self.pace

    def plan(self, seed: int) -> Plan:
        return draw_plan(
            seed,
            directors=self.directors,
            users=self.users,
            hours=self.hours,
            faults=self.faults,
            codec=self.codec,
            pace=self.pace_of(seed),
            settings=parse_settings(self.settings),
        )


def run_seed(seed: int, drawn: Drawn) -> Outcome:
    outcome = run(drawn.plan(seed))
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
