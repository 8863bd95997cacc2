"""The second half of a run: is everything well again in time, and is nothing left over?

healed -> one ring, same hosts -> nobody new logs in -> same users, nobody on two hosts -> everybody
leaves -> nothing is left, nobody speaks. Each step has a budget of virtual time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ring import limits
from ring.hosts import MailHosts
from ring.lookups import STUCK_WEAK_S, SWEEPS_PER_EXPIRY
from sim.agreement import placed_apart, suspects, users_of
from sim.randomness import digest32
from sim.verdict import Promise

if TYPE_CHECKING:
    from sim.machine import Machine
    from sim.workload import User
    from sim.world import World

RING_S = {"native": 30.0, "classic": 150.0, "mixed": 150.0}
"""From healing to one synced ring. Peers that failed are held off for 60 s, the preferred neighbour
is tried every 30 s, and classic pings take 30 to 60 s to find a dead connection."""

USERS_S = {"native": 20.0, "classic": 20.0, "mixed": 20.0}
REST_EXTRA_S = 10.0
QUIET_S = 4.0
TALK_S = {"native": 20.0, "classic": 100.0, "mixed": 100.0}
"""From rest to silence; a dead connection may be found only now, after the pings' time."""

STEP_S = 0.5
SAMPLE_USERS = 3000
DEVIATIONS_MAX = 6.0
TIMERS_MAX = 12
"""A director at rest has a few timers for itself and a few per link."""


def heal(world: World) -> None:
    world.run_until(world.plan.faults_s)
    world.faults.heal()
    codec = world.plan.codec
    _await(world, RING_S[codec], Promise.ONE_RING, ring_trouble)
    _await(world, RING_S[codec], Promise.SAME_HOSTS, hosts_trouble)
    check_weights(world)
    world.workload.is_open = False
    _await_users(world)
    world.final_users = users_of(world.live()[0])
    world.workload.close()
    left_at = world.now
    world.trace.add(left_at, "-----", "! everybody leaves")
    skew_s = 2 * world.plan.skew_s + world.promises.worst_jump_s  # users from the future
    expire_s = world.plan.expire_s * (1 + 1 / SWEEPS_PER_EXPIRY)
    rest_s = expire_s + STUCK_WEAK_S + limits.MOVE_TIMEOUT_S + skew_s + REST_EXTRA_S
    _await(world, rest_s, Promise.AT_REST, rest_trouble)
    world.rest_s = world.now - left_at
    _await(world, TALK_S[codec], Promise.QUIET, quiet_trouble)


def _await(world: World, budget_s: float, promise: Promise, trouble: object) -> None:
    assert callable(trouble)
    end = world.now + budget_s
    while problem := trouble(world):
        if world.now >= end:
            world.promises.break_(promise, f"{budget_s:.0f} s were not enough: {problem}")
        world.run_until(min(end, world.now + STEP_S))


# --- one ring ---------------------------------------------------------------------------------


def ring_trouble(world: World) -> str:
    """Return what keeps the live directors from being one synced ring, empty if they are."""
    live = world.live()
    for index, machine in enumerate(live):
        node = machine.node
        assert node is not None
        if not node.is_synced:
            return f"{machine.lane} is not synced"
        left, right = live[index - 1], live[(index + 1) % len(live)]
        expected = {"left": left.address, "right": right.address} if len(live) > 1 else {}
        status = node.directors_status(world.now)
        found = {s.role: s.address for s in status if s.role in ("left", "right")}
        if found != expected:
            shown = {role: str(address) for role, address in found.items()}
            return f"{machine.lane} has the neighbours {shown}"
    return ""


def hosts_trouble(world: World) -> str:
    lists = {hosts_of(machine) for machine in world.live()}
    if len(lists) > 1:
        return "; ".join(f"{m.lane}: {hosts_of(m)}" for m in world.live())
    return ring_trouble(world)


def hosts_of(machine: Machine) -> tuple[str, ...]:
    assert machine.node is not None
    return tuple(
        f"{host.ip}@{host.tag.decode()} {host.weight}{' down' if host.is_down else ''}"
        for host in machine.node.hosts
    )


# --- same users -------------------------------------------------------------------------------


def users_trouble(world: World, among: list[User] | None = None) -> str:
    """Return a user (one of these) that two directors do not agree on, empty if there is none."""
    for user in suspects(world) if among is None else among:
        if placed := placed_apart(world, user):
            return f"user {user.number} ({user.user_hash}) is at {placed}"
    if world.promises.one_host.open_conflicts and world.plan.codec == "native":
        numbers = [
            number
            for number, conflict in world.promises.one_host.open_conflicts.items()
            if not any(session.excuse for session in conflict.user.sessions)
        ]
        if numbers:
            return f"user {numbers[0]} is live on two hosts"
    return ""


def _await_users(world: World) -> None:
    end = world.now + USERS_S[world.plan.codec]
    among = suspects(world)
    while problem := users_trouble(world, among):
        if world.now >= end:
            promises = world.promises
            if promises.has_clock_window:  # who had expired by a wrong clock is gone there
                promises.excuse(Promise.SAME_USERS, "clock skew", problem)
            elif not promises.classic_window(Promise.SAME_USERS, "export not forwarded", problem):
                promises.break_(Promise.SAME_USERS, problem)
            return
        world.run_until(world.now + STEP_S)
        if not users_trouble(world, among):
            among = suspects(world)


# --- at rest ----------------------------------------------------------------------------------


def rest_trouble(world: World) -> str:
    """Return what a director still remembers although everybody is gone, empty if nothing."""
    count = len(world.live())
    links = 0 if count == 1 else 2
    if world.administrators.waiting_count:
        return f"{world.administrators.waiting_count} commands wait for an answer"
    for machine in world.live():
        node = machine.node
        assert node is not None
        statistics = node.statistics()
        left_over = {
            "users": statistics.users,
            "parked": statistics.parked,
            "moving": statistics.moving,
            "kicking": statistics.kicking,
            "commands": statistics.commands_waiting,
            "weak": statistics.weak,
            "links": statistics.links - links,
            "special": statistics.special,
            "timers": max(0, statistics.timers - TIMERS_MAX),
        }
        found = {name: number for name, number in left_over.items() if number}
        if found:
            return f"{machine.lane} is left with {found}"
    return ring_trouble(world)


def quiet_trouble(world: World) -> str:
    """Tell who still speaks although nobody does anything; pings do not count."""
    if not world.plan.is_tapped or world.wire.last_talk_at <= world.now - QUIET_S:
        return rest_trouble(world)
    counts = ", ".join(f"{name} {count}" for name, count in sorted(world.wire.messages.items()))
    return f"directors at rest still talk; so far: {counts}"


# --- weights ----------------------------------------------------------------------------------


def check_weights(world: World) -> None:
    """Do hosts get their share, and does a host that goes take nobody else along?"""
    machine = world.live()[0]
    assert machine.node is not None
    hosts = machine.node.hosts
    hashes = [digest32("sample", number) or 1 for number in range(SAMPLE_USERS)]
    for tag in list(hosts.tags):
        up = [host for host in hosts if host.tag == tag and not host.is_down and host.weight]
        if len(up) < 2:
            continue
        total = sum(host.weight for host in up)
        owners = [hosts.lookup(user_hash, tag) for user_hash in hashes]
        for owner in owners:
            if owner is not None and owner.is_down:
                world.promises.break_(
                    Promise.UP_HOST,
                    f"{machine.lane} would send new users to {owner.ip}, which is down",
                )
        for host in up:
            share = host.weight / total
            found = owners.count(host) / SAMPLE_USERS
            # Points fall at random: a host's part of the circle varies by 1/sqrt(points).
            variance = share * (1 - share) / SAMPLE_USERS + share**2 / host.weight
            if abs(found - share) > DEVIATIONS_MAX * variance**0.5:
                world.promises.break_(
                    Promise.WEIGHTS, f"{host.ip} has {found:.3f} of users, expected {share:.3f}"
                )
        gone = up[digest32(world.plan.seed, "gone") % len(up)]
        rest = MailHosts()
        for host in up:
            if host is not gone:
                rest.add(host.ip, tag=tag, hostname=b"", weight=host.weight)
        for user_hash, owner in zip(hashes, owners, strict=True):
            found_host = rest.lookup(user_hash, tag)
            assert owner is not None
            assert found_host is not None
            if owner is not gone and owner.ip != found_host.ip:
                world.promises.break_(
                    Promise.WEIGHTS,
                    f"without {gone.ip} a user of {owner.ip} goes to {found_host.ip}",
                )
