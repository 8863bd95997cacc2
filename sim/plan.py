"""A plan: everything that decides a run, as a value and as a text file.

    set seed=17 directors=3 codec=native users=40 ...
    12.500 pause director=2 seconds=8.000
    ----
    the expected outcome

The file is what `replay` runs, `shrink` makes smaller and `tests/scenarios` keeps. Settings that a
file does not name have the defaults below, so a scenario says only what matters to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import attrs

from sim.actions import Action, format_action, parse_action

CODECS = ("native", "classic", "mixed")
SEPARATOR = "----"


@attrs.frozen(kw_only=True)
class Plan:
    """Settings of a run. Times are seconds.

    `codec` is what the directors speak: our own protocol, Dovecot's, or every other one of both.
    `devices` is how many sessions one user may have at a time, each from any proxy; `session_s`
    and `pause_s` are the mean lengths of a session and of the time between two; if `is_polling` all
    devices of a user log in at the same moments instead, about as far apart as its entry lives.
    `kick_s` is the longest that closing a user's sessions takes when nothing is wrong. `faults_s`
    is how long actions may happen. `batch_s` gathers the users that a director gossips, as a busy
    daemon does. `skew_s` is the largest deviation of a machine's clock from true time; `chunk` the
    largest piece a connection delivers, 0 for whole writes. `missing` is how many entries lack in
    the directors' lists of each other. `is_tapped` reads every byte on the wire a second time, to
    check what is said; `is_compared` compares once a second where the directors have users.
    """

    seed: int
    directors: int = 3
    codec: str = "native"
    users: int = 40
    devices: int = 2
    hosts: int = 4
    tags: int = 1
    faults_s: float = 60.0
    expire_s: int = 30
    kick_delay_s: float = 2.0
    kick_s: float = 0.02
    session_s: float = 8.0
    pause_s: float = 6.0
    is_polling: bool = False
    latency_s: float = 0.002
    jitter_s: float = 0.002
    batch_s: float = 0.0
    chunk: int = 0
    window_bytes: int = 262144
    output_bytes: int = 10485760
    skew_s: float = 0.0
    has_flush_program: bool = False
    missing: int = 0
    abandon: float = 0.0
    is_tapped: bool = True
    is_compared: bool = False
    actions: tuple[Action, ...] = ()

    def tag_of(self, number: int) -> bytes:
        """Return the tag of the mail host, or of the user, with this number."""
        return b"" if number % self.tags == 0 else b"b"


def changed(plan: Plan, values: dict[str, object]) -> Plan:
    """Return the plan with other settings; each value must be of its field's type."""
    return attrs.evolve(plan, **values)  # type: ignore[arg-type]  # checked by whoever names them


def format_plan(plan: Plan, *, comment: str = "", expected: str = "") -> str:
    """Return the plan as a scenario file."""
    words = ["set"]
    for field in attrs.fields(Plan):
        value = getattr(plan, field.name)
        if field.name != "actions" and (field.name == "seed" or value != field.default):
            words.append(f"{field.name}={value}")
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines.append(" ".join(words))
    lines += [format_action(action) for action in plan.actions]
    if expected:
        lines += [SEPARATOR, *expected.splitlines()]
    return "\n".join(lines) + "\n"


def parse_plan(text: str) -> tuple[Plan, str, str]:
    """Return the plan of a scenario file, its comment and its expected outcome.

    Raises:
        ValueError: a line means nothing; the message quotes it.
    """
    head, _, expected = text.partition(f"\n{SEPARATOR}\n")
    values: dict[str, object] = {}
    comment: list[str] = []
    actions: list[Action] = []
    for line in head.splitlines():
        if line.startswith("#"):
            comment.append(line[1:].strip())
        elif line.startswith("set "):
            values.update(parse_settings(line.split()[1:]))
        elif line.strip():
            actions.append(parse_action(line))
    if "seed" not in values:
        raise ValueError("the file has no line `set seed=...`")
    actions.sort(key=lambda action: action.at)
    return _plan(values, actions), "\n".join(comment), expected


def read_plan(path: Path) -> tuple[Plan, str, str]:
    return parse_plan(path.read_text())


def parse_settings(words: Iterable[str]) -> dict[str, object]:
    """Return the values of words like `users=40`.

    Raises:
        ValueError: there is no such setting.
    """
    kinds = {field.name: str(field.type) for field in attrs.fields(Plan)}
    values: dict[str, object] = {}
    for word in words:
        name, _, text = word.partition("=")
        kind = kinds.get(name)
        if kind is None or name == "actions":
            raise ValueError(f"{word!r}: no such setting, expected one of {', '.join(kinds)}")
        if kind == "bool":
            values[name] = text == "True"
        else:
            values[name] = {"int": int, "float": float, "str": str}[kind](text)
    if values.get("codec", "native") not in CODECS:
        raise ValueError(f"codec={values['codec']}, expected one of {', '.join(CODECS)}")
    return values


def _plan(values: dict[str, object], actions: list[Action]) -> Plan:
    return changed(Plan(seed=0, actions=tuple(actions)), values)
