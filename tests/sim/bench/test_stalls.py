"""Every event has the same lines, and each line its number."""

from sim.bench.stalls import Stall, stall_metrics, stall_numbers


def test_every_line_of_an_event_has_its_number() -> None:
    stall = Stall(worst_new_ms=12.0, worst_known_ms=3.0, worst_straight_ms=1.0, slow=2, failed=1)

    numbers = stall_numbers("kill", stall)

    assert [metric.name for metric in stall_metrics("kill", 50.0)] == list(numbers)
    assert list(numbers.values()) == [12.0, 3.0, 1.0, 2, 1]


def test_new_logins_have_a_bound_and_none_may_fail() -> None:
    targets = {metric.name: str(metric.target) for metric in stall_metrics("kill", 4000.0)}

    assert targets["kill, worst new login"] == "<= 4000"
    assert targets["kill, logins failed"] == "<= 0"
