"""Makes a failing plan small: few actions, few directors, few users, and still the same promise.

Actions are taken out in halves, quarters and so on (delta debugging); keyed randomness lets the
rest of the run stay much the same. Then each setting that the swarm drew is tried with its default
and numbers are made smaller. Every step is a run, so the result is as reliable as the failure.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from ring.node import RingNode
from sim.actions import Action
from sim.plan import Plan, changed
from sim.run import run
from sim.verdict import Promise
from sim.world import NodeFactory

RUNS_MAX = 400


class Shrinker:
    """Counts its runs; `report` is told about each step that helped."""

    def __init__(
        self,
        promise: Promise,
        report: Callable[[str], None],
        *,
        node_factory: NodeFactory = RingNode,
    ) -> None:
        self._promise = promise
        self._report = report
        self._node_factory = node_factory
        self.runs_count = 0

    def shrink(self, plan: Plan) -> Plan:
        """Return the smallest plan found that breaks the same promise."""
        before = None
        while before != plan and self.runs_count < RUNS_MAX:
            before = plan
            plan = self._fewer_actions(plan)
            plan = self._simpler(plan)
        return plan

    def _fails(self, plan: Plan) -> bool:
        if self.runs_count >= RUNS_MAX:
            return False
        self.runs_count += 1
        violation = run(plan, node_factory=self._node_factory).violation
        return violation is not None and violation.promise is self._promise

    def _fewer_actions(self, plan: Plan) -> Plan:
        size = max(1, len(plan.actions) // 2)
        while plan.actions and self.runs_count < RUNS_MAX:
            for start in range(0, len(plan.actions), size):
                rest = plan.actions[:start] + plan.actions[start + size :]
                smaller = attrs.evolve(plan, actions=rest)
                if self._fails(smaller):
                    self._report(f"{len(rest)} actions left")
                    plan = smaller
                    break
            else:
                if size == 1:
                    return plan
                size = max(1, size // 2)
        return plan

    def _simpler(self, plan: Plan) -> Plan:
        """Each step starts from what the one before has reached."""
        for field in attrs.fields(Plan):
            if field.name not in ("seed", "actions", "directors", "users", "codec", "faults_s"):
                plan = self._with(plan, **{field.name: field.default})
        if plan.directors > _highest_director(plan.actions):
            plan = self._with(plan, directors=plan.directors - 1)
        users_min = max(1, _highest(plan.actions, "user"))
        plan = self._with(plan, users=max(users_min, plan.users // 2))
        plan = self._with(plan, users=max(users_min, plan.users - 1))
        last = max((action.at for action in plan.actions), default=0.0)
        return self._with(plan, faults_s=min(plan.faults_s, round(last + 5.0, 3)))

    def _with(self, plan: Plan, **values: object) -> Plan:
        """Return the plan with another setting if it still fails, else as it was."""
        smaller = changed(plan, values)
        if smaller == plan or not self._fails(smaller):
            return plan
        self._report(_difference(plan, smaller))
        return smaller


def _highest(actions: tuple[Action, ...], *names: str) -> int:
    numbers = [int(getattr(action, name, 0)) for action in actions for name in names]
    return max(numbers, default=0)


def _highest_director(actions: tuple[Action, ...]) -> int:
    sides: list[int] = [number for action in actions for number in getattr(action, "side", ())]
    names = ("director", "one", "other", "removed", "source")
    return max(_highest(actions, *names), 1, *sides)


def _difference(plan: Plan, smaller: Plan) -> str:
    return " ".join(
        f"{field.name}={getattr(smaller, field.name)}"
        for field in attrs.fields(Plan)
        if field.name != "actions" and getattr(plan, field.name) != getattr(smaller, field.name)
    )
