"""Every file in `tests/scenarios` plays as it expects.

A file is a plan, `----`, and what must be true of its run (`sim/plan.py`, `sim/expect.py`).
`NAME.classic.txt` shows a weak point of the classic protocol with the window that was measured,
`NAME.native.txt` the same plan over our own; the README.md beside them lists them all. `python -m
sim replay FILE` plays one; `pytest --rewrite` writes what was found into the files: read the
difference before accepting it, and change the README likewise.
"""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from sim.expect import rewritten, unmet
from sim.plan import format_plan, read_plan
from sim.run import run
from sim.windows import CLASSIC_DEFECTS, RING

SCENARIOS = Path(__file__).resolve().parent.parent / "scenarios"


def files(pattern: str) -> list[Path]:
    return sorted(SCENARIOS.glob(pattern))


@pytest.mark.slow
@pytest.mark.parametrize("file", files("*.txt"), ids=lambda file: file.stem)
def test_a_scenario_plays_as_it_expects(file: Path, request: pytest.FixtureRequest) -> None:
    plan, comment, expected = read_plan(file)
    outcome = run(plan)
    if request.config.getoption("--rewrite"):
        expected = rewritten(expected, outcome)
        file.write_text(format_plan(plan, comment=comment, expected=expected))

    assert expected.strip(), "a scenario that expects nothing cannot fail"
    assert unmet(expected, outcome) == []


def test_a_pair_of_scenarios_differs_in_the_protocol_only() -> None:
    pairs = files("*.classic.txt")
    assert pairs
    for file in pairs:
        classic, classic_comment, _ = read_plan(file)
        native, native_comment, _ = read_plan(
            file.with_name(file.name.replace("classic", "native"))
        )

        assert attrs.evolve(classic, codec="native") == native
        assert classic_comment == native_comment


@pytest.mark.parametrize("file", files("*.txt"), ids=lambda file: file.stem)
def test_a_scenario_file_is_written_as_the_simulator_writes_it(file: Path) -> None:
    plan, comment, expected = read_plan(file)

    assert format_plan(plan, comment=comment, expected=expected) == file.read_text()


# --- the table in README.md ---

Row = tuple[str, str, str, str]
"""A defect, the pair that shows it, and what is said of each wire."""


def rows() -> list[Row]:
    lines = (SCENARIOS / "README.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:2] == "| "]
    return [(row[0], row[2], row[3], row[4]) for row in cells[1:]]


def pairs() -> list[Row]:
    return [row for row in rows() if not row[1].startswith("none")]


def numbers_of(defects: list[str], listed_in: str) -> list[int]:
    """Return the numbers that rows like `users 1, 2` name, each once."""
    found = [re.findall(r"\d+", defect) for defect in defects if defect.startswith(listed_in)]
    return list(dict.fromkeys(int(number) for numbers in found for number in numbers))


def test_every_defect_and_every_pair_has_its_row() -> None:
    defects = [row[0] for row in rows()]

    assert list(range(1, 19)) == numbers_of(defects, "ring")
    assert list(range(1, 16)) == numbers_of(defects, "users")
    assert sorted(row[1] for row in pairs()) == [
        file.name.removesuffix(".classic.txt") for file in files("*.classic.txt")
    ]


@pytest.mark.parametrize("row", pairs(), ids=lambda row: row[1])
def test_what_the_table_says_was_measured(row: Row) -> None:
    _, name, *said = row
    for codec, cell in zip(("classic", "native"), said, strict=True):
        _, _, expected = read_plan(SCENARIOS / f"{name}.{codec}.txt")
        quoted = re.findall("`([^`]+)`", cell)

        assert quoted
        assert [] == [line for line in quoted if line not in expected.splitlines()]


@pytest.mark.parametrize("name", CLASSIC_DEFECTS)
def test_every_excuse_of_the_original_is_shown_by_name(name: str) -> None:
    defect = CLASSIC_DEFECTS[name]
    listed = f"{'ring' if defect.listed_in == RING else 'users'} {defect.number}"
    line = re.compile(f"^window .*: classic {name} (> |~ [1-9])", re.MULTILINE)
    shown = [
        pair
        for number, pair, *_ in pairs()
        if number == listed and line.search(read_plan(SCENARIOS / f"{pair}.classic.txt")[2])
    ]

    assert shown
