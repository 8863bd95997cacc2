"""What lookups are measured against."""

from sim.bench.lookups import login_in_ring


def test_what_dovecot_does_is_the_target() -> None:
    targets = {metric.name: str(metric.target) for metric in login_in_ring(is_quick=True).metrics}

    assert targets["dovecot auth, new users, serving node"] == "<= 0.8x"
    assert targets["dovecot auth, new users, other node"] == "<= 0.2x"
