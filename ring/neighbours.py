"""Our links, and which of them lead to our neighbours: dialling, accepting, electing, losing.

Each director connects to the nearest living one clockwise (its right) and is connected to by its
left (ring-protocol.md sections 7, 10.2 to 10.4, 12, 13). A link becomes *the* left or right only
when both sides have said DONE; until then it waits, its updates already flowing. What the two sides
say to each other about their places is `places.py`, who belongs to the ring at all `members.py`;
`state.left` and `state.right` change only here.

Where the original does harm, this does not follow: a peer that does not answer a PING is held off
like one that refuses connections (the original dials it again at once and waits ten seconds more);
waiting links are promoted whenever the left is gone; a refused handshake is retried after a second
instead of at once (section 16, hot loops); a director that says it is shutting down is not dialled
again while its listener may still be open; a node that serves alone stays synced when a dial fails,
as nothing has changed for it; and a node that was refused for its `director_hash` before it was
ever in a ring does not conclude that it is alone, because it would then place the same users
differently.

As in the original, the 20 s of patience before a node serves alone are granted once (section 10.3):
a node that was in service and loses everybody goes on at once, at the price of two halves that each
place users for themselves; DESIGN.md decision 6 settles that when they meet.
"""

from __future__ import annotations

import itertools

from ring import limits
from ring.address import IpAddress
from ring.directors import Director
from ring.effects import Dial, Hangup, LinkId
from ring.errors import RemoteProtocolError
from ring.handshake import Handshake, IncompatibleDirector
from ring.heartbeat import Heartbeat
from ring.link import Link, Phase
from ring.messages import Connect, Quit
from ring.state import State
from ring.sync import Synchroniser

FAILURE_UPTIME_S = 40.0
HOLD_OFF_S = 60.0
RECONNECT_S = 1.0
ALONE_AFTER_S = 20.0
REDIRECT_GRACE_S = 10.0
"""All from ring-protocol.md section 15."""

LOOK_NEARER_S = 0.2
"""A CONNECT to somebody nearer is usually on its way; it comes within this time, or never."""

SHUTTING_DOWN = "Shutting down"

QUIT_MINOR = 3


class Neighbours:
    def __init__(
        self, state: State, heartbeat: Heartbeat, sync: Synchroniser, handshake: Handshake
    ) -> None:
        self._state = state
        self._heartbeat = heartbeat
        self._sync = sync
        self._handshake = handshake
        self._link_ids = itertools.count(1)
        self._leave_reasons: dict[LinkId, str] = {}

    # --- opening links ----------------------------------------------------------------------------

    def accept(self, source_ip: IpAddress) -> Link | None:
        """A connection came in: return its link, or None if nobody we know calls from there."""
        state = self._state
        director = state.directors.find_by_ip(source_ip)
        if director is None or director.is_removed or len(state.links) >= limits.LINKS_MAX:
            state.note("link_refused", source=source_ip)
            return None
        link = self._add_link(None, source_ip)
        self._handshake.greet(link)
        return link

    def _add_link(self, director: Director | None, source_ip: IpAddress) -> Link:
        state = self._state
        settings = state.settings
        link = Link(
            link_id=next(self._link_ids),
            director=director,
            source_ip=source_ip,
            own_minor=settings.minor,
            director_hash=settings.director_hash,
            ring=state.ring,
            frames=state.frames,
            by_number=state.hosts.by_number,
            output_bytes_max=settings.output_buffer_bytes,
            now=state.now,
        )
        state.links[link.link_id] = link
        return link

    def connect_right(self) -> None:
        """Find the nearest director clockwise that may be alive, and dial it (section 10.3)."""
        state = self._state
        since = state.now - HOLD_OFF_S
        others = [d for d in state.directors.clockwise() if not d.is_removed]
        for director in others:
            if director.has_failed_since(since):
                continue
            if self.has_dialled(director):
                return
            if director.retry_at > state.now:
                state.timers.set("reconnect", director.retry_at)
                return
            self.dial(director)
            return
        if others:
            if state.first_alone_at is None:
                state.first_alone_at = state.now
            if state.now - state.first_alone_at <= ALONE_AFTER_S:
                for director in others:
                    director.forgive()
                state.timers.set("reconnect", state.now + RECONNECT_S)
                return
            if not state.is_handshaked and any(d.is_incompatible for d in others):
                state.timers.set("reconnect", state.now + HOLD_OFF_S)
                return
        self._become_alone(has_others=bool(others))

    def _become_alone(self, *, has_others: bool) -> None:
        state = self._state
        if has_others and not state.is_synced:
            state.note("ring_left_alone", directors=len(state.directors) - 1)
        if state.left is not None:
            self.close(state.left, "This connection is dead?", elects_left=False)
        state.ring.minor = state.settings.minor
        self._sync.become_synced()

    def dial(self, director: Director) -> None:
        state = self._state
        director.forget_sequences()
        director.network_failed_at = None
        link = self._add_link(director, director.address.ip)
        self._heartbeat.restart(link)
        state.effects.append(Dial(link_id=link.link_id, address=director.address))

    def has_dialled(self, director: Director) -> bool:
        """Tell whether an outgoing link to that director exists."""
        return any(
            link.director is director and not link.is_incoming
            for link in self._state.links.values()
        )

    def has_outgoing(self) -> bool:
        """Tell whether there is an outgoing link that is to stay."""
        return any(
            not link.is_incoming and not link.is_leaving for link in self._state.links.values()
        )

    def preferred_due(self) -> None:
        """Try to return to the nearest right neighbour (section 10.4)."""
        state = self._state
        preferred = state.directors.preferred_right()
        if preferred is None or (state.right is not None and state.right.director is preferred):
            return
        if state.is_synced:
            state.timers.set("preferred", state.now + self._sync.preferred_right_s)
        if not self.has_dialled(preferred):
            self.dial(preferred)

    def look_nearer_soon(self) -> None:
        """A director nearer than our right neighbour has just been heard from."""
        timers = self._state.timers
        if "nearer" not in timers:
            timers.set("nearer", self._state.now + LOOK_NEARER_S)

    def nearer_due(self) -> None:
        """Dial the nearest that may live, if it is not our right one (DESIGN.md decision 27)."""
        state = self._state
        if state.right is None:
            return
        since = state.now - HOLD_OFF_S
        for director in state.directors.clockwise():
            if director is state.right.director or self.has_dialled(director):
                return
            if not director.is_removed and not director.has_failed_since(since):
                self.dial(director)
                return

    def right_missed(self) -> None:
        """Unsynced for a while, and nobody is being dialled: start over (section 11.5)."""
        state = self._state
        if state.right is None and not self.has_outgoing():
            self.connect_right()

    # --- left and right ---------------------------------------------------------------------------

    def promote_left(self, link: Link) -> None:
        state = self._state
        old = state.left
        state.left = link
        if old is not None:
            assert link.director is not None
            self.close(old, f"Replacing with {link.director.address}", elects_left=False)
        self._neighbour_promoted(link)
        self._announce_nearer(link)
        if link.is_native:
            self.redirect_waiting(link)

    def _announce_nearer(self, left: Link) -> None:
        """Send the left to who came nearer while there was none (section 10.1 c)."""
        state = self._state
        assert left.director is not None
        distance = state.directors.distance
        nearest = max((director for _, director in self._callers()), key=distance)
        if distance(nearest) > distance(left.director):
            left.send(Connect(nearest.address))

    def _callers(self) -> list[tuple[Link, Director]]:
        """Return the incoming links that are to stay, the left among them, and who calls there."""
        return [
            (link, link.director)
            for link in self._state.links.values()
            if link.is_incoming and not link.is_leaving and link.director is not None
        ]

    def redirect_waiting(self, left: Link) -> None:
        """The left lives: send those who wait farther away to it (section 10.1 d)."""
        state = self._state
        assert left is state.left
        assert left.director is not None
        distance = state.directors.distance
        for link, director in self._callers():
            if distance(director) < distance(left.director):
                self.redirect(link, left.director)

    def redirect(self, link: Link, director: Director) -> None:
        link.send(Connect(director.address))
        self.leave_after(link, REDIRECT_GRACE_S, "Timeout waiting for disconnect after CONNECT")

    def elect_right(self, link: Link, director: Director) -> None:
        state = self._state
        assert not director.is_own  # never dialled
        right = state.right
        if right is not None:
            assert right.director is not None
            distance = state.directors.distance
            if distance(director) >= distance(right.director):
                state.note("right_neighbour_kept", right=right, refused=link)
                self.close(link, "Invalid input: DONE")
                return
        state.right = link
        if right is not None:
            self.close(right, f"Replacing with {director.address}")
        self._neighbour_promoted(link)
        self._sync.right_promoted()

    def _neighbour_promoted(self, link: Link) -> None:
        state = self._state
        director = link.director
        assert director is not None
        director.refusal = ""
        director.is_incompatible = False
        state.note(
            "neighbour_connected",
            peer=link,
            users_received=link.users_received,
            seconds=round(state.now - link.created_at, 3),
        )
        if state.left is not None and state.right is not None:
            state.sync_sequence += 1
            self._sync.become_unsynced()
            self._sync.emit()
        self._heartbeat.restart(link)

    def _elect_waiting_left(self) -> None:
        """Promote the nearest of the finished incoming links that wait for the left to go."""
        state = self._state
        waiting = [
            link
            for link in state.links.values()
            if link.is_incoming and link.is_done and not link.is_leaving
        ]
        if waiting:
            self.promote_left(max(waiting, key=self._distance_of))

    def _distance_of(self, link: Link) -> int:
        assert link.director is not None
        return self._state.directors.distance(link.director)

    # --- losing links -----------------------------------------------------------------------------

    def idle_due(self, link: Link) -> None:
        """A link was silent for its time: ask, or give it up."""
        if link in (self._state.left, self._state.right):
            if link.ping_sent_at is None:
                self._heartbeat.ping(link)
            else:
                self.lost(link, "Ping timeout")
        elif link.phase is Phase.CONNECTING:
            self.lost(link, "connect timed out")
        elif link.is_exporting and link.bytes_sent != link.bytes_sent_when_idle:
            link.bytes_sent_when_idle = link.bytes_sent
            self._heartbeat.restart(link)
        else:
            self.lost(link, "Handshake timeout")

    def lost(self, link: Link, reason: str) -> None:
        """The connection failed, or the peer does not answer (section 13)."""
        state = self._state
        director = link.director
        is_silent = reason in ("Ping timeout", "Pong timeout")
        if director is not None:
            since = state.now if link.connected_at is None else link.connected_at
            if link.is_native and link.is_done and not is_silent:
                director.retry_at = since + RECONNECT_S  # dialling tells if it is dead
            elif is_silent or since + FAILURE_UPTIME_S > state.now:
                director.network_failed_at = state.now
            director.last_failed_wall = state.wall
        state.note(
            "link_lost",
            peer=link,
            reason=reason,
            phase=link.phase.value,
            received=link.bytes_received,
            sent=link.bytes_sent,
        )
        if is_silent:
            link.discard_output()
        self.give_up(link, reason if reason.endswith("timeout") else "")

    def refused(self, link: Link, error: RemoteProtocolError) -> None:
        """The peer broke the protocol, or must not be our neighbour (section 9)."""
        state = self._state
        director = link.director
        if director is None and error.token == "VERSION":
            director = state.directors.find_by_ip(link.source_ip)
        if director is not None and not director.is_own:
            if error.is_stamped:
                director.protocol_failed_at = state.now
            director.retry_at = state.now + RECONNECT_S
            director.refusal = str(error)
            director.is_incompatible = isinstance(error, IncompatibleDirector)
            director.last_failed_wall = state.wall
        state.note("link_broke_protocol", peer=link, error=str(error))
        self.give_up(link, error.quit_reason)

    def quit_received(self, link: Link, message: Quit) -> None:
        state = self._state
        director = link.director
        assert director is not None
        director.last_failed_wall = state.wall
        director.retry_at = state.now + RECONNECT_S
        if message.reason == SHUTTING_DOWN:
            director.network_failed_at = state.now
        state.note("link_quit", peer=link, reason=message.reason)
        self.give_up(link, "Invalid input: QUIT")

    def leave_after(self, link: Link, seconds: float, reason: str) -> None:
        """From now on the link's input is ignored; it is closed when the time is up."""
        link.is_leaving = True
        self._leave_reasons[link.link_id] = reason
        self._state.timers.cancel(("idle", link.link_id))
        self._state.timers.set(("leave", link.link_id), self._state.now + seconds)

    def leave_due(self, link: Link) -> None:
        """The time a redirected or refused peer had is up."""
        self.give_up(link, self._leave_reasons[link.link_id])

    def give_up(self, link: Link, reason: str) -> None:
        """Close the link; if that leaves us without a right neighbour, look for another."""
        self.close(link, reason)
        if self._state.right is None:
            self.connect_right()

    def close(self, link: Link, reason: str, *, elects_left: bool = True) -> None:
        """Say goodbye, forget the link, and let the shell close it; nobody is stamped."""
        state = self._state
        if state.links.pop(link.link_id, None) is None:
            return
        if reason and link.minor >= QUIT_MINOR:
            link.send(Quit(reason))
        self._heartbeat.stop(link)
        self._leave_reasons.pop(link.link_id, None)
        state.effects.append(Hangup(link_id=link.link_id, unsent=link.take_rest()))
        was_alone = state.is_alone
        if link is state.left:
            state.left = None
        if link is state.right:
            state.right = None
        if state.left is None or state.right is None:
            state.sync_sequence += 1
            if not was_alone:
                self._sync.become_unsynced()
        if state.left is None and elects_left:
            self._elect_waiting_left()
