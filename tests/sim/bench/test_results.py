"""Medians, ratios, targets and the two forms of the table. Nothing here is timed."""

import json

import pytest

from sim.bench.results import (
    Bound,
    Metric,
    Result,
    Target,
    format_json,
    format_markdown,
    format_number,
    format_table,
)

TWICE = Target(Bound.RATIO_AT_MOST, 2.0)


def result(*rounds: tuple[float | None, float | None], target: Target | None = None) -> Result:
    return Result(bench="login", metric=Metric(name="new", unit="us", target=target), rounds=rounds)


def test_ours_and_real_are_medians_over_the_rounds() -> None:
    found = result((1.0, 30.0), (3.0, 10.0), (2.0, 20.0))

    assert (found.ours, found.real) == (2.0, 20.0)


def test_the_ratio_is_the_median_of_the_ratios_of_the_rounds() -> None:
    """Method: rounds in which the ratio of the medians would be 1."""
    found = result((1.0, 2.0), (2.0, 4.0), (4.0, 1.0))

    assert found.ratio == 0.5


def test_what_was_not_measured_has_no_median_and_no_ratio() -> None:
    found = result((1.0, None), (3.0, None))

    assert (found.ours, found.real, found.ratio) == (2.0, None, None)


def test_a_real_director_that_needs_nothing_gives_no_ratio() -> None:
    assert result((1.0, 0.0)).ratio is None


@pytest.mark.parametrize(
    ("target", "is_met"),
    [
        (None, None),
        (Target(Bound.RATIO_AT_MOST, 0.5), True),
        (Target(Bound.RATIO_AT_MOST, 0.4), False),
        (Target(Bound.RATIO_AT_LEAST, 0.5), True),
        (Target(Bound.RATIO_AT_LEAST, 0.6), False),
        (Target(Bound.VALUE_AT_MOST, 5.0), True),
        (Target(Bound.VALUE_AT_MOST, 4.0), False),
    ],
)
def test_a_target_is_about_the_ratio_or_about_our_number(
    target: Target | None, is_met: bool | None
) -> None:
    assert result((5.0, 10.0), target=target).is_met is is_met


def test_a_ratio_target_without_a_real_director_is_neither_met_nor_missed() -> None:
    assert result((5.0, None), target=TWICE).is_met is None


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, "-"), (0.123, "0.12"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346")],
)
def test_numbers_have_three_digits_that_matter(number: float | None, text: str) -> None:
    assert format_number(number) == text


def test_the_table_is_aligned_and_says_what_was_missed() -> None:
    table = format_table([result((30.0, 10.0), target=TWICE), result((1.0, None))])

    assert table.splitlines() == [
        "bench       unit  ours  real  ratio  target",
        "login: new  us    30.0  10.0   3.00  <= 2x   missed",
        "login: new  us    1.00     -      -",
    ]


def test_the_markdown_table_has_the_same_cells() -> None:
    assert format_markdown([result((30.0, 10.0), target=TWICE)]).splitlines() == [
        "| bench | unit | ours | real | ratio | target |  |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| login: new | us | 30.0 | 10.0 | 3.00 | <= 2x | missed |",
    ]


def test_the_file_is_a_list_of_objects_with_every_round() -> None:
    text = format_json([result((30.0, 10.0), (20.0, None), target=TWICE)])

    assert json.loads(text) == [
        {
            "bench": "login: new",
            "unit": "us",
            "ours": 25.0,
            "real": 10.0,
            "ratio": 3.0,
            "target": "<= 2x",
            "is_met": False,
            "rounds": [[30.0, 10.0], [20.0, None]],
        }
    ]
