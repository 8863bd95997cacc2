"""`python -m sim cluster`: play a cluster of real daemons, print one table, exit 1 if it broke."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import click
import trio
from rich.console import Console
from rich.table import Table

from sim.cluster.nodes import can_run_dovecot
from sim.cluster.run import Options, Report, run

EXIT_BROKEN = 1


@click.command()
@click.option("--directors", type=click.IntRange(2, 50), default=4, show_default=True)
@click.option(
    "--dovecot",
    type=click.IntRange(0, 50),
    default=0,
    show_default=True,
    metavar="K",
    help="Make K of them real Dovecot 2.3 directors (needs root and the package).",
)
@click.option("--seconds", type=click.FloatRange(1), default=60.0, show_default=True)
@click.option("--users", type=click.IntRange(1, 100_000), default=300, show_default=True)
@click.option("--seed", type=int, help="By default another one each time.")
@click.option("--host-flush", is_flag=True, help="Let administrators use HOST-FLUSH too.")
@click.option("--keep", is_flag=True, help="Keep the directory with configurations and logs.")
def cluster(
    directors: int,
    dovecot: int,
    seconds: float,
    users: int,
    seed: int | None,
    host_flush: bool,
    keep: bool,
) -> None:
    """Run a ring of real daemons through bad links, kills and hangs, and check what it promises.

    The seed decides what happens; the machine decides when, so the same seed is no exact replay.
    """
    if dovecot > directors:
        raise click.UsageError(f"--dovecot {dovecot} is more than --directors {directors}")
    if dovecot and not can_run_dovecot():
        raise click.UsageError("--dovecot needs root and Dovecot 2.3's director (dovecot-core)")
    if seed is None:
        seed = time.time_ns() % 1_000_000
    options = Options(
        directors_count=directors,
        dovecots_count=dovecot,
        duration_s=seconds,
        seed=seed,
        users_count=users,
        has_flushes=host_flush,
    )
    # Not below TMPDIR, which may be long: the path of a unix socket may not.
    directory = Path(tempfile.mkdtemp(prefix="cluster-", dir="/tmp"))
    directory.chmod(0o755)
    try:
        report = trio.run(run, options, directory)
    finally:
        if keep:
            click.echo(f"Logs are in {directory}")
        else:
            shutil.rmtree(directory)
    show(Console(), options, report)
    if report.broken_count:
        sys.exit(EXIT_BROKEN)


def show(console: Console, options: Options, report: Report) -> None:
    """Print the summary, and what was broken."""
    table = Table(title=f"Cluster, seed {options.seed}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    logins = report.logins
    table.add_row("directors", str(options.directors_count), f"{options.dovecots_count} Dovecot")
    table.add_row("whole after", f"{report.started_s:.1f} s", "")
    table.add_row("logins", str(logins["logins"]), f"{logins['logins refused']} refused")
    table.add_row("lookup wait in calm", _waits(report.calm_waits_s), "p50, p99, max")
    table.add_row("in turmoil", _waits(report.turmoil_waits_s), "at nodes that were well")
    table.add_row("connections lost", str(logins["login connections lost"]), "to login sockets")
    table.add_row("users moved", str(logins["users moved by administrators"]), "by administrators")
    table.add_row("users moved", str(logins["users moved in turmoil"]), "in turmoil, unexplained")
    table.add_row("faults", str(report.faults.total()), _list(report.faults))
    table.add_row("commands", str(report.answers.total()), _list(report.answers))
    table.add_row("network", f"{report.network['bytes']:,} B", _connections(report.network))
    table.add_row("agreed after", f"{report.healed_s:.1f} s", "from the end of the last fault")
    table.add_row("promises broken", str(report.broken_count), "")
    console.print(table)
    for line in report.broken:
        console.print(f"BROKEN: {line}", markup=False, highlight=False)


def _waits(waits_s: list[float]) -> str:
    if not waits_s:
        return "-"
    at = [waits_s[int(len(waits_s) * share)] for share in (0.5, 0.99)]
    return ", ".join(f"{1000 * wait_s:.0f}" for wait_s in (*at, waits_s[-1])) + " ms"


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _connections(counts: Counter[str]) -> str:
    return f"{counts['connections']} connections, {counts['connections reset']} reset"
