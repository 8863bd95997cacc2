"""The table of deadlines against a plain dictionary, and the bound on what it keeps."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from ring.timers import Timers


def pop_all(timers: Timers[str], now: float) -> list[str]:
    popped = []
    while (key := timers.pop_due(now)) is not None:
        popped.append(key)
    return popped


def test_without_timers_nothing_is_ever_due() -> None:
    timers: Timers[str] = Timers()

    assert timers.deadline == math.inf
    assert timers.pop_due(1e9) is None
    assert len(timers) == 0


def test_timers_fall_due_in_order_and_exactly_at_their_deadline() -> None:
    timers: Timers[str] = Timers()
    timers.set("late", 3.0)
    timers.set("early", 1.0)
    timers.set("middle", 2.0)

    assert timers.deadline == 1.0
    assert pop_all(timers, 0.999) == []
    assert pop_all(timers, 2.0) == ["early", "middle"]
    assert "late" in timers
    assert "early" not in timers


def test_equal_deadlines_fire_in_the_order_they_were_set() -> None:
    timers: Timers[str] = Timers()
    for key in "badc":
        timers.set(key, 1.0)

    assert pop_all(timers, 1.0) == ["b", "a", "d", "c"]


def test_setting_again_replaces_the_deadline() -> None:
    timers: Timers[str] = Timers()
    timers.set("a", 1.0)
    timers.set("a", 5.0)

    assert timers.deadline == 5.0
    assert pop_all(timers, 4.0) == []

    timers.set("a", 2.0)

    assert pop_all(timers, 4.0) == ["a"]
    assert len(timers) == 0


def test_a_cancelled_timer_never_fires_and_can_be_set_again() -> None:
    timers: Timers[str] = Timers()
    timers.set("a", 1.0)
    timers.cancel("a")
    timers.cancel("never set")

    assert timers.deadline == math.inf

    timers.set("a", 2.0)

    assert pop_all(timers, 2.0) == ["a"]


def test_replaced_deadlines_do_not_pile_up() -> None:
    timers: Timers[int] = Timers()
    for turn in range(10_000):
        timers.set(turn % 10, float(turn))

    assert len(timers) == 10
    assert len(timers._heap) <= 2 * 10 + 64 + 1
    assert timers.deadline == 9990.0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["set", "set", "cancel", "pop"]), st.integers(0, 5), st.integers(0, 9)
        ),
        max_size=60,
    )
)
def test_the_table_behaves_like_a_dictionary(actions: list[tuple[str, int, int]]) -> None:
    timers: Timers[int] = Timers()
    model: dict[int, float] = {}
    for action, key, at in actions:
        if action == "set":
            timers.set(key, at)
            model.pop(key, None)  # a key that is set again goes behind its equals
            model[key] = at
        elif action == "cancel":
            timers.cancel(key)
            model.pop(key, None)
        else:
            due = [k for k in model if model[k] <= at]
            expected = min(due, key=lambda k: model[k], default=None)

            assert expected == timers.pop_due(at)
            if expected is not None:
                del model[expected]

        assert min(model.values(), default=math.inf) == timers.deadline
        assert len(model) == len(timers)
