"""Run benches and print one table: `python -m sim.bench [--quick] [BENCH ...]`."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import click

from sim.bench import lookups
from sim.bench.administration import Administration, CleanStop, Refusal
from sim.bench.formation import Formation
from sim.bench.gossip import Gossip
from sim.bench.hung import Hung
from sim.bench.latency import Latency
from sim.bench.micro import Micro
from sim.bench.million import Million
from sim.bench.nodes import has_dovecot
from sim.bench.results import Kind, Result, format_json, format_markdown, format_table
from sim.bench.rings import Addresses, Site
from sim.bench.runner import ROUNDS_COUNT, Bench, run
from sim.bench.tools import Tools

QUICK = ("login", "ring", "latency", "gossip", "core")
ALL = (
    *("login", "ring", "userdb", "latency", "gossip"),
    *("administration", "refusal", "stop", "formation", "hung", "million", "core"),
)


def make_bench(name: str, rounds_count: int, *, is_quick: bool) -> Bench:
    match name:
        case "login":
            return lookups.login_alone(is_quick=is_quick)
        case "ring":
            return lookups.login_in_ring(is_quick=is_quick)
        case "userdb":
            return lookups.userdb()
        case "latency":
            return Latency()
        case "gossip":
            return Gossip()
        case "administration":
            return Administration()
        case "stop":
            return CleanStop(20_000 if is_quick else 100_000)
        case "refusal":
            return Refusal()
        case "formation":
            return Formation(rounds_count)
        case "hung":
            return Hung(rounds_count)
        case "million":
            return Million(100_000 if is_quick else 1_000_000)
        case "core":
            return Micro()
    raise click.UsageError(f"got the bench {name!r}, expected one of {', '.join(ALL)}")


@click.command()
@click.argument("names", metavar="[BENCH]...", nargs=-1)
@click.option("--quick", "is_quick", is_flag=True, help="The most important ones, under 2 minutes.")
@click.option("--rounds", "rounds_count", default=ROUNDS_COUNT, show_default=True)
@click.option("--ours", "is_alone", is_flag=True, help="Do not measure the real director.")
@click.option("--markdown", "is_markdown", is_flag=True, help="Print the table for the README.")
@click.option(
    "--build",
    type=click.Path(path_type=Path),
    default=Path("build"),
    show_default=True,
    help="Where the compiled tools and bench.json go.",
)
def main(
    names: tuple[str, ...],
    *,
    is_quick: bool,
    rounds_count: int,
    is_alone: bool,
    is_markdown: bool,
    build: Path,
) -> None:
    """Measure this director and Dovecot 2.3's side by side.

    BENCH is one or more of login, ring, userdb, latency, gossip, administration, refusal, stop,
    formation, hung, million, core; default: all.
    """
    kinds = [Kind.OURS, Kind.REAL]
    if is_alone or not has_dovecot():
        print("only ours: the real director needs Dovecot 2.3 and root", file=sys.stderr)
        kinds = [Kind.OURS]
    benches = [
        make_bench(name, rounds_count, is_quick=is_quick)
        for name in names or (QUICK if is_quick else ALL)
    ]
    started_at = time.monotonic()

    def report(done: str) -> None:
        print(f"{time.monotonic() - started_at:6.1f} s  {done}", file=sys.stderr, flush=True)

    directory = Path(tempfile.mkdtemp(prefix="director-bench-"))
    directory.chmod(0o755)
    addresses = Addresses()
    results: list[Result] = []
    try:
        site = Site(
            tools=Tools.build(build.resolve() / "tools"),
            directory=directory,
            addresses=addresses,
            is_quick=is_quick,
        )
        for bench in benches:
            results += run(bench, site, kinds, rounds_count, report)
    finally:
        addresses.release()
        shutil.rmtree(directory)
    (build / "bench.json").write_text(format_json(results) + "\n")
    print(format_markdown(results) if is_markdown else format_table(results))


if __name__ == "__main__":
    main()
