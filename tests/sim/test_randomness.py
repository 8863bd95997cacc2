"""Streams: what one draws depends on its name and on nothing else."""

from __future__ import annotations

from sim.randomness import Stream, digest32


def test_the_digest_is_the_same_in_every_process() -> None:
    assert 2702086657 == digest32("user", 1, 2)


def test_the_same_name_draws_the_same_and_another_does_not() -> None:
    first, again, other, elsewhere = (
        [stream.bits() for _ in range(10)]
        for stream in (Stream(1, "a", 2), Stream(1, "a", 2), Stream(1, "a", 3), Stream(2, "a", 2))
    )

    assert first == again
    assert first != other
    assert first != elsewhere


def test_whole_numbers_reach_both_ends() -> None:
    stream = Stream(1, "integers")

    assert {3, 4, 5} == {stream.integer(3, 5) for _ in range(100)}
    assert 7 == stream.integer(7, 7)


def test_fractions_lie_in_their_range_and_chances_come_as_often_as_they_should() -> None:
    stream = Stream(1, "fractions")
    drawn = [stream.uniform(2.0, 4.0) for _ in range(2000)]

    assert all(2.0 <= number < 4.0 for number in drawn)
    assert abs(sum(drawn) / len(drawn) - 3.0) < 0.05
    assert abs(sum(stream.chance(0.2) for _ in range(2000)) / 2000 - 0.2) < 0.05


def test_lengths_have_the_mean_that_was_asked_for() -> None:
    stream = Stream(1, "lengths")
    drawn = [stream.exponential(8.0) for _ in range(2000)]

    assert min(drawn) >= 0.0
    assert abs(sum(drawn) / len(drawn) - 8.0) < 0.5


def test_a_sample_has_different_items_of_the_list() -> None:
    stream = Stream(1, "sample")
    items = list(range(20))
    drawn = [tuple(stream.sample(items, 5)) for _ in range(20)]

    assert {5} == {len(set(sample)) for sample in drawn}
    assert {item for sample in drawn for item in sample} <= set(items)
    assert 20 == len(set(drawn))
    assert stream.choice(items) in items
