"""What a person sees: names, moves, and above all what did not hold."""

from __future__ import annotations

from rich.console import Console

from director.demo.show import show_outcome
from director.demo.story import Outcome, Step


def shown(outcome: Outcome) -> str:
    console = Console(width=120, force_terminal=False)
    with console.capture() as capture:
        show_outcome(console, outcome)
    return capture.get()


def test_moves_are_marked_and_counted() -> None:
    outcome = Outcome(
        steps=[
            Step(title="first", backend_by_user={"alice": "backend-1", "bob": "backend-2"}),
            Step(
                title="down",
                backend_by_user={"alice": "backend-1", "bob": "backend-1"},
                changed=frozenset({"bob"}),
            ),
        ]
    )
    outcome.check("nobody was lost", True)
    lines = shown(outcome).splitlines()

    assert any("bob" in line and "-> backend-1" in line for line in lines)
    assert any("alice" in line and "->" not in line for line in lines)
    assert any("backend-2" in line and "1" in line and "-" in line for line in lines)
    assert "ok   nobody was lost" in lines


def test_a_check_that_does_not_hold_is_shown_and_decides() -> None:
    outcome = Outcome(steps=[Step(title="first", backend_by_user={"alice": "backend-1"})])
    outcome.check("nobody was lost", False)

    assert "FAIL nobody was lost" in shown(outcome)
    assert not outcome.is_good


def test_without_checks_nothing_is_proved() -> None:
    assert not Outcome().is_good
