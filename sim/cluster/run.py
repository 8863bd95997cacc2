"""One run: a ring is started, used in calm, used in turmoil, healed, and asked what it thinks.

Calm means that links are slow and break bytes anywhere, but nothing is lost: logins and
administrators go on and every promise holds to the letter. In turmoil nodes and links fail as well,
and of the promises about single logins only those are kept that a failing ring can keep (`ledger`).
Then everything is undone, and within `HEAL_S` all nodes must report one synced ring with the same
hosts and the same users, and send every user to the same host.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import attrs
import trio

from sim.cluster.admin import State
from sim.cluster.administrators import Administrators
from sim.cluster.auth import AuthService
from sim.cluster.clients import all_users, keep_logging_in, login_everybody
from sim.cluster.faults import Faults
from sim.cluster.ledger import DIFFERENCES_SHOWN, Ledger
from sim.cluster.nodes import Node, Shared, ended_at_last
from sim.cluster.places import Places
from sim.cluster.proxy import Network
from sim.randomness import Stream

HOSTS_COUNT = 5
ADMINISTRATORS_COUNT = 2
START_S = 60.0
HEAL_S = 90.0
LOGIN_S_MAX = 35.0
"""A login that waits for the ring is refused after 30 s; the rest is this machine's."""
CALM_SHARE = 0.4
POLL_S = 0.2
ASK_S = 20.0
USERS_SHOWN = 5

QUICK_SETTINGS = {
    "director_user_expire": "15 min",
    "director_user_kick_delay": "1 s",
    "director_ping_idle_timeout": "2 s",
    "director_ping_max_timeout": "4 s",
}
"""A hung neighbour is given up after seconds, not after a minute."""


@attrs.frozen(kw_only=True)
class Options:
    """`dovecots_count` of the `directors_count` nodes are real Dovecot 2.3 directors."""

    directors_count: int
    dovecots_count: int
    duration_s: float
    seed: int
    users_count: int
    has_flushes: bool = False
    """See `Administrators`."""


@attrs.frozen(kw_only=True)
class Report:
    """`broken` is empty if all promises were kept."""

    broken: list[str]
    broken_count: int
    logins: Counter[str]
    calm_waits_s: list[float]
    turmoil_waits_s: list[float]
    faults: Counter[str]
    network: Counter[str]
    answers: Counter[str]
    started_s: float
    healed_s: float
    users_count: int


async def run(options: Options, directory: Path) -> Report:
    """Start everything below `directory`, play, end everything."""
    places = Places()
    try:
        return await _Cluster(options, directory, places).play()
    finally:
        places.release()


class _Cluster:
    def __init__(self, options: Options, directory: Path, places: Places) -> None:
        self._options = options
        self._network = Network(options.seed)
        self._ledger = Ledger(limit_s=LOGIN_S_MAX)
        self._auth = AuthService(directory / "auth")
        members = [places.node() for _ in range(options.directors_count)]
        hosts = places.backends(HOSTS_COUNT)
        shared = Shared(
            directory=directory,
            auth=directory / "auth",
            director={
                "director_servers": " ".join(f"{place.ip}:{place.port}" for place in members),
                "director_mail_servers": " ".join(hosts),
                **QUICK_SETTINGS,
            },
            test_port=places.test_port(),
        )
        self._nodes = [
            Node(place, self._network, shared, is_real=number < options.dovecots_count)
            for number, place in enumerate(members)
        ]
        self._users = all_users(options.users_count)
        self._administrators = Administrators(
            nodes=self._nodes,
            hosts=hosts,
            users=self._users,
            ledger=self._ledger,
            has_flushes=options.has_flushes,
        )
        self._faults = Faults(self._nodes, self._network, Counter())

    async def play(self) -> Report:
        async with trio.open_nursery() as nursery, ended_at_last(self._nodes):
            await nursery.start(self._network.run)
            await nursery.start(self._auth.run)
            started_s = await self._start()
            async with trio.open_nursery() as busy:
                for node in self._nodes:
                    stream = Stream(self._options.seed, "clients", node.place.ip)
                    busy.start_soon(keep_logging_in, node, self._users, stream, self._ledger)
                await self._administrate_and_fail()
                busy.cancel_scope.cancel()
            healed_s = await self._heal()
            nursery.cancel_scope.cancel()
        return self._report(started_s, healed_s)

    async def _start(self) -> float:
        begun_at = trio.current_time()
        async with trio.open_nursery() as nursery:
            for node in self._nodes:
                nursery.start_soon(node.start)
        await self._wait_agreed(START_S, "after the start")
        return trio.current_time() - begun_at

    async def _administrate_and_fail(self) -> None:
        calm_s = self._options.duration_s * CALM_SHARE
        async with trio.open_nursery() as office:
            for number in range(ADMINISTRATORS_COUNT):
                stream = Stream(self._options.seed, "administrator", number)
                office.start_soon(self._administrators.work, stream)
            await trio.sleep(calm_s)
            self._ledger.begin_turmoil(trio.current_time())
            await self._faults.run(self._options.seed, self._options.duration_s - calm_s)
            office.cancel_scope.cancel()

    async def _heal(self) -> float:
        """Return how many seconds it took until all agree; judge what they agree on."""
        begun_at = trio.current_time()
        await self._wait_agreed(HEAL_S, "after healing")
        healed_s = trio.current_time() - begun_at
        await self._compare_logins()
        for node in self._nodes:
            for line in node.complaints():
                self._ledger.blame(line)
        return healed_s

    async def _wait_agreed(self, timeout_s: float, when: str) -> None:
        """Wait until all nodes tell the same; blame them if that takes too long."""
        differences = ["nobody was asked"]
        with trio.move_on_after(timeout_s):
            while differences:
                await trio.sleep(POLL_S)
                try:
                    differences = await self._differences()
                except OSError as error:
                    differences = [str(error)]
        for line in differences[:DIFFERENCES_SHOWN]:
            self._ledger.blame(f"{when}, not within {timeout_s:g} s: {line}")

    async def _differences(self) -> list[str]:
        states = {}
        for node in self._nodes:
            async with node.admin(ASK_S) as admin:
                states[node.name] = await admin.state()
        return differences(states)

    async def _compare_logins(self) -> None:
        """Log everybody in at every node: each user must come to one host."""
        reached = {}
        for node in self._nodes:
            try:
                reached[node.name] = await login_everybody(node, self._users, self._ledger)
            except OSError as error:
                self._ledger.blame(f"after healing, logins at {node.name}: {error}")
        for user in self._users:
            hosts = {name: found[user] for name, found in reached.items()}
            if len(set(hosts.values())) > 1 or "" in hosts.values():
                self._ledger.blame(f"after healing, {user} is sent to {hosts}")

    def _report(self, started_s: float, healed_s: float) -> Report:
        ledger = self._ledger
        return Report(
            broken=ledger.broken,
            broken_count=ledger.counts["promises broken"],
            logins=ledger.counts,
            calm_waits_s=sorted(ledger.calm_waits_s),
            turmoil_waits_s=sorted(ledger.turmoil_waits_s),
            faults=self._faults.counts,
            network=self._network.counts,
            answers=self._administrators.answers,
            started_s=started_s,
            healed_s=healed_s,
            users_count=len(self._users),
        )


def differences(states: dict[str, State]) -> list[str]:
    """Return one line for each thing that keeps these nodes from being one ring of one mind."""
    found = []
    first_name, first = next(iter(states.items()))
    wanted = {"left", "right"} if len(states) > 1 else set()
    for name, state in states.items():
        if not state.is_synced:
            found.append(f"{name} is not synced")
        if state.neighbours < wanted:
            found.append(f"{name} has as neighbours only {sorted(state.neighbours)}")
        if len(state.members) != len(states):
            found.append(f"{name} knows {len(state.members)} of {len(states)} directors")
        if state.hosts != first.hosts:
            found.append(f"{name} and {first_name} differ in hosts: {state.hosts}, {first.hosts}")
        users = state.users.items() ^ first.users.items()
        if users:
            hashes = sorted({user_hash for user_hash, _ in users})
            shown = [
                f"{user_hash} on {state.users.get(user_hash)}, {first.users.get(user_hash)}"
                for user_hash in hashes[:USERS_SHOWN]
            ]
            found.append(f"{name} and {first_name} differ in {len(hashes)} users: {shown}")
    return found
