"""A failure is told as a story, in text and as a picture."""

from __future__ import annotations

import functools
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from click.testing import CliRunner

from sim.cli import sim
from sim.explain import Event, parse_line, picture, timeline
from sim.plan import Plan, format_plan, parse_plan
from sim.run import Outcome, run
from tests.sim.planted import BUGS

TEXT = """\
set seed=1 directors=3 users=4 hosts=3 faults_s=40.0
6.000 move-user director=1 user=2 host=1
6.500 move-user director=1 user=2 host=2
"""


@functools.cache
def failure() -> Outcome:
    """A move that nobody confirms, because USER-KILLED is dropped."""
    plan, _, _ = parse_plan(TEXT)
    bug = next(bug for bug in BUGS if bug.name == "drops a USER-KILLED")
    with bug.planted():
        outcome = run(plan, is_trace_kept=True)
    assert outcome.violation is not None
    return outcome


def test_a_trace_line_is_read_by_its_columns() -> None:
    line = f"{12.5:12.6f} {'d02':<5} {'kick begun':<18} kick=1 of=user"

    assert Event(at=12.5, lane="d02", what="kick begun", detail="kick=1 of=user") == parse_line(
        line
    )


def test_the_story_begins_with_what_broke_and_ends_there() -> None:
    lines = timeline(failure(), 20.0).splitlines()

    assert str(failure().violation) == lines[0]
    assert "  planned 6.000 move-user director=1 user=2 host=1" in lines
    assert ">>" == lines[-1][:2]
    assert "PROMISE BROKEN" in lines[-1]
    assert any("! move-user" in line for line in lines)


def test_routine_is_left_out_unless_it_is_about_who_is_named() -> None:
    story = timeline(failure(), 20.0)
    outcome = failure()
    logins = [line for line in outcome.lines if " sent to " in line]

    assert logins
    assert not [line for line in story.splitlines() if " sent to " in line]


def test_a_run_that_keeps_all_promises_says_so() -> None:
    outcome = run(Plan(seed=1, directors=2, users=1, faults_s=5.0), is_trace_kept=True)

    assert "All promises were kept." == timeline(outcome, 5.0).splitlines()[0]
    assert "<h1>All promises were kept.</h1>" in picture(outcome, 5.0)


def test_the_picture_has_a_lane_for_each_director_and_marks_the_broken_promise() -> None:
    page = picture(failure(), 20.0)
    drawing = ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])
    texts = [text.text or "" for text in drawing.iter("text")]
    broken = [t for t in drawing.iter("text") if (t.text or "").startswith("PROMISE BROKEN")]

    assert {"d01", "d02", "d03"} <= set(texts)
    assert any("! move-user" in text for text in texts)
    assert ["#c00000"] == [text.get("fill") for text in broken]
    assert [text.text for text in broken] == [texts[-1]], "the story ends there"
    assert list(drawing.iter("line")), "lanes"


@pytest.mark.slow
def test_the_command_writes_the_picture_of_a_file(tmp_path: Path) -> None:
    file, page = tmp_path / "failure.txt", tmp_path / "failure.html"
    file.write_text(format_plan(failure().plan))
    bug = next(bug for bug in BUGS if bug.name == "drops a USER-KILLED")
    with bug.planted():
        done = CliRunner().invoke(
            sim, ["explain", str(file), "--html", str(page)], catch_exceptions=False
        )
        told = CliRunner().invoke(sim, ["explain", str(file)], catch_exceptions=False)

    assert (0, f"{page} written\n") == (done.exit_code, done.output)
    assert "moves broken" in page.read_text()
    assert told.output.startswith("moves broken")
