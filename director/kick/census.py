"""How many sessions of this machine lead to which backend, for whoever asks.

A list of all sessions may take Dovecot a second and us 5 us a session, so askers share: who comes
while a list is being made gets the next one, together with all others who wait. The answer comes
as lines of the `director-admin` protocol: `ip <TAB> sessions <TAB> users` for each address that
sessions lead to, whether it is a mail host's or not, or one line `ERROR <TAB> reason`.

Other machines' sessions are not counted: whoever wants those asks the directors there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import trio

from director.kick.listing import LiveSession
from director.kick.queue import KickFailed
from ring.address import IpAddress, ip_key
from ring.codec import tabs

CountsTold: TypeAlias = Callable[[bytes], None]


class Census:
    """`list_live` returns the sessions, or raises KickFailed."""

    def __init__(self, list_live: Callable[[], Awaitable[list[LiveSession]]]) -> None:
        self._list_live = list_live
        send, self._receive = trio.open_memory_channel[CountsTold](math.inf)
        self._ask = send.send_nowait

    def ask(self, told: CountsTold) -> None:
        """Call `told` with the lines, later. The desk bounds how many may ask."""
        self._ask(told)

    async def run(self) -> None:
        """Answer until cancelled."""
        while True:
            askers = [await self._receive.receive()]
            askers += [
                self._receive.receive_nowait()
                for _ in range(self._receive.statistics().current_buffer_used)
            ]
            try:
                lines = counts_lines(await self._list_live())
            except KickFailed as error:
                lines = b"ERROR\t%b\n" % tabs.escape(str(error).encode())
            for told in askers:
                told(lines + b"\n")


def counts_lines(sessions: Sequence[LiveSession]) -> bytes:
    """Return the line of each address, sorted."""
    counts = Counter(session.ip for session in sessions)
    users: dict[IpAddress, set[int]] = {ip: set() for ip in counts}
    for session in sessions:
        users[session.ip].add(session.user_hash)
    return b"".join(
        b"%b\t%d\t%d\n" % (str(ip).encode(), counts[ip], len(users[ip]))
        for ip in sorted(counts, key=ip_key)
    )
