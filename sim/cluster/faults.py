"""What happens to nodes and links in turmoil. Each fault is begun and undone by one function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import attrs
import trio

from sim.cluster.nodes import Node
from sim.cluster.proxy import Network
from sim.randomness import Stream

PAUSE_S_MAX = 1.0
DURATION_S = (0.2, 5.0)
AT_A_TIME = 2

Fault: TypeAlias = Callable[[Stream], Awaitable[None]]


@attrs.define(eq=False)
class Faults:
    """A node that one fault has in its hands is left alone by the others."""

    nodes: list[Node]
    network: Network
    counts: Counter[str]
    _busy: set[Node] = attrs.Factory(set)

    async def run(self, seed: int, duration_s: float) -> None:
        """Let faults happen for so long; all are undone when it returns."""
        end = trio.current_time() + duration_s
        async with trio.open_nursery() as nursery:
            for number in range(AT_A_TIME):
                nursery.start_soon(self._fail_repeatedly, Stream(seed, "faults", number), end)

    async def _fail_repeatedly(self, stream: Stream, end: float) -> None:
        kinds: list[Fault] = [
            self._kill,
            self._stop,
            self._hang,
            self._cut,
            self._silence_one_way,
            self._isolate,
        ]
        while True:
            await trio.sleep(stream.uniform(0, PAUSE_S_MAX))
            if trio.current_time() >= end:
                return
            await stream.choice(kinds)(stream)

    # --- nodes --------------------------------------------------------------------------------

    async def _kill(self, stream: Stream) -> None:
        node = self._take(stream)
        if node is None:
            return
        self.counts["kill"] += 1
        node.kill()
        await _last(stream)
        await node.start()
        self._busy.remove(node)

    async def _stop(self, stream: Stream) -> None:
        node = self._take(stream)
        if node is None:
            return
        self.counts["clean stop"] += 1
        await node.stop()
        await _last(stream)
        await node.start()
        self._busy.remove(node)

    async def _hang(self, stream: Stream) -> None:
        node = self._take(stream)
        if node is None:
            return
        self.counts["hang"] += 1
        node.pause()
        await _last(stream)
        node.resume()
        self._busy.remove(node)

    def _take(self, stream: Stream) -> Node | None:
        """Return a node that nothing happens to; never the last one that runs."""
        free = [node for node in self.nodes if node not in self._busy]
        if len(free) < 2:
            return None
        node = stream.choice(free)
        self._busy.add(node)
        return node

    # --- links --------------------------------------------------------------------------------

    async def _cut(self, stream: Stream) -> None:
        first, second = self._pair(stream)
        self.counts["cut"] += 1
        self.network.cut(first, second)
        await _last(stream)
        self.network.mend(first, second)

    async def _silence_one_way(self, stream: Stream) -> None:
        source, target = self._pair(stream)
        self.counts["silence one way"] += 1
        self.network.silence(source, target)
        await _last(stream)
        self.network.let_flow(source, target)

    async def _isolate(self, stream: Stream) -> None:
        """One node, or several, and the rest hear nothing of each other."""
        ips = [node.place.ip for node in self.nodes]
        inside = stream.sample(ips, stream.integer(1, max(1, len(ips) // 2)))
        pairs = [(x, y) for x in inside for y in ips if y not in inside]
        self.counts["partition"] += 1
        for first, second in pairs:
            self.network.silence(first, second)
            self.network.silence(second, first)
        await _last(stream)
        for first, second in pairs:
            self.network.let_flow(first, second)
            self.network.let_flow(second, first)

    def _pair(self, stream: Stream) -> tuple[str, str]:
        first, second = stream.sample([node.place.ip for node in self.nodes], 2)
        return first, second


async def _last(stream: Stream) -> None:
    await trio.sleep(stream.uniform(*DURATION_S))
