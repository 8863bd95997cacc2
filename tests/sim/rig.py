"""Small real worlds: directors in one synced ring, and users who log in only when told."""

from __future__ import annotations

import attrs

from ring.node import RingNode
from sim.machine import Machine
from sim.plan import Plan
from sim.randomness import Stream
from sim.workload import Device, Session, User
from sim.world import NodeFactory, World

NEVER_S = 1e9
"""The mean length of sessions, and of the time between two: nothing happens by itself."""

QUIET = Plan(seed=1, users=3, devices=1, pause_s=NEVER_S, session_s=NEVER_S, expire_s=1000)


def quiet_world(*, node_factory: NodeFactory = RingNode, **settings: object) -> World:
    """Return a world at rest: the ring is synced, nobody is logged in."""
    plan = attrs.evolve(QUIET, **settings)
    world = World(plan, node_factory=node_factory, is_trace_kept=True)
    for machine in world.machines:
        machine.start()
    for _ in range(30):
        world.run_until(world.now + 1.0)
        if is_one_ring(world):
            return world
    raise AssertionError("the ring does not form")


def is_one_ring(world: World) -> bool:
    """Tell whether all directors live, are synced and have two neighbours (or need none)."""
    links = 0 if len(world.machines) == 1 else 2
    return all(
        machine.node is not None
        and machine.node.is_synced
        and machine.node.statistics().links == links
        for machine in world.machines
    )


def user_of(world: World, number: int) -> User:
    return world.workload.users[number - 1]


def start_login(world: World, number: int, machine: Machine) -> None:
    device = Device(user_of(world, number), Stream(1, "test", number))
    world.workload.log_in(device, machine)


def log_in(world: World, number: int, machine: Machine) -> Session:
    """Log a user in through a machine's proxy, and return the session when it lives."""
    start_login(world, number, machine)
    world.run_until(world.now + 0.2)
    session = user_of(world, number).sessions[-1]
    assert session.machine is machine
    assert session.is_live
    return session


def events(world: World, event: str) -> list[str]:
    """Return the details of the events of that name in the trace."""
    return [
        line[19 + len(event) :].strip()
        for line in world.trace.lines
        if line[19:].startswith(f"{event} ")
    ]
