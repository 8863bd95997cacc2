"""`python -m sim`: run, soak, replay, shrink, explain, cluster.

What a verb needs is imported when it runs, so that `--help` is quick. Exit statuses: 0 all promises
kept, 1 one was broken (the last line is the command that shows it again), 2 wrong usage.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sim.run import Outcome
    from sim.soak import Drawn

BROKEN = 1


class _Verbs(click.Group):
    """`cluster` is a package of its own, imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "cluster"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != "cluster":
            return super().get_command(ctx, cmd_name)
        from sim.cluster.command import cluster

        return cluster


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
def sim() -> None:
    """Play rings of the real node code through faults, in virtual time, and check its promises."""


def _drawing(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options that say what to draw, as the argument `drawn`."""

    @functools.wraps(verb)
    def with_drawn(
        directors: int | None,
        users: int | None,
        hours: float | None,
        faults: str | None,
        codec: str | None,
        pace: str,
        settings: tuple[str, ...],
        **others: object,
    ) -> None:
        from sim.plan import parse_settings
        from sim.soak import Drawn

        try:
            parse_settings(settings)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        drawn = Drawn(
            directors=directors,
            users=users,
            hours=hours,
            faults=None if faults is None else _kinds(faults),
            codec=codec,
            pace=pace,
            settings=settings,
        )
        verb(drawn=drawn, **others)

    for option in reversed(
        (
            click.option("--directors", type=click.IntRange(1, 250), help="Default: drawn."),
            click.option("--users", type=click.IntRange(1), help="Default: drawn."),
            click.option("--hours", type=float, help="Virtual hours of faults. Default: drawn."),
            click.option("--faults", help="Kinds with commas between them, or none or all."),
            click.option("--codec", type=click.Choice(["native", "classic", "mixed"])),
            click.option(
                "--pace",
                type=click.Choice(["rush", "daily", "both"]),
                default="rush",
                show_default=True,
                help="A minute full of faults, hours with some, or both in turn.",
            ),
            click.option(
                "--set",
                "settings",
                multiple=True,
                metavar="NAME=VALUE",
                help="Any other setting of a scenario file, as hosts=20; may be repeated.",
            ),
        )
    ):
        with_drawn = option(with_drawn)
    return with_drawn


def _kinds(text: str) -> tuple[str, ...]:
    from sim.swarm import DRAWERS

    if text in ("all", "none"):
        return tuple(DRAWERS) if text == "all" else ()
    kinds = tuple(filter(None, text.split(",")))
    unknown = set(kinds) - set(DRAWERS)
    if unknown:
        raise click.UsageError(f"no such fault: {', '.join(sorted(unknown))}")
    return kinds


@sim.command()
@click.option("--seed", type=int, default=1, show_default=True)
@_drawing
@click.option("--trace", is_flag=True, help="Print every event.")
@click.option("--save", type=click.Path(path_type=Path), help="Write the plan to this file.")
def run(seed: int, drawn: Drawn, trace: bool, save: Path | None) -> None:
    """Play the run of one seed."""
    from sim.plan import format_plan
    from sim.run import run as run_plan

    plan = drawn.plan(seed)
    if save is not None:
        save.write_text(format_plan(plan))
    replay = replay_command(seed, drawn)
    _show(run_plan(plan, is_trace_kept=trace), is_traced=trace, replay=replay)


def replay_command(seed: int, drawn: Drawn) -> str:
    """Return the command that plays a seed again."""
    words = [f"python -m sim run --seed {seed}"]
    if drawn.faults is not None:
        words.append(f"--faults {','.join(drawn.faults) or 'none'}")
    for name in ("directors", "users", "hours", "codec"):
        value = getattr(drawn, name)
        if value is not None:
            words.append(f"--{name} {value}")
    if drawn.pace_of(seed) != "rush":
        words.append(f"--pace {drawn.pace_of(seed)}")
    words += [f"--set {setting}" for setting in drawn.settings]
    return " ".join(words)


def _show(outcome: Outcome, *, is_traced: bool, replay: str) -> None:
    from rich.console import Console

    from sim.report import Summary

    if is_traced:
        click.echo("\n".join(outcome.lines))
    summary = Summary()
    summary.add(outcome)
    summary.print(Console(soft_wrap=False))
    click.echo(f"trace {outcome.digest}")
    if outcome.violation is not None:
        _fail(outcome, replay)
    click.echo("all promises kept")


def _fail(outcome: Outcome, replay: str) -> None:
    click.echo(f"\n{outcome.violation}")
    click.echo(replay)
    sys.exit(BROKEN)


@sim.command()
@click.option("--minutes", type=float, default=10.0, show_default=True)
@click.option("--virtual-hours", type=float, default=0.0, help="End after so many; 0: never.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="The first one.")
@_drawing
def soak(minutes: float, virtual_hours: float, jobs: int, seed: int, drawn: Drawn) -> None:
    """Play seed after seed until time is up or a promise is broken."""
    from rich.console import Console

    from sim.report import Summary
    from sim.soak import soak as soak_seeds

    def progress(summary: Summary, seed: int) -> None:
        if summary.runs % 10 == 0:
            click.echo(
                f"{summary.runs} runs, {summary.virtual_s / 3600:.1f} virtual hours,"
                f" {summary.logins} logins, seed {seed}"
            )

    summary, broken = soak_seeds(
        seed,
        minutes=minutes,
        virtual_hours=virtual_hours,
        jobs=jobs,
        drawn=drawn,
        progress=progress,
    )
    summary.print(Console())
    if broken is not None:
        _fail(broken, replay_command(broken.plan.seed, drawn))
    click.echo("all promises kept")


_FILE = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@sim.command()
@_FILE
@click.option("--trace", is_flag=True, help="Print every event.")
def replay(file: Path, trace: bool) -> None:
    """Play a scenario file and compare with what it expects."""
    from sim.expect import unmet
    from sim.plan import read_plan
    from sim.run import run as run_plan

    plan, _, expected = read_plan(file)
    outcome = run_plan(plan, is_trace_kept=trace)
    if not expected:
        _show(outcome, is_traced=trace, replay=f"python -m sim replay {file}")
        return
    if trace:
        click.echo("\n".join(outcome.lines))
    problems = unmet(expected, outcome)
    for problem in problems:
        click.echo(problem)
    if problems:
        sys.exit(BROKEN)
    click.echo("as expected")


@sim.command()
@_FILE
@click.option("--output", type=click.Path(path_type=Path), help="Default: over the file.")
def shrink(file: Path, output: Path | None) -> None:
    """Make a failing scenario as small as possible."""
    from sim.plan import format_plan, read_plan
    from sim.run import run as run_plan
    from sim.shrink import Shrinker

    plan, comment, _ = read_plan(file)
    violation = run_plan(plan).violation
    if violation is None:
        raise click.UsageError(f"{file} keeps all promises, there is nothing to shrink")
    click.echo(str(violation))
    shrinker = Shrinker(violation.promise, click.echo)
    smaller = shrinker.shrink(plan)
    text = format_plan(smaller, comment=comment, expected="kept")
    (output or file).write_text(text)
    click.echo(f"{len(smaller.actions)} of {len(plan.actions)} actions left")


@sim.command()
@_FILE
@click.option("--html", type=click.Path(path_type=Path), help="Write a picture to this file.")
@click.option("--seconds", type=float, default=20.0, show_default=True, help="Before the end.")
def explain(file: Path, html: Path | None, seconds: float) -> None:
    """Tell what led to a broken promise."""
    from sim.explain import picture, timeline
    from sim.plan import read_plan
    from sim.run import run as run_plan

    plan, _, _ = read_plan(file)
    outcome = run_plan(plan, is_trace_kept=True)
    if html is not None:
        html.write_text(picture(outcome, seconds))
        click.echo(f"{html} written")
        return
    click.echo(timeline(outcome, seconds))


def main() -> None:
    sim(prog_name="python -m sim")
