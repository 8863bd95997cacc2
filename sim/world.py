"""The world: virtual time, and everybody who lives in it.

A heap of events and a clock that jumps from one to the next. Nothing here waits, asks a real clock
or draws from a global generator, so a run is a function of its plan. The order of events at the
same instant is the order in which they were planned.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import TypeAlias

from ring.address import DirectorAddress, IpAddress
from ring.effects import Noted
from ring.messages import CLASSIC_MINOR, NATIVE_MINOR
from ring.node import RingNode
from ring.settings import HostSetting, NodeSettings
from sim.actions import Crash
from sim.administrators import Administrators
from sim.agreement import Agreement
from sim.faults import Faults
from sim.machine import Machine
from sim.network import Mark, Network
from sim.plan import Plan
from sim.promises import Promises
from sim.randomness import Stream
from sim.trace import Trace
from sim.windows import AFTERMATH_S
from sim.wire import Wire
from sim.workload import Workload

EPOCH = 1_790_000_000
"""What the true wall clock shows when a run begins."""

PORT = 9090
SNAPSHOT_EVERY_S = 10

STORM_EVENTS = 20_000
"""More events than this in one virtual second, and some for each user: somebody goes in circles."""

FORGETTING = ("host_flushed", "host_removed", "host_tag_changed", "all_users_flushed")
"""After these a director may learn the same users again, and pass them on again."""

SAID_AGAIN = ("user_conflict_settled", "move_contradicted", "move_timed_out")
"""With these a director says on purpose where a user is, changed or not."""

NodeFactory: TypeAlias = Callable[[NodeSettings, float, float], RingNode]


def director_address(number: int) -> DirectorAddress:
    return DirectorAddress(ip=IPv4Address(f"10.0.0.{number}"), port=PORT)


class World:
    def __init__(
        self, plan: Plan, *, node_factory: NodeFactory = RingNode, is_trace_kept: bool = False
    ) -> None:
        self.plan = plan
        self.node_factory = node_factory
        self.now = 0.0
        self.trace = Trace(is_kept=is_trace_kept)
        self.serials = itertools.count(1)
        self.reset_mark = Mark.RESET
        self.has_strays = False
        self.final_users: tuple[str, ...] = ()
        self.rest_s = 0.0
        self.troubles: dict[str, tuple[int, float]] = {}
        self._heap: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._order = itertools.count()
        self._snapshot_takers = {
            action.director
            for action in plan.actions
            if isinstance(action, Crash) and action.snapshot != "none"
        }
        self._events_in_second = 0
        self._storm_events = STORM_EVENTS + 20 * plan.users * plan.directors
        self.network = Network(self)
        self.wire = Wire(self)
        self.promises = Promises(self)
        self.agreement = Agreement(self)
        self.administrators = Administrators(self)
        self.machines = [
            Machine(self, number, self._settings(number)) for number in range(1, plan.directors + 1)
        ]
        self._by_address = {machine.address: machine for machine in self.machines}
        self.workload = Workload(self)
        self.faults = Faults(self)
        for machine in self.machines:
            if plan.skew_s:
                stream = Stream(plan.seed, "skew", machine.number)
                machine.skew_s = stream.uniform(-plan.skew_s, plan.skew_s)
                machine.first_skew_s = machine.skew_s
        self.at(1.0, self._second)

    # --- time -------------------------------------------------------------------------------------

    @property
    def true_wall(self) -> float:
        return EPOCH + self.now

    def at(self, when: float, action: Callable[..., None], *arguments: object) -> None:
        heapq.heappush(self._heap, (when, next(self._order), action, arguments))

    def run_until(self, end: float) -> None:
        """Let time pass. hot: every event of a run"""
        heap = self._heap
        while heap and heap[0][0] <= end:
            when, _, action, arguments = heapq.heappop(heap)
            if when > self.now:
                self.now = when
            action(*arguments)
            self._events_in_second += 1
            if self._events_in_second > self._storm_events:
                self.promises.storm(self._events_in_second)
        self.now = max(self.now, end)

    def _second(self) -> None:
        self._events_in_second = 0
        self.promises.one_host.check_conflicts()
        self.promises.one_host.check_kicks()
        self.promises.check_parked()
        self.administrators.check_answers()
        if self.plan.is_compared:
            self.agreement.look()
        if int(self.now) % SNAPSHOT_EVERY_S == 0:
            for machine in self.live():
                if machine.number in self._snapshot_takers:
                    machine.snapshots.append(machine.take_snapshot())
        self.at(self.now + 1.0, self._second)

    @staticmethod
    def host_ip(number: int) -> IpAddress:
        return IPv4Address(f"10.1.0.{number}")

    # --- who is there -----------------------------------------------------------------------------

    def machine_at(self, address: DirectorAddress) -> Machine | None:
        return self._by_address.get(address)

    def live(self) -> list[Machine]:
        """Return the machines that have a director process, paused or not."""
        return [machine for machine in self.machines if not machine.is_off]

    def is_whole(self) -> bool:
        """Tell whether all directors live and believe that the ring is of one mind."""
        return all(m.node is not None and m.node.is_synced for m in self.machines)

    def noted(self, machine: Machine, note: Noted) -> None:
        if note.kind in SAID_AGAIN:
            self.wire.touched(machine, int(str(note.fields[0][1])))
        elif note.kind in FORGETTING:
            self.wire.forget(machine)
        elif note.kind == "users_brought_back":
            self.wire.brought_back(machine)
        self.promises.noted(machine, note)

    # --- what is wrong just now, without being a window -------------------------------------------

    def trouble_begins(self, name: str) -> Callable[[], None]:
        """Note trouble that slows things down; return what ends it."""
        count, at = self.troubles.get(name, (0, 0.0))
        self.troubles[name] = count + 1, at

        def end() -> None:
            self.troubles[name] = self.troubles[name][0] - 1, self.now

        return end

    def trouble(self) -> str:
        """Return what makes things slow now or did until just now."""
        return next((name for name in self.troubles if self._is_troubled(name)), "")

    def is_kicking_slow(self) -> bool:
        """Tell whether kicks fail or hang somewhere, or did until just now."""
        return self._is_troubled("kick-trouble")

    def _is_troubled(self, name: str) -> bool:
        count, ended_at = self.troubles.get(name, (0, float("-inf")))
        return count > 0 or ended_at + AFTERMATH_S[self.plan.codec] >= self.now

    # --- configuration ----------------------------------------------------------------------------

    def _lacks(self, number: int, other: int) -> bool:
        """Tell whether a director is left out of another's configuration; not both ways."""
        stream = Stream(self.plan.seed, "missing")
        numbers = list(range(1, self.plan.directors + 1))
        lacking = {tuple(stream.sample(numbers, 2)) for _ in range(self.plan.missing)}
        return (number, other) in lacking and (other, number) not in lacking

    def _settings(self, number: int) -> NodeSettings:
        plan = self.plan
        directors = [
            other for other in range(1, plan.directors + 1) if not self._lacks(number, other)
        ]
        is_classic = plan.codec == "classic" or (plan.codec == "mixed" and number % 2 == 0)
        hosts = tuple(
            HostSetting(ip=self.host_ip(host), tag=plan.tag_of(host))
            for host in range(1, plan.hosts + 1)
        )
        return NodeSettings(
            own=director_address(number),
            directors=tuple(director_address(other) for other in directors),
            hosts=hosts,
            user_expire_s=plan.expire_s,
            user_kick_delay_s=plan.kick_delay_s,
            output_buffer_bytes=plan.output_bytes,
            has_flush_program=plan.has_flush_program,
            minor=CLASSIC_MINOR if is_classic else NATIVE_MINOR,
        )
