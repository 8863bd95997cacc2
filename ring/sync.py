"""Is the ring of one mind? A SYNC that comes back says so (ring-protocol.md section 11).

After a change of hosts or neighbours the node is *unsynced*; it sends its SYNC to the right, every
director passes it on, and when it returns from the left everybody has what was sent before it. New
users are only assigned while synced, because until then two nodes may hash over different hosts.

SYNC goes to the right neighbour only, and only once that link's handshake is done: a real director
aborts on one that reaches it earlier (section 16, hazard 1).
"""

from __future__ import annotations

import attrs

from ring import limits
from ring.directors import Director
from ring.gossip import Gossip, host_message
from ring.heartbeat import Heartbeat
from ring.messages import CLASSIC_MINOR, UNKNOWN_TIMESTAMP, Sync
from ring.state import State

RESEND_S = 5.0
"""An unsynced node sends its SYNC again this often (section 11.5)."""

NATIVE_RESEND_S = 1.5
"""The same among our own nodes at first; twice as long each time, up to that."""

STALE_WINDOW_S = 120
"""A lower sequence is believed after all when its timestamp is this much newer (section 11.4)."""

PREFERRED_RIGHT_S = 30.0
"""How often a synced node tries to return to its preferred right neighbour (section 10.4)."""

NATIVE_PREFERRED_RIGHT_S = 5.0
"""The same among our own nodes, because it is also how the halves of a split ring find each other
again (DESIGN.md decision 11)."""


class Synchroniser:
    def __init__(self, state: State, gossip: Gossip, heartbeat: Heartbeat) -> None:
        self._state = state
        self._gossip = gossip
        self._heartbeat = heartbeat
        self._repeated_at_wall = 0
        self._resend_s = RESEND_S

    @property
    def preferred_right_s(self) -> float:
        """How long to wait before trying to return to the nearest right neighbour."""
        return NATIVE_PREFERRED_RIGHT_S if self._state.is_native_ring else PREFERRED_RIGHT_S

    # --- our own SYNC -----------------------------------------------------------------------------

    def start(self) -> None:
        """Something changed that everybody must know: begin a new round (section 11.2)."""
        state = self._state
        state.sync_sequence += 1
        if state.is_alone:
            state.hosts.clear_desynced()
            state.is_changed = True
            return
        self.become_unsynced()
        if state.is_batching:
            state.is_sync_wanted = True
        elif state.right is not None:
            self.emit()

    def become_unsynced(self) -> None:
        state = self._state
        if state.is_synced:
            state.is_synced = False
            state.synced_changed_at = state.now
            state.note("ring_desynced", sequence=state.sync_sequence)
        for link in (state.left, state.right):
            if link is not None:
                link.is_ping_fast = True
        right = state.right
        self._resend_s = NATIVE_RESEND_S if right is not None and right.is_native else RESEND_S
        state.timers.set("resync", state.now + self._resend_s)

    def become_synced(self) -> None:
        """The ring is of one mind, or we are all of it."""
        state = self._state
        state.is_handshaked = True
        if not state.is_synced:
            state.is_synced = True
            state.note("ring_synced", after_s=round(state.now - state.synced_changed_at, 3))
            state.synced_changed_at = state.now
        for link in (state.left, state.right):
            if link is not None:
                link.is_ping_fast = False
        for director in list(state.directors):
            director.wrong_hosts_hash = 0  # it let our hash pass, or is not in the ring
            if director.is_removed:
                state.directors.delete(director)
        state.hosts.clear_desynced()
        state.is_newly_synced = True
        state.timers.cancel("resync")
        state.timers.cancel("reconnect")
        state.timers.set("preferred", state.now + self.preferred_right_s)
        state.is_changed = True

    def emit(self) -> None:
        """Send our SYNC to the right, and let both neighbours prove that they live."""
        state = self._state
        state.directors_synced_count = state.directors_changed_count
        state.sync_sent_at = state.now
        self._send(
            Sync(
                origin=state.directors.own.address,
                sequence=state.sync_sequence,
                minor=state.settings.minor,
                timestamp=state.wall,
                hosts_hash=state.hosts.hosts_hash(),
            )
        )

    def resend_due(self) -> None:
        """No answer for so long: something on the way is slow, or was lost with a link."""
        state = self._state
        assert not state.is_synced
        self._resend_s = min(2 * self._resend_s, RESEND_S)
        state.timers.set("resync", state.now + self._resend_s)
        if state.left is not None and state.right is not None:
            state.note("sync_resent", sequence=state.sync_sequence)
            self.emit()

    def batch_ended(self) -> None:
        """All lines of one read are handled: one SYNC for all of them (section 11.2)."""
        state = self._state
        state.is_batching = False
        if state.is_sync_wanted:
            state.is_sync_wanted = False
            self.start()

    # --- everybody's SYNC -------------------------------------------------------------------------

    def received(self, message: Sync) -> None:
        state = self._state
        if message.timestamp == UNKNOWN_TIMESTAMP:
            message = attrs.evolve(message, timestamp=state.wall)
        if message.origin == state.directors.own.address:
            self._own_returned(message)
            return
        origin = state.directors.find(message.origin)
        if origin is not None and not self._forward(origin, message):
            return
        if (
            state.directors_synced_count != state.directors_changed_count
            and not state.is_synced
            and state.right is not None
            and self._repeated_at_wall != state.wall
        ):
            self._repeated_at_wall = state.wall
            self.emit()

    def _own_returned(self, message: Sync) -> None:
        state = self._state
        if message.sequence != state.sync_sequence:
            return
        if state.left is None or state.right is None:
            return  # the original asserts here and aborts (section 16, hazard 1)
        if message.hosts_hash not in (0, state.hosts.hosts_hash()):
            state.note(
                "sync_hosts_changed",
                got=message.hosts_hash,
                expected=state.hosts.hosts_hash(),
            )
            self.emit()
            return
        state.ring.minor = min(message.minor, state.settings.minor)
        state.sync_roundtrip_s = state.now - state.sync_sent_at
        if not state.is_synced:
            self.become_synced()

    def _forward(self, origin: Director, message: Sync) -> bool:
        """Pass a foreign SYNC on; return False if it was ignored (section 11.4)."""
        state = self._state
        if message.sequence < origin.sync_sequence:
            if message.timestamp < origin.sync_timestamp + STALE_WINDOW_S:
                return False
            state.note("sync_sequence_reset", director=origin.address)
            origin.sync_copies = 1
        elif message.sequence > origin.sync_sequence or message.timestamp > origin.sync_timestamp:
            origin.sync_copies = 1
        else:
            origin.sync_copies += 1
            if origin.sync_copies > limits.SYNC_COPIES_MAX:
                return False
        origin.sync_sequence = message.sequence
        origin.sync_timestamp = message.timestamp
        if message.hosts_hash not in (0, state.hosts.hosts_hash()):
            if message.hosts_hash != origin.wrong_hosts_hash:
                origin.wrong_hosts_hash = message.hosts_hash
                return False
            state.note("hosts_resent", director=origin.address, its_hosts_hash=message.hosts_hash)
            self.resend_hosts()
            if message.hosts_hash == origin.hosts_resent_for:
                self.start()  # in vain, so it has one that we lack: ask, even if we were synced
            origin.hosts_resent_for = message.hosts_hash
            return True
        origin.wrong_hosts_hash = 0
        if state.right is None:
            origin.delayed_sync = message
        else:
            self._send(message)
        return True

    def resend_hosts(self) -> None:
        for host in self._state.hosts:
            message = host_message(host, self._gossip.own_stamp())
            self._gossip.flood(message, exclude=None)

    def right_promoted(self) -> None:
        """A right neighbour is there: what waited for one goes out now."""
        for director in self._state.directors:
            delayed, director.delayed_sync = director.delayed_sync, None
            if delayed is not None:
                self._send(delayed)

    def _send(self, message: Sync) -> None:
        right = self._state.right
        assert right is not None
        assert right.is_done
        highest = right.minor if right.is_native else CLASSIC_MINOR
        minor = min(message.minor, highest, self._state.settings.minor)
        right.send(attrs.evolve(message, minor=minor))
        for link in (self._state.left, self._state.right):
            if link is not None:
                self._heartbeat.ping(link)
