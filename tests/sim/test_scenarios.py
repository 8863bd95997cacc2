"""Every file in `tests/scenarios` plays as it expects.

A file is a plan, `----`, and what must be true of its run (`sim/plan.py`, `sim/expect.py`).
`NAME.classic.txt` shows a weak point of the classic protocol with the window that was measured,
`NAME.native.txt` the same plan over our own. `python -m sim replay FILE` plays one; `pytest
--rewrite` writes what was found into the files: read the difference before accepting it.
"""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from sim.expect import rewritten, unmet
from sim.plan import format_plan, read_plan
from sim.run import run

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
