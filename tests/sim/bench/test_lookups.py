"""Names of lookup metrics: one line each, none twice."""

import pytest

from sim.bench.lookups import Lookups, login_alone, login_in_ring, userdb


@pytest.mark.parametrize(
    "bench",
    [
        login_alone(is_quick=True),
        login_alone(is_quick=False),
        login_in_ring(is_quick=True),
        login_in_ring(is_quick=False),
        userdb(),
    ],
)
def test_every_number_has_a_line_of_its_own(bench: Lookups) -> None:
    names = [metric.name for metric in bench.metrics]

    assert sorted(set(names)) == sorted(names)


def test_what_dovecot_does_is_the_target() -> None:
    targets = {metric.name: str(metric.target) for metric in login_in_ring(is_quick=True).metrics}

    assert targets["dovecot auth, new users, serving node"] == "<= 0.8x"
    assert targets["dovecot auth, new users, other node"] == "<= 0.2x"
