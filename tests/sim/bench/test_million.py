"""The lines of the bench with many users."""

from sim.bench.million import Million


def test_the_name_tells_the_size() -> None:
    assert Million(1_000_000).name == "1 M users"
    assert Million(100_000).name == "100 k users"
