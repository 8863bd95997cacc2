"""Tells a run as a story: a timeline in text, or a picture with directors as lanes.

Both read the trace, whose columns are fixed: time, lane, event, details. The story ends at the
broken promise and starts some seconds before it; what the violation names (users, hosts, directors)
is kept, routine is left out.
"""

from __future__ import annotations

import html
import re

import attrs

from sim.actions import format_action
from sim.run import Outcome

ROUTINE = {"login", "sent to", "ping_was_slow", "clock_skew_seen"}
"""Left out unless a line speaks of what the violation names."""

WIDTH = 1200
ROW_PIXELS = 18
LANE_PIXELS = 150

COLOURS = {"!": "#b36b00", "PROMISE BROKEN": "#c00000", "excused": "#7a3db8"}


@attrs.frozen(kw_only=True)
class Event:
    at: float
    lane: str
    what: str
    detail: str


def parse_line(line: str) -> Event:
    """Return the event of one trace line."""
    at, rest = line[:12], line[13:]
    return Event(at=float(at), lane=rest[:5].strip(), what=rest[6:24].strip(), detail=rest[25:])


def timeline(outcome: Outcome, seconds: float) -> str:
    """Return the story in text."""
    lines = []
    if outcome.violation is None:
        lines.append("All promises were kept.")
    else:
        lines.append(str(outcome.violation))
    lines.append("")
    for action in outcome.plan.actions:
        lines.append(f"  planned {format_action(action)}")
    lines.append("")
    for event in _story(outcome, seconds):
        mark = ">>" if event.what.startswith("!") or event.what == "PROMISE BROKEN" else "  "
        lines.append(f"{mark} {event.at:10.3f} {event.lane:<5} {event.what:<20} {event.detail}")
    return "\n".join(lines)


def picture(outcome: Outcome, seconds: float) -> str:
    """Return the story as a page: time goes down, each director has a lane."""
    events = _story(outcome, seconds)
    lanes = [f"d{number:02d}" for number in range(1, outcome.plan.directors + 1)]
    height = ROW_PIXELS * (len(events) + 3)
    width = max(WIDTH, 100 + LANE_PIXELS * len(lanes))
    parts = [_svg_lane(index, lane, height) for index, lane in enumerate(lanes)]
    for row, event in enumerate(events, start=2):
        parts.append(_svg_event(row, event, lanes, width))
        parts.append(_svg_message(row, event, lanes))
    title = html.escape(str(outcome.violation or "All promises were kept."))
    drawing = "\n".join(filter(None, parts))
    return (
        "<!doctype html><meta charset=utf-8>"
        f"<title>{title}</title>"
        "<style>body{font:13px sans-serif;margin:2em}text{font:11px monospace}</style>"
        f"<h1>{title}</h1>\n"
        f'<svg width="{width}" height="{height}">{drawing}</svg>\n'
    )


def _story(outcome: Outcome, seconds: float) -> list[Event]:
    events = [parse_line(line) for line in outcome.lines]
    end = outcome.violation.at if outcome.violation else outcome.virtual_s
    names = _names(outcome)
    chosen = []
    for event in events:
        is_named = any(name.search(event.detail) for name in names)
        is_fault = event.lane == "-----"
        is_late = event.at >= end - seconds
        if is_fault or is_named or (is_late and event.what not in ROUTINE):
            chosen.append(event)
    return chosen


def _names(outcome: Outcome) -> list[re.Pattern[str]]:
    """What the violation speaks of: its user, by number and by hash."""
    if outcome.violation is None:
        return []
    found = re.findall(r"user (\d+)", outcome.violation.detail)
    hashes = re.findall(r"\b\d{6,10}\b", outcome.violation.detail)
    return [re.compile(rf"user={n}\b|user {n}\b") for n in found] + [
        re.compile(rf"\b{h}\b") for h in hashes
    ]


def _x(index: int) -> int:
    return 110 + LANE_PIXELS * index


def _svg_lane(index: int, lane: str, height: int) -> str:
    x = _x(index)
    return (
        f'<line x1="{x}" y1="24" x2="{x}" y2="{height}" stroke="#ccc"/>'
        f'<text x="{x - 10}" y="16" font-weight="bold">{lane}</text>'
    )


def _svg_event(row: int, event: Event, lanes: list[str], width: int) -> str:
    y = ROW_PIXELS * row
    colour = next((c for start, c in COLOURS.items() if event.what.startswith(start)), "#222")
    text = html.escape(f"{event.what} {event.detail}"[:110])
    when = f'<text x="4" y="{y}" fill="#888">{event.at:.3f}</text>'
    if event.lane in lanes:
        x = _x(lanes.index(event.lane))
        dot = f'<circle cx="{x}" cy="{y - 4}" r="3" fill="{colour}"/>'
        return f'{when}{dot}<text x="{x + 8}" y="{y}" fill="{colour}">{text}</text>'
    band = f'<rect x="90" y="{y - 13}" width="{width - 90}" height="16" fill="{colour}22"/>'
    return f'{when}{band}<text x="96" y="{y}" fill="{colour}" font-weight="bold">{text}</text>'


def _svg_message(row: int, event: Event, lanes: list[str]) -> str:
    """An arrow for what goes from one director to another."""
    match = re.search(r"(to|from)=(d\d+)", event.detail)
    if match is None or event.lane not in lanes or match[2] not in lanes:
        return ""
    y = ROW_PIXELS * row - 4
    here, there = _x(lanes.index(event.lane)), _x(lanes.index(match[2]))
    return f'<line x1="{here}" y1="{y}" x2="{there}" y2="{y}" stroke="#68a" stroke-dasharray="3"/>'
