"""Signs of life: when a link is asked for one, and how long it may take (ring-protocol.md 12).

One *idle* timer per link restarts with all input; what it means depends on the phase. While a
PING is unanswered a second timer, which input does not restart, bounds the whole wait. What happens
to a link that fails is `neighbours.py`'s business.
"""

from __future__ import annotations

from ring.link import Link, Phase
from ring.messages import Ping, Pong
from ring.state import State

CONNECT_TIMEOUT_S = 10.0
ME_TIMEOUT_S = 10.0
OUTGOING_HANDSHAKE_TIMEOUT_S = 30.0
INCOMING_HANDSHAKE_TIMEOUT_S = 40.0
PING_SYNCED_S = 15.0
PING_UNSYNCED_S = 1.0
SLOW_PING_S = 5
"""All from ring-protocol.md section 15."""

NATIVE_GREETING_TIMEOUT_S = 1.5
"""In a native ring a peer that does not accept or say who it is within this time is hung."""

NATIVE_PING_OUTGOING_S = 1.0
NATIVE_PING_INCOMING_S = 1.5
NATIVE_SILENCE_MAX_S = 3.0
"""Between our own nodes a neighbour that is silent for so long is hung (DESIGN section 3). The end
that dialled asks first, which is a sign of life for the other too; that one asks if it did not."""


class Heartbeat:
    def __init__(self, state: State) -> None:
        self._state = state

    def ping(self, link: Link) -> None:
        """Ask a neighbour for a sign of life, unless one is awaited already."""
        state = self._state
        if link.ping_sent_at is not None:
            return
        link.ping_sent_at = state.now
        link.send(Ping(wall=state.wall, unsent_bytes=link.output_bytes))
        self.restart(link)
        until = state.now + state.settings.ping_max_timeout_s
        state.timers.set(("pong", link.link_id), until)

    def ping_received(self, link: Link, message: Ping) -> None:
        state = self._state
        if message.wall is not None and state.wall - message.wall >= SLOW_PING_S:
            state.note("ping_was_slow", peer=link, seconds=state.wall - message.wall)
        link.send(Pong(wall=state.wall, unsent_bytes=link.output_bytes))

    def pong_received(self, link: Link) -> None:
        """The answer came; an unasked one changes nothing."""
        state = self._state
        if link.ping_sent_at is None:
            return
        link.ping_roundtrip_s = state.now - link.ping_sent_at
        link.ping_sent_at = None
        state.timers.cancel(("pong", link.link_id))
        if link.ping_roundtrip_s > SLOW_PING_S:
            state.note("ping_was_slow", peer=link, seconds=round(link.ping_roundtrip_s, 1))

    def restart(self, link: Link) -> None:
        """Some input came, or the link changed its part: its silence is counted anew."""
        if link.link_id not in self._state.links or link.is_leaving:
            return
        silence_s = self._silence_s(link)
        self._state.timers.set(("idle", link.link_id), self._state.now + silence_s)

    def stop(self, link: Link) -> None:
        for kind in ("idle", "pong", "leave"):
            self._state.timers.cancel((kind, link.link_id))

    def _silence_s(self, link: Link) -> float:
        state = self._state
        if link is state.left or link is state.right:
            native_s = NATIVE_PING_INCOMING_S if link.is_incoming else NATIVE_PING_OUTGOING_S
            if link.ping_sent_at is not None:
                timeout_s = state.settings.ping_idle_timeout_s
                return (
                    min(timeout_s, NATIVE_SILENCE_MAX_S - native_s) if link.is_native else timeout_s
                )
            if link.is_native:
                return native_s
            return PING_UNSYNCED_S if link.is_ping_fast else PING_SYNCED_S
        match link.phase:
            case Phase.CONNECTING:
                return NATIVE_GREETING_TIMEOUT_S if state.is_native_ring else CONNECT_TIMEOUT_S
            case Phase.GREETING:
                return NATIVE_GREETING_TIMEOUT_S if state.is_native_ring else ME_TIMEOUT_S
            case Phase.NAMED | Phase.DONE if link.is_incoming:
                return INCOMING_HANDSHAKE_TIMEOUT_S
            case _:
                return OUTGOING_HANDSHAKE_TIMEOUT_S
