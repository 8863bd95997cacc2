"""Which directors belong to the ring: heard of, added, removed, forgotten.

A director that is heard of stays known until an administrator removes it, whether it lives or not
(ring-protocol.md sections 8.10 and 14). A removed one is remembered for a while, so that old news
do not bring it back. Whom of them we connect to is decided in `neighbours.py`.
"""

from __future__ import annotations

from ring import limits
from ring.address import DirectorAddress
from ring.directors import Director
from ring.errors import RemoteProtocolError
from ring.gossip import Gossip
from ring.link import Link
from ring.messages import Director as DirectorMessage
from ring.messages import DirectorRemove
from ring.neighbours import RECONNECT_S, Neighbours
from ring.state import State
from ring.sync import Synchroniser

PURGE_REMOVED_S = 30.0
"""From ring-protocol.md section 15."""


class Members:
    def __init__(
        self, state: State, gossip: Gossip, sync: Synchroniser, neighbours: Neighbours
    ) -> None:
        self._state = state
        self._gossip = gossip
        self._sync = sync
        self._neighbours = neighbours

    def director_received(self, link: Link, message: DirectorMessage) -> None:
        """Somebody tells of a director, itself perhaps (section 8.10)."""
        state = self._state
        director = self.find_or_learn(link, message.address, "DIRECTOR")
        if director.is_own:
            director.last_sequence = max(director.last_sequence, message.last_sequence)
        if director.is_own or director.is_removed:
            return
        if link.is_done:
            director.network_failed_at = None
        director.forget_sequences()
        right = state.right
        if right is not None:
            assert right.director is not None
            distance = state.directors.distance
            if distance(director) < distance(right.director):
                if link.is_native:
                    self._neighbours.look_nearer_soon()
                return
        if director.announced_copies >= limits.DIRECTOR_COPIES_MAX:
            return
        director.announced_copies += 1
        state.directors_changed_count += 1
        self._gossip.flood(DirectorMessage(message.address), exclude=link.director)

    def find_or_learn(self, link: Link, address: DirectorAddress, token: str) -> Director:
        state = self._state
        director = state.directors.find(address)
        if director is None:
            if len(state.directors) >= limits.DIRECTORS_MAX:
                raise RemoteProtocolError(
                    f"{token} of {address}, one director more than {limits.DIRECTORS_MAX}",
                    token=token,
                )
            director = state.directors.find_or_add(address)
            state.note("director_added", director=address, by=link)
        return director

    def add(self, address: DirectorAddress) -> None:
        """An administrator adds a director: known from now on, dialled when it is its turn."""
        state = self._state
        director = state.directors.find(address)
        if director is not None and not director.is_removed:
            return
        director = state.directors.find_or_add(address)
        director.is_removed = False
        state.note("director_added", director=address, by="administrator")
        state.directors_changed_count += 1
        self._gossip.flood(DirectorMessage(address), exclude=None)
        if state.right is None:
            self._neighbours.connect_right()
        else:
            state.timers.set("preferred", state.now + RECONNECT_S)

    def director_remove_received(self, link: Link, message: DirectorRemove) -> None:
        director = self._state.directors.find(message.address)
        if director is None or director.is_removed or director.is_own:
            return
        self.remove(director, exclude=link.director, by=str(link))

    def remove(self, director: Director, *, exclude: Director | None, by: str) -> None:
        """Take a director out of the ring; ourselves only as far as the others go (section 14)."""
        state = self._state
        state.note("director_removed", director=director.address, by=by)
        self._gossip.flood(DirectorRemove(director.address), exclude=exclude)
        if not director.is_own:
            director.is_removed = True
            state.timers.set("purge", state.now + PURGE_REMOVED_S)
            for link in list(state.links.values()):
                if link.director is director:
                    self._neighbours.close(link, "Removing from ring")
            if state.right is None:
                self._neighbours.connect_right()
        self._sync.start()

    def purge_due(self) -> None:
        for director in list(self._state.directors):
            if director.is_removed:
                self._state.directors.delete(director)
