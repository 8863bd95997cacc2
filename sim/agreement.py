"""Do the directors agree on where users are, and if not, for how long?

A user is *apart* while directors have it on different hosts, or some do not know it at all. Entries
that are about to expire do not count, as some directors forget them a moment before others; nor do
those whose time lies ahead, of a clock that had jumped: whoever hears them anew has them younger.

How long somebody was apart is measured once a second if the plan asks for it (`is_compared`), and
only while no fault lasts: what it leaves behind is the question, as a split ring cannot agree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ring.lifetime import expiry_margin_s

if TYPE_CHECKING:
    from sim.machine import Machine
    from sim.workload import User
    from sim.world import World

SLACK_S = 1.5
"""Gossip takes a moment, and times are whole seconds."""


class Agreement:
    """Measures how long users are apart."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._since: dict[int, float] = {}
        self.longest_apart_s = 0.0

    def look(self) -> None:
        world = self._world
        if world.promises.faults.is_any_open:
            self._since.clear()
            return
        apart = [user.number for user in suspects(world) if placed_apart(world, user)]
        self._since = {number: self._since.get(number, world.now) for number in apart}
        seconds = world.now - min(self._since.values(), default=world.now)
        self.longest_apart_s = max(self.longest_apart_s, seconds)


def users_of(machine: Machine) -> tuple[str, ...]:
    """Return where a director has the users that it knows, by their numbers."""
    node, world = machine.node, machine.world
    assert node is not None
    found = []
    for user in world.workload.users:
        current = node.user_status(user.user_hash, user.tag, world.now).current
        if current is not None:
            found.append(f"{user.number} {current.ip}")
    return tuple(found)


def placed_apart(world: World, user: User) -> dict[str, str]:
    """Return where each director has this user, nothing if that is the same or about to expire."""
    plan = world.plan
    fresh_s = plan.expire_s - expiry_margin_s(plan.expire_s) - 2 * plan.skew_s - SLACK_S
    placed = {}
    newest = 0
    for machine in world.live():
        assert machine.node is not None
        status = machine.node.user_status(user.user_hash, user.tag, world.now)
        placed[machine.lane] = str(status.current.ip) if status.current else "nowhere"
        if status.expires_at:
            newest = max(newest, status.expires_at - plan.expire_s)
    is_from_future = newest > world.true_wall + 2 * plan.skew_s + 1
    is_fresh = newest + fresh_s > world.true_wall
    return placed if len(set(placed.values())) > 1 and is_fresh and not is_from_future else {}


def suspects(world: World) -> list[User]:
    """Return the users whom the tables place differently.

    By columns, because a hundred directors have ten million entries.
    """
    users = world.workload.users
    found: set[int] = set()
    for tag in sorted({user.tag for user in users}):
        rows = [row for row, user in enumerate(users) if user.tag == tag]
        hashes = [users[row].user_hash for row in rows]
        first, *rest = [machine.places(tag, hashes) for machine in world.live()]
        for places in rest:
            if places != first:
                found.update(row for row, a, b in zip(rows, first, places, strict=True) if a != b)
    return [users[row] for row in sorted(found)]
