"""What peers say about who should be whose neighbour, and what we answer: ME, DONE, CONNECT, PONG.

A caller nearer than our left is announced to the left by CONNECT, and takes its place when it
leaves; one that is farther away is sent to the left as soon as that has proved that it lives
(ring-protocol.md sections 7.5, 10.1, 10.2, 10.5). What this means for the links is carried out by
`neighbours.py`.

Where the original does harm, this does not follow: a link whose CONNECT we obey is closed at once,
not when its peer tires of waiting, because until then what the peer floods comes back round the
ring; and two directors that send us to each other are not obeyed for ever (DESIGN.md decision 12).
"""

from __future__ import annotations

from ring.directors import LASTING_SEQUENCE, Director
from ring.errors import RemoteProtocolError
from ring.exports import Exports
from ring.gossip import Gossip
from ring.heartbeat import Heartbeat
from ring.link import Link
from ring.members import Members
from ring.messages import Connect, Done, Me
from ring.messages import Director as DirectorMessage
from ring.neighbours import HOLD_OFF_S, Neighbours
from ring.state import State

WRONG_CONNECT_S = 1.0
CLOCK_SKEW_S = 1
"""All from ring-protocol.md section 15."""

REDIRECT_FAILED_S = 10.0
REDIRECT_PAUSE_S = 5.0
"""A second redirect within this time to a director that the first one did not reach is not obeyed
for so long (DESIGN.md decision 12); the original goes to and fro as fast as it can."""


class Places:
    def __init__(
        self,
        state: State,
        gossip: Gossip,
        heartbeat: Heartbeat,
        *,
        neighbours: Neighbours,
        members: Members,
        exports: Exports,
    ) -> None:
        self._state = state
        self._gossip = gossip
        self._heartbeat = heartbeat
        self._neighbours = neighbours
        self._members = members
        self._exports = exports

    def me_received(self, link: Link, message: Me) -> None:
        """The peer says who it is (section 7.5); find its place (section 10.1)."""
        state = self._state
        if message.wall is not None and abs(message.wall - state.wall) > CLOCK_SKEW_S:
            state.note("clock_skew_seen", peer=message.address, skew_s=message.wall - state.wall)
        if link.director is not None:
            if message.address != link.director.address:
                raise RemoteProtocolError(
                    f"ME {message.address}, expected {link.director.address}",
                    token="ME",
                    is_stamped=False,
                )
            link.become_named(link.director)
            _remind(link, link.director)
            link.director.refusal = ""
            self._heartbeat.restart(link)
            return
        director = self._members.find_or_learn(link, message.address, "ME")
        link.become_named(director)
        _remind(link, director)
        if not director.is_own:
            director.is_removed = False
            director.forget_sequences()
        self._heartbeat.restart(link)
        failed_at = director.protocol_failed_at
        if failed_at is not None and failed_at + HOLD_OFF_S > state.now:
            self._hold_off(link, state.now - failed_at)
            return
        director.refusal = ""
        self._place(director)

    def _hold_off(self, link: Link, seconds: float) -> None:
        """The peer broke the protocol so long ago, and is back too early; why stays known."""
        self._state.note("link_held_off", peer=link, failed_before_s=round(seconds, 1))
        self._neighbours.give_up(link, "Invalid input: ME")

    def _place(self, director: Director) -> None:
        state = self._state
        left = state.left
        distance = state.directors.distance
        if left is None:
            director.network_failed_at = None
            if not self._neighbours.has_outgoing():
                self._neighbours.connect_right()
            return
        assert left.director is not None
        if left.director is director:
            self._neighbours.close(
                left, "Replacing with new incoming connection", elects_left=False
            )
        elif distance(director) > distance(left.director):
            left.send(Connect(director.address))
        else:
            left.is_verified_by_ping = True
            self._heartbeat.ping(left)

    def done_received(self, link: Link) -> None:
        """The peer's side of the handshake is complete: maybe it becomes a neighbour (10.2)."""
        director = link.director
        assert director is not None
        director.network_failed_at = None
        link.become_done()
        if not link.is_incoming:
            self._neighbours.elect_right(link, director)
            return
        link.send(Done())
        if director.is_own:
            raise RemoteProtocolError(
                "a director that says it is this one", token="DONE", is_stamped=False
            )
        self._gossip.flood(DirectorMessage(director.address), exclude=director)
        if not self._state.is_handshaked:
            self._exports.spread(link)
        left = self._state.left
        if left is None or left.director is director:
            self._neighbours.promote_left(link)
            return
        assert left.director is not None
        distance = self._state.directors.distance
        if not left.is_verified_by_ping and distance(left.director) > distance(director):
            self._neighbours.redirect(link, left.director)

    def pong_received(self, link: Link) -> None:
        """A neighbour lives; if it is the left and somebody farther waits, that settles it."""
        self._heartbeat.pong_received(link)
        if link.is_verified_by_ping:
            link.is_verified_by_ping = False
            self._neighbours.redirect_waiting(link)

    def connect_received(self, link: Link, message: Connect) -> None:
        """Our right neighbour knows a nearer one for us (section 10.5)."""
        state = self._state
        right = state.right
        director = self._members.find_or_learn(link, message.address, "CONNECT")
        is_farther = False
        if right is not None:
            assert right.director is not None
            distance = state.directors.distance
            is_farther = distance(director) >= distance(right.director)
        if is_farther or director.is_removed or director.is_own:
            self._neighbours.leave_after(link, WRONG_CONNECT_S, "Wrong CONNECT requested")
            return
        redirected_at = director.redirected_at
        director.redirected_at = state.now
        is_repeated = redirected_at > state.now - REDIRECT_FAILED_S
        if is_repeated and director.has_failed_since(redirected_at):
            # It lives, but not for us: obeying again would come back here at once, table and all.
            self._neighbours.leave_after(
                link, REDIRECT_PAUSE_S, "CONNECT requested to one that failed"
            )
            return
        director.network_failed_at = None
        director.retry_at = 0.0
        for unwanted in (right, None if link.is_incoming else link):
            if unwanted is not None:
                self._neighbours.close(unwanted, "CONNECT requested")
        if not self._neighbours.has_dialled(director):
            self._neighbours.dial(director)


def _remind(link: Link, director: Director) -> None:
    """Tell one of ours how far it had counted, should it have forgotten (DESIGN.md decision 18)."""
    if link.is_native and director.last_sequence >= LASTING_SEQUENCE:
        link.send(DirectorMessage(director.address, director.last_sequence))
