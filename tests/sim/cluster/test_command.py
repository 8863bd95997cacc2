"""`python -m sim cluster`: what it refuses, and what it prints at the end."""

from __future__ import annotations

import io
from collections import Counter

from click.testing import CliRunner
from rich.console import Console

from sim.cli import sim
from sim.cluster.command import show
from sim.cluster.run import Options, Report


def test_more_real_directors_than_directors_are_wrong_usage() -> None:
    result = CliRunner().invoke(sim, ["cluster", "--directors", "2", "--dovecot", "3"])

    assert result.exit_code == 2
    assert "--dovecot 3 is more than --directors 2" in result.output


def test_it_is_listed_among_the_verbs() -> None:
    assert "cluster" in CliRunner().invoke(sim, ["--help"]).output


def test_the_summary_ends_with_what_was_broken() -> None:
    options = Options(directors_count=3, dovecots_count=1, duration_s=6.0, seed=7, users_count=100)
    report = Report(
        broken=["user1 was refused"],
        broken_count=1,
        logins=Counter({"logins": 5}),
        calm_waits_s=[0.001, 0.002, 0.3],
        turmoil_waits_s=[],
        faults=Counter({"kill": 2}),
        network=Counter({"bytes": 12345, "connections": 4}),
        answers=Counter({"OK": 3}),
        started_s=1.0,
        healed_s=2.0,
        users_count=100,
    )
    output = io.StringIO()

    show(Console(file=output, width=100), options, report)

    text = output.getvalue()
    assert "Cluster, seed 7" in text
    assert "2, 300, 300 ms" in text
    assert "2 kill" in text
    assert text.endswith("BROKEN: user1 was refused\n")
