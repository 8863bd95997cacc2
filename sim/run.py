"""One run: a plan in, an outcome out."""

from __future__ import annotations

import traceback
from pathlib import Path

import attrs

from ring.node import RingNode
from sim.healing import heal, hosts_of
from sim.plan import Plan
from sim.randomness import Stream
from sim.verdict import Broken, Promise, Violation
from sim.world import NodeFactory, World

START_S = 2.0
"""Directors are started one by one within this time."""


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of a run; `violation` is None if all promises were kept."""

    plan: Plan
    violation: Violation | None
    digest: str
    lines: tuple[str, ...]
    virtual_s: float
    events: int
    logins: int
    failed_logins: int
    parked: int
    sessions: int
    kicked: int
    waits: tuple[float, ...]
    bytes_sent: int
    writes: int
    rows: int
    faults: dict[str, int]
    windows: dict[str, int]
    notes: dict[str, int]
    messages: dict[str, int]
    conflicts: int
    conflicts_settled: int
    worst_conflict_s: float
    worst_by_window: dict[str, float]
    longest_apart_s: float
    rest_s: float
    final_hosts: tuple[str, ...]
    final_users: tuple[str, ...]


def run(
    plan: Plan, *, node_factory: NodeFactory = RingNode, is_trace_kept: bool = False
) -> Outcome:
    """Play a plan to its end, or to its first broken promise."""
    world = World(plan, node_factory=node_factory, is_trace_kept=is_trace_kept)
    violation: Violation | None = None
    try:
        _start(world)
        heal(world)
    except Broken as broken:
        violation = broken.violation
    except Exception as error:  # whatever a node raises is a finding, and the run is over
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{where.name} in {Path(where.filename).name}:{where.lineno}"
        detail = f"{type(error).__name__}: {error} at {place}"
        violation = Violation(at=world.now, promise=Promise.NO_BUG, detail=detail)
        world.trace.add(world.now, "-----", "PROMISE BROKEN", f"no-bug: {detail}")
    return _outcome(world, violation)


def _start(world: World) -> None:
    stream = Stream(world.plan.seed, "start")
    for machine in world.machines:
        world.at(START_S * stream.fraction(), machine.start)
    for action in world.plan.actions:
        world.at(action.at, world.faults.perform, action)


def _outcome(world: World, violation: Violation | None) -> Outcome:
    workload, promises = world.workload, world.promises
    live = world.live()
    return Outcome(
        plan=world.plan,
        violation=violation,
        digest=world.trace.digest,
        lines=tuple(world.trace.lines),
        virtual_s=world.now,
        events=world.trace.events_count,
        logins=workload.logins_count,
        failed_logins=workload.failed_count,
        parked=workload.parked_count,
        sessions=workload.sessions_count,
        kicked=workload.kicked_count,
        waits=tuple(workload.waits),
        bytes_sent=world.network.bytes_sent,
        writes=world.network.writes_count,
        rows=world.wire.rows_count,
        faults=dict(world.faults.counts),
        windows=dict(promises.windows),
        notes=dict(promises.notes),
        messages=dict(world.wire.messages),
        conflicts=promises.one_host.conflicts_count,
        conflicts_settled=promises.one_host.conflicts_settled_count,
        worst_conflict_s=promises.one_host.worst_conflict_s,
        worst_by_window=dict(promises.one_host.worst_by_window),
        longest_apart_s=world.agreement.longest_apart_s,
        rest_s=world.rest_s,
        final_hosts=hosts_of(live[0]) if live else (),
        final_users=world.final_users,
    )
