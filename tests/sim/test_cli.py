"""`python -m sim`: what it prints, and its exit statuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sim.cli import replay_command, sim
from sim.soak import Drawn

SHORT = "--directors 2 --users 3 --hours 0.003 --faults none --set expire_s=5"
NEVER_WHOLE = "--directors 2 --users 3 --hours 0.003 --faults none --set latency_s=20"


def called(line: str) -> Result:
    return CliRunner().invoke(sim, line.split())


def test_a_run_prints_its_table_and_its_trace() -> None:
    result = called(f"run --seed 7 {SHORT}")

    assert 0 == result.exit_code
    assert "virtual hours" in result.output
    assert "trace " in result.output
    assert "all promises kept" == result.output.splitlines()[-1]


def test_every_event_is_printed_if_asked_for() -> None:
    assert "d01   started" in called(f"run --seed 7 {SHORT} --trace").output


def test_the_last_line_of_a_broken_run_plays_it_again() -> None:
    result = called(f"run --seed 7 {NEVER_WHOLE}")
    lines = result.output.splitlines()

    assert 1 == result.exit_code
    assert "one-ring broken at" in lines[-2]
    assert f"python -m sim run --seed 7 {NEVER_WHOLE}".split().sort() == lines[-1].split().sort()


def test_a_soak_stops_with_the_seed_that_broke_a_promise() -> None:
    result = called(f"soak --seed 7 {NEVER_WHOLE}")

    assert 1 == result.exit_code
    assert result.output.splitlines()[-1].startswith("python -m sim run --seed 7 ")


def test_a_soak_ends_when_it_is_enough() -> None:
    result = called(f"soak --seed 7 --virtual-hours 0.001 {SHORT}")

    assert 0 == result.exit_code
    assert "all promises kept" == result.output.splitlines()[-1]


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [("--faults flood", "no such fault: flood"), ("--set backends=3", "no such setting")],
)
def test_what_means_nothing_is_wrong_usage(wrong: str, complaint: str) -> None:
    result = called(f"run {wrong}")

    assert 2 == result.exit_code
    assert complaint in result.output


def test_the_replay_command_names_what_was_given() -> None:
    drawn = Drawn(users=9, faults=("crash", "reset"), pace="both", settings=("hosts=20",))

    assert (
        "python -m sim run --seed 3 --faults crash,reset --users 9 --pace daily --set hosts=20"
        == replay_command(3, drawn)
    )
    assert "python -m sim run --seed 4 --faults none" == replay_command(
        4, Drawn(faults=(), pace="both")
    )


def test_a_saved_plan_is_replayed_and_explained(tmp_path: Path) -> None:
    file = tmp_path / "plan.txt"
    called(f"run --seed 7 {NEVER_WHOLE} --save {file}")
    assert 1 == called(f"replay {file}").exit_code
    file.write_text(f"{file.read_text()}----\nbroken one-ring\n")

    assert "as expected" == called(f"replay {file}").output.strip()
    assert "one-ring" in called(f"explain {file}").output
