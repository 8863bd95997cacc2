"""What counts as one ring of one mind, and a real one that goes through a few seconds of faults."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from sim.cluster.admin import State
from sim.cluster.run import Options, differences, run

WHOLE = State(
    is_synced=True,
    members=frozenset({"10.1.0.1", "10.1.0.2"}),
    neighbours=frozenset({"left", "right"}),
    hosts=(("10.0.0.1", "100", "", "U"),),
    users={"1": "10.0.0.1"},
)


def test_nodes_that_say_the_same_are_one_ring() -> None:
    assert differences({"a": WHOLE, "b": WHOLE}) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"is_synced": False}, "b is not synced"),
        ({"neighbours": frozenset({"left"})}, "b has as neighbours only ['left']"),
        ({"members": frozenset({"10.1.0.2"})}, "b knows 1 of 2 directors"),
        ({"hosts": ()}, "b and a differ in hosts: (), (('10.0.0.1', '100', '', 'U'),)"),
        ({"users": {}}, "b and a differ in 1 users: ['1 on None, 10.0.0.1']"),
    ],
)
def test_whatever_differs_is_named(change: dict[str, object], expected: str) -> None:
    other = State(**{**attrs.asdict(WHOLE, recurse=False), **change})  # type: ignore[arg-type]

    assert differences({"a": WHOLE, "b": other}) == [expected]


@pytest.mark.slow
async def test_a_ring_of_daemons_keeps_its_promises_through_some_faults(directory: Path) -> None:
    options = Options(directors_count=3, dovecots_count=0, duration_s=6.0, seed=1, users_count=100)

    report = await run(options, directory)

    assert report.broken == []
    assert report.logins["logins"] > 100
    assert report.network["connections"] >= 3
