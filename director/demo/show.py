"""The demo's outcome as a person reads it: who went where, how many, and what was checked."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from director.demo.story import Outcome

NAMED_USERS = 10
_COLORS = ("cyan", "yellow", "green", "magenta")


def show_outcome(console: Console, outcome: Outcome) -> None:
    """Print two tables and the list of checks."""
    names = sorted({name for step in outcome.steps for name in step.backend_by_user.values()})
    color_by_name = dict(zip(names, _COLORS, strict=False))
    console.print(_users_table(outcome, color_by_name))
    console.print(_counts_table(outcome, color_by_name))
    for check in outcome.checks:
        mark = Text("ok   ", style="green") if check.is_held else Text("FAIL ", style="bold red")
        console.print(mark + Text(check.sentence))


def _users_table(outcome: Outcome, color_by_name: dict[str, str]) -> Table:
    users = list(outcome.steps[0].backend_by_user)
    movers = [user for user in users if any(user in step.changed for step in outcome.steps)]
    others = [user for user in users if user not in movers]
    shown = sorted({*movers[: NAMED_USERS // 2], *others[: NAMED_USERS // 2]})
    table = _table(outcome, "Who went where", "user")
    for user in shown:
        cells = []
        for step in outcome.steps:
            name = step.backend_by_user[user]
            arrow = "-> " if user in step.changed else "   "
            cells.append(Text(arrow + name, style=color_by_name[name]))
        table.add_row(user, *cells)
    table.caption = f"and {len(users) - len(shown)} more; -> marks a user who was moved"
    return table


def _counts_table(outcome: Outcome, color_by_name: dict[str, str]) -> Table:
    table = _table(outcome, "How many", "backend")
    counts = [Counter(step.backend_by_user.values()) for step in outcome.steps]
    for name, color in color_by_name.items():
        table.add_row(Text(name, style=color), *(f"   {count[name] or '-'}" for count in counts))
    return table


def _table(outcome: Outcome, title: str, first: str) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column(first)
    for step in outcome.steps:
        table.add_column(step.title)
    return table
