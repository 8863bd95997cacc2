"""(a, b) What a login or userdb lookup costs the directors.

One ring per kind and size lives through all rounds. The load's connections are made anew for each
measurement, and the relay behind each of them reaches whichever auth service is switched on.

CPU per lookup is the director's own; the node that is logged in to is the "serving" one. In a ring
the measurement ends when the gossip of its last user has been dealt with.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import attrs

from sim.bench.nodes import Auth
from sim.bench.results import Bound, Kind, Metric, Target
from sim.bench.rings import Ring, Site
from sim.bench.tools import Load

KNOWN_COUNT = 1000


@attrs.frozen(kw_only=True)
class Case:
    """One load: so many connections with so many requests outstanding on each."""

    name: str
    connections: int
    window: int
    is_known: bool = False

    def options(self, count: int, prefix: str) -> tuple[str | int, ...]:
        distinct = KNOWN_COUNT if self.is_known else count
        return (
            *("-c", self.connections, "-w", self.window),
            *("-n", count, "-d", distinct, "-u", prefix),
        )


COUNTS = {Auth.DOVECOT: 20_000, Auth.STAND_IN: 40_000}
NEW = Case(name="new users", connections=4, window=64)
KNOWN = Case(name="known users", connections=4, window=64, is_known=True)
SIXTEEN = Case(name="new users, 1 in flight x 16", connections=16, window=1)
MANY = Case(name="new users, 1 in flight x 128", connections=128, window=1)

_numbers = itertools.count(1)
"""Makes prefixes, so that new users are new."""


class Lookups:
    """Measures one protocol in rings of one size, with both auth services."""

    def __init__(
        self,
        *,
        name: str,
        protocol: str,
        nodes_count: int,
        cases: Mapping[Auth, Sequence[Case]],
        serving: Mapping[Case, Target] | None = None,
        others: Mapping[Case, Target] | None = None,
    ) -> None:
        self.name = name
        self._protocol = protocol
        self._nodes_count = nodes_count
        self._cases = [(auth, case) for auth, some in cases.items() for case in some]
        self._serving = serving or {}
        self._others = others or {}
        self._rings: dict[Kind, Ring] = {}

    @property
    def metrics(self) -> tuple[Metric, ...]:
        metrics = []
        for auth, case in self._cases:
            role = "serving node" if self._nodes_count > 1 else "director"
            name = f"{auth.value} auth, {case.name}"
            metrics.append(
                Metric(name=f"{name}, {role}", unit="us CPU", target=self._serving.get(case))
            )
            if self._nodes_count > 1:
                metrics.append(
                    Metric(name=f"{name}, other node", unit="us CPU", target=self._others.get(case))
                )
            else:
                metrics.append(Metric(name=f"{name}, rate", unit="1/s"))
        return tuple(metrics)

    def measure(self, site: Site, kind: Kind) -> dict[str, float]:
        ring = self._rings.get(kind)
        if ring is None:
            ring = self._rings[kind] = Ring(site, kind, self._nodes_count, has_dovecot_auth=True)
            ring.start()
        found: dict[str, float] = {}
        for auth, case in self._cases:
            for node in ring.nodes:
                node.use_auth(auth)
            found |= self._measure_case(site, ring, auth, case)
        return found

    def close(self) -> None:
        for ring in self._rings.values():
            ring.__exit__(None, None, None)

    def _measure_case(self, site: Site, ring: Ring, auth: Auth, case: Case) -> dict[str, float]:
        count = COUNTS[auth] // (2 if site.is_quick else 1)
        prefix = f"n{next(_numbers)}-"
        node = ring.nodes[0]
        socket = node.userdb_socket if self._protocol == "userdb" else node.login_socket
        warming = (*("-p", self._protocol, "-c", 4, "-w", 16), *("-n", KNOWN_COUNT, "-u"))
        Load(site.tools, [socket], *warming, prefix if case.is_known else f"w{prefix}").finish()
        ring.rest()
        before = ring.cpu_s()
        load = Load(site.tools, [socket], "-p", self._protocol, *case.options(count, prefix))
        outcome = load.finish()
        assert outcome.failed == 0, f"{self.name}: {outcome.failed} of {outcome.sent} failed"
        if len(ring.nodes) > 1:
            ring.rest()
        spent_us = [
            1e6 * (after_s - before_s) / count
            for before_s, after_s in zip(before, ring.cpu_s(), strict=True)
        ]
        name = f"{auth.value} auth, {case.name}"
        if len(spent_us) > 1:
            others = sum(spent_us[1:]) / (len(spent_us) - 1)
            return {f"{name}, serving node": spent_us[0], f"{name}, other node": others}
        return {f"{name}, director": spent_us[0], f"{name}, rate": count / outcome.seconds}


AT_MOST_REAL = Target(Bound.RATIO_AT_MOST, 1.0)


def login_alone(*, is_quick: bool) -> Lookups:
    stand_in = (NEW,) if is_quick else (NEW, KNOWN, SIXTEEN)
    return Lookups(
        name="login, 1 node",
        protocol="auth",
        nodes_count=1,
        cases={Auth.DOVECOT: (NEW, KNOWN, SIXTEEN, MANY), Auth.STAND_IN: stand_in},
        serving={NEW: AT_MOST_REAL, KNOWN: AT_MOST_REAL},
    )


def login_in_ring(*, is_quick: bool) -> Lookups:
    cases = (NEW,) if is_quick else (NEW, KNOWN)
    return Lookups(
        name="login, 3 nodes",
        protocol="auth",
        nodes_count=3,
        cases={Auth.DOVECOT: cases, Auth.STAND_IN: cases},
        serving={NEW: Target(Bound.RATIO_AT_MOST, 0.8)},
        others={NEW: Target(Bound.RATIO_AT_MOST, 0.2)},
    )


def userdb() -> Lookups:
    return Lookups(
        name="userdb, 1 node",
        protocol="userdb",
        nodes_count=1,
        cases={Auth.DOVECOT: (NEW, KNOWN), Auth.STAND_IN: (NEW,)},
    )
