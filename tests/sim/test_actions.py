"""Actions as lines of a scenario file."""

from __future__ import annotations

import attrs
import pytest

from sim.actions import ACTIONS, Action, Partition, format_action, parse_action, verb_of

WORDS = {"int": "3", "float": "2.500", "str": "hang", "tuple[int, ...]": "1,3"}


def line_of(verb: str) -> str:
    fields = [f"{f.name}={WORDS[str(f.type)]}" for f in attrs.fields(ACTIONS[verb])]
    return " ".join(["12.500", verb, *fields[1:]])


@pytest.mark.parametrize("verb", ACTIONS)
def test_every_action_is_read_and_written_as_the_same_line(verb: str) -> None:
    action = parse_action(line_of(verb))

    assert line_of(verb) == format_action(action)
    assert verb == verb_of(action)
    assert isinstance(action, Action)
    assert 12.5 == action.at


def test_values_have_the_type_of_their_field() -> None:
    expected = Partition(at=1.0, side=(1, 3), seconds=2.0)

    assert expected == parse_action("1 partition side=1,3 seconds=2")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1.0 explode director=1", "'explode' is no action, expected one of partition"),
        ("1.0 pause director=1", "pause takes director=... seconds=..."),
        ("1.0 pause director=1 seconds=2 by_s=3", "pause takes director=... seconds=..."),
        ("1.0 pause director=1 seconds=2 soon", "pause takes director=... seconds=..."),
    ],
)
def test_line_that_means_nothing_is_refused_with_what_was_expected(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        parse_action(line)
