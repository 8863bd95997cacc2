"""Who our neighbours are: dialling, accepting, placing, verifying, losing and removing them.

Each director connects to the nearest living one clockwise (its right) and is connected to by its
left (ring-protocol.md sections 7, 10, 12 to 14). A link becomes *the* left or right only when both
sides have said DONE; until then it waits, its updates already flowing.

Where the original does harm, this does not follow: a peer that does not answer a PING is held off
like one that refuses connections (the original dials it again at once and waits ten seconds more);
waiting links are promoted whenever the left is gone; a refused handshake is retried after a second
instead of at once (section 16, hot loops); a director that says it is shutting down is not dialled
again while its listener may still be open; and a node that was refused for its `director_hash`
never concludes that it is alone, because it would then place the same users differently.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from ring import limits
from ring.address import DirectorAddress, IpAddress
from ring.directors import Director
from ring.effects import Dial, Hangup, LinkId
from ring.errors import RemoteProtocolError
from ring.gossip import Gossip, host_message
from ring.link import Link, Phase
from ring.messages import (
    NATIVE_MINOR,
    Connect,
    DirectorRemove,
    Done,
    Hello,
    HostsEnd,
    HostsStart,
    Me,
    Options,
    Ping,
    Pong,
    Quit,
    Users,
    Version,
)
from ring.messages import Director as DirectorMessage
from ring.state import State
from ring.sync import (
    NATIVE_PING_INTERVAL_S,
    NATIVE_PING_TIMEOUT_S,
    PREFERRED_RIGHT_S,
    Synchroniser,
)
from ring.users import SHARDS_COUNT

CONNECT_TIMEOUT_S = 10.0
ME_TIMEOUT_S = 10.0
NATIVE_CONNECT_TIMEOUT_S = 1.5
OUTGOING_HANDSHAKE_TIMEOUT_S = 30.0
INCOMING_HANDSHAKE_TIMEOUT_S = 40.0
PING_SYNCED_S = 15.0
PING_UNSYNCED_S = 1.0
SLOW_PING_S = 5
FAILURE_UPTIME_S = 40.0
HOLD_OFF_S = 60.0
RECONNECT_S = 1.0
ALONE_AFTER_S = 20.0
REDIRECT_GRACE_S = 10.0
WRONG_CONNECT_S = 1.0
PURGE_REMOVED_S = 30.0
CLOCK_SKEW_S = 1
"""All from ring-protocol.md section 15, except the native ones, which DESIGN section 3 asks for."""

SHUTTING_DOWN = "Shutting down"

QUIT_MINOR = 3
TAGS_MINOR = 7
OPTIONS_MINOR = 5


class IncompatibleDirector(RemoteProtocolError):
    """A director that hashes user names differently; the message names the setting to change."""


class Members:
    def __init__(self, state: State, gossip: Gossip, sync: Synchroniser) -> None:
        self._state = state
        self._gossip = gossip
        self._sync = sync
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
        self._greet(link)
        return link

    def connect_right(self) -> None:
        """Find the nearest director clockwise that may be alive, and dial it (section 10.3)."""
        state = self._state
        since = state.now - HOLD_OFF_S
        others = [d for d in state.directors.clockwise() if not d.is_removed]
        for director in others:
            if director.has_failed_since(since):
                continue
            if any(
                link.director is director and not link.is_incoming for link in state.links.values()
            ):
                return
            if director.retry_at > state.now:
                state.timers.set("reconnect", director.retry_at)
                return
            self._dial(director)
            return
        if others:
            if state.first_alone_at is None:
                state.first_alone_at = state.now
            if state.now - state.first_alone_at <= ALONE_AFTER_S:
                for director in others:
                    director.forgive()
                state.timers.set("reconnect", state.now + RECONNECT_S)
                return
            if any(director.is_incompatible for director in others):
                state.timers.set("reconnect", state.now + HOLD_OFF_S)
                return
        self._become_alone(has_others=bool(others))

    def _become_alone(self, *, has_others: bool) -> None:
        state = self._state
        if has_others:
            state.note("ring_left_alone", directors=len(state.directors) - 1)
        if state.left is not None:
            self.close(state.left, "This connection is dead?", elects_left=False)
        state.ring.minor = state.settings.minor
        self._sync.become_synced()

    def _dial(self, director: Director) -> None:
        state = self._state
        director.forget_sequences()
        director.network_failed_at = None
        link = self._add_link(director, director.address.ip)
        timeout_s = NATIVE_CONNECT_TIMEOUT_S if state.is_native_ring else CONNECT_TIMEOUT_S
        self._set_idle(link, timeout_s)
        state.effects.append(Dial(link_id=link.link_id, address=director.address))

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
            by_number=state.hosts.by_number,
            output_bytes_max=settings.output_buffer_bytes,
            now=state.now,
        )
        state.links[link.link_id] = link
        return link

    def _greet(self, link: Link) -> None:
        state = self._state
        link.send(Version(major=1, minor=state.settings.minor))
        link.send(Me(address=state.directors.own.address, wall=state.wall))
        self._set_idle(link, NATIVE_CONNECT_TIMEOUT_S if state.is_native_ring else ME_TIMEOUT_S)

    def connected(self, link: Link) -> None:
        """Our dial was answered: say who we are and whom we know (section 7.1)."""
        link.become_connected(self._state.now)
        self._greet(link)
        for director in self._state.directors:
            if not director.is_removed:
                link.send(DirectorMessage(director.address))

    # --- handshake --------------------------------------------------------------------------------

    def version_received(self, link: Link, message: Version) -> None:
        state = self._state
        if message.major != 1:
            link.become_versioned(message)  # so that the QUIT can be said
            raise RemoteProtocolError(
                f"major version {message.major}, expected 1", token="VERSION", is_stamped=False
            )
        has_tags = any(host.tag for host in state.hosts)
        if message.minor < TAGS_MINOR and has_tags:
            raise RemoteProtocolError(
                f"minor version {message.minor} knows no tags, expected at least {TAGS_MINOR}",
                token="VERSION",
                is_stamped=False,
            )
        if message.minor < OPTIONS_MINOR and not link.is_incoming:
            raise RemoteProtocolError(
                f"minor version {message.minor} hashes differently, expected {OPTIONS_MINOR}",
                token="VERSION",
            )
        is_native = min(message.minor, state.settings.minor) >= NATIVE_MINOR
        if not is_native and state.settings.director_hash != "md5":
            raise IncompatibleDirector(
                f"a director that only knows md5, expected director_hash ="
                f" {state.settings.director_hash}; set director_hash = md5 here to join its ring",
                token="VERSION",
            )
        link.become_versioned(message)
        if not link.is_incoming:
            link.send(HostsStart(state.is_handshaked))
            for host in state.hosts:
                link.send(host_message(host, None))
            link.send(HostsEnd(state.is_handshaked))
            link.start_export(self._export())

    def _export(self) -> Iterator[Users]:
        """Yield the user table in steps of one shard; each is read when it is sent."""
        state = self._state
        by_number = state.hosts.by_number
        for pool in list(state.pools.values()):
            for shard in range(SHARDS_COUNT):
                hashes, numbers, timestamps = pool.table.shard(shard)
                oldest = state.wall - state.settings.user_expire_s
                rows = sorted(
                    (timestamps[row], hashes[row], numbers[row])
                    for row in range(len(hashes))
                    if timestamps[row] > oldest and by_number[numbers[row]] is not None
                )
                for start in range(0, len(rows), limits.FRAME_USERS_MAX):
                    part = rows[start : start + limits.FRAME_USERS_MAX]
                    distinct = sorted({number for _, _, number in part})
                    position = {number: index for index, number in enumerate(distinct)}
                    yield Users(
                        hashes=[user_hash for _, user_hash, _ in part],
                        timestamps=[timestamp for timestamp, _, _ in part],
                        hosts=tuple(h.ip for n in distinct if (h := by_number[n]) is not None),
                        host_indexes=[position[number] for _, _, number in part],
                        weak=frozenset(r for r, row in enumerate(part) if row[1] in pool.weak),
                        is_handshake=True,
                    )

    def hello_received(self, link: Link, message: Hello) -> None:
        expected = self._state.settings.director_hash
        if message.director_hash != expected:
            raise IncompatibleDirector(
                f"director_hash = {message.director_hash}, expected {expected} as here;"
                " set director_hash to the same value on all directors",
                token="Hello",
            )

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
            link.director.refusal = ""
            self._set_idle(link, OUTGOING_HANDSHAKE_TIMEOUT_S)
            return
        if len(state.directors) >= limits.DIRECTORS_MAX:
            raise RemoteProtocolError("one director too many", token="ME", is_stamped=False)
        director = state.directors.find_or_add(message.address)
        link.become_named(director)
        if not director.is_own:
            director.is_removed = False
            director.forget_sequences()
        self._set_idle(link, INCOMING_HANDSHAKE_TIMEOUT_S)
        failed_at = director.protocol_failed_at
        if failed_at is not None and failed_at + HOLD_OFF_S > state.now:
            raise RemoteProtocolError(
                f"{director.address} broke the protocol {state.now - failed_at:.0f} s ago,"
                f" expected it back after {HOLD_OFF_S:.0f} s",
                token="ME",
                is_stamped=False,
            )
        director.refusal = ""
        self._place(link, director)

    def _place(self, link: Link, director: Director) -> None:
        state = self._state
        left = state.left
        distance = state.directors.distance
        if left is None:
            director.network_failed_at = None
            if not any(not other.is_incoming for other in state.links.values()):
                self.connect_right()
            return
        assert left.director is not None
        if left.director is director:
            self.close(left, "Replacing with new incoming connection", elects_left=False)
        elif distance(director) > distance(left.director):
            left.send(Connect(director.address))
        else:
            left.is_verified_by_ping = True
            self._sync.ping(left)

    def options_received(self, message: Options) -> None:
        if b"consistent-hashing" not in message.names:
            raise RemoteProtocolError(
                "OPTIONS without consistent-hashing", token="OPTIONS", is_stamped=False
            )

    def done_received(self, link: Link) -> None:
        """The peer's side of the handshake is complete: maybe it becomes a neighbour (10.2)."""
        director = link.director
        assert director is not None
        director.network_failed_at = None
        link.become_done()
        if not link.is_incoming:
            self._elect_right(link, director)
            return
        link.send(Done())
        if director.is_own:
            raise RemoteProtocolError(
                "a director that says it is this one", token="DONE", is_stamped=False
            )
        self._gossip.flood(DirectorMessage(director.address), exclude=director)
        left = self._state.left
        if left is None or left.director is director:
            self._promote_left(link)
            return
        assert left.director is not None
        distance = self._state.directors.distance
        if not left.is_verified_by_ping and distance(left.director) > distance(director):
            self._redirect(link, left.director)

    def _promote_left(self, link: Link) -> None:
        state = self._state
        old = state.left
        state.left = link
        if old is not None:
            self.close(old, f"Replacing with {link}", elects_left=False)
        self._neighbour_promoted(link)

    def _elect_right(self, link: Link, director: Director) -> None:
        state = self._state
        if director.is_own:
            raise RemoteProtocolError("connected to itself", token="DONE", is_stamped=False)
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
            self.close(right, f"Replacing with {link}")
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
        self.input_handled(link)

    def _redirect(self, link: Link, director: Director) -> None:
        link.send(Connect(director.address))
        self._leave_after(link, REDIRECT_GRACE_S, "Timeout waiting for disconnect after CONNECT")

    def _leave_after(self, link: Link, seconds: float, reason: str) -> None:
        """From now on the link's input is ignored; it is closed when the time is up."""
        link.is_leaving = True
        self._leave_reasons[link.link_id] = reason
        self._state.timers.cancel(("idle", link.link_id))
        self._state.timers.set(("leave", link.link_id), self._state.now + seconds)

    # --- messages about directors -----------------------------------------------------------------

    def director_received(self, link: Link, message: DirectorMessage) -> None:
        """Somebody tells of a director, itself perhaps (section 8.10)."""
        state = self._state
        director = state.directors.find(message.address)
        if director is None:
            if len(state.directors) >= limits.DIRECTORS_MAX:
                raise RemoteProtocolError("one director too many", token="DIRECTOR")
            director = state.directors.find_or_add(message.address)
            state.note("director_added", director=director.address, by=link)
        elif director.is_own or director.is_removed:
            return
        elif link.is_done:
            director.network_failed_at = None
        director.forget_sequences()
        right = state.right
        if right is not None:
            assert right.director is not None
            distance = state.directors.distance
            if distance(director) < distance(right.director):
                return
        state.directors_changed_count += 1
        self._gossip.flood(message, exclude=link.director)

    def director_remove_received(self, link: Link, message: DirectorRemove) -> None:
        director = self._state.directors.find(message.address)
        if director is None or director.is_removed or director.is_own:
            return
        self.remove(director, exclude=link.director, by=str(link))

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
            self.connect_right()
        else:
            state.timers.set("preferred", state.now + RECONNECT_S)

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
                    self.close(link, "Removing from ring")
            if state.right is None:
                self.connect_right()
        self._sync.start()

    def purge_due(self) -> None:
        for director in list(self._state.directors):
            if director.is_removed:
                self._state.directors.delete(director)

    def connect_received(self, link: Link, message: Connect) -> None:
        """Our right neighbour knows a nearer one for us (section 10.5)."""
        state = self._state
        right = state.right
        director = state.directors.find(message.address)
        is_new = director is None
        if is_new and len(state.directors) >= limits.DIRECTORS_MAX:
            raise RemoteProtocolError("one director too many", token="CONNECT")
        director = director or state.directors.find_or_add(message.address)
        distance = state.directors.distance
        is_farther = right is not None and (
            right.director is None or distance(director) >= distance(right.director)
        )
        if is_farther or director.is_removed or director.is_own:
            self._leave_after(link, WRONG_CONNECT_S, "Wrong CONNECT requested")
            return
        director.forgive()
        director.retry_at = 0.0
        if right is not None:
            self.close(right, "CONNECT requested")
        if not any(
            other.director is director and not other.is_incoming for other in state.links.values()
        ):
            self._dial(director)

    # --- signs of life ----------------------------------------------------------------------------

    def ping_received(self, link: Link, message: Ping) -> None:
        state = self._state
        if message.wall is not None and state.wall - message.wall >= SLOW_PING_S:
            state.note("ping_was_slow", peer=link, seconds=state.wall - message.wall)
        link.send(Pong(wall=state.wall, unsent_bytes=link.output_bytes))

    def pong_received(self, link: Link, _message: Pong) -> None:
        state = self._state
        if link.ping_sent_at is None:
            return
        link.ping_roundtrip_s = state.now - link.ping_sent_at
        link.ping_sent_at = None
        state.timers.cancel(("pong", link.link_id))
        if link.ping_roundtrip_s > SLOW_PING_S:
            state.note("ping_was_slow", peer=link, seconds=round(link.ping_roundtrip_s, 1))
        if link.is_verified_by_ping:
            link.is_verified_by_ping = False
            self._left_verified(link)

    def _left_verified(self, left: Link) -> None:
        """The left lives: send those who wait farther away to it (section 10.1 d)."""
        state = self._state
        if left is not state.left:
            return
        assert left.director is not None
        distance = state.directors.distance
        for link in list(state.links.values()):
            if (
                link.is_incoming
                and link is not left
                and link.director is not None
                and not link.is_leaving
                and distance(link.director) < distance(left.director)
            ):
                self._redirect(link, left.director)

    def input_handled(self, link: Link) -> None:
        """Restart the idle timer: some input came, or the link changed its part (section 12)."""
        if link.link_id not in self._state.links or link.is_leaving:
            return
        state = self._state
        if link is state.left or link is state.right:
            if link.ping_sent_at is not None:
                if not link.is_native:
                    self._set_idle(link, state.settings.ping_idle_timeout_s)
                else:
                    self._set_idle(link, NATIVE_PING_TIMEOUT_S)
            elif link.is_native:
                self._set_idle(link, NATIVE_PING_INTERVAL_S)
            else:
                self._set_idle(link, PING_UNSYNCED_S if link.is_ping_fast else PING_SYNCED_S)
        elif link.phase is Phase.NAMED or link.phase is Phase.DONE:
            self._set_idle(
                link,
                INCOMING_HANDSHAKE_TIMEOUT_S if link.is_incoming else OUTGOING_HANDSHAKE_TIMEOUT_S,
            )

    def _set_idle(self, link: Link, seconds: float) -> None:
        self._state.timers.set(("idle", link.link_id), self._state.now + seconds)

    def idle_due(self, link: Link) -> None:
        """A link was silent for its time: ask, or give it up."""
        if link in (self._state.left, self._state.right):
            if link.ping_sent_at is None:
                self._sync.ping(link)
            else:
                self.lost(link, "Ping timeout")
        elif link.phase is Phase.CONNECTING:
            self.lost(link, "connect timed out")
        elif link.is_exporting and link.bytes_sent != link.bytes_sent_when_idle:
            link.bytes_sent_when_idle = link.bytes_sent
            self._set_idle(link, OUTGOING_HANDSHAKE_TIMEOUT_S)
        else:
            self.lost(link, "Handshake timeout")

    def leave_due(self, link: Link) -> None:
        """The time a redirected or refused peer had is up."""
        self.close(link, self._leave_reasons.get(link.link_id, ""))
        if self._state.right is None:
            self.connect_right()

    def preferred_due(self) -> None:
        """Try to return to the nearest right neighbour (section 10.4)."""
        state = self._state
        preferred = state.directors.preferred_right()
        if preferred is None or (state.right is not None and state.right.director is preferred):
            return
        if state.is_synced:
            state.timers.set("preferred", state.now + PREFERRED_RIGHT_S)
        if not any(
            link.director is preferred and not link.is_incoming for link in state.links.values()
        ):
            self._dial(preferred)

    def right_missed(self) -> None:
        """Unsynced for a while, and nobody is being dialled: start over (section 11.5)."""
        state = self._state
        if state.right is None and not any(not link.is_incoming for link in state.links.values()):
            self.connect_right()

    # --- losing links -----------------------------------------------------------------------------

    def lost(self, link: Link, reason: str) -> None:
        """The connection failed, or the peer does not answer (section 13)."""
        state = self._state
        director = link.director
        is_silent = reason in ("Ping timeout", "Pong timeout")
        if director is not None:
            uptime_s = state.now - link.connected_at if link.connected_at is not None else 0.0
            if is_silent or uptime_s < FAILURE_UPTIME_S:
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
        self.close(link, reason if reason.endswith("timeout") else "")
        if state.right is None:
            self.connect_right()

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
        self.close(link, error.quit_reason)
        if state.right is None:
            self.connect_right()

    def quit_received(self, link: Link, message: Quit) -> None:
        state = self._state
        director = link.director
        if director is not None:
            director.last_failed_wall = state.wall
            director.retry_at = state.now + RECONNECT_S
            if message.reason == SHUTTING_DOWN:
                director.network_failed_at = state.now
        state.note("link_quit", peer=link, reason=message.reason)
        self.close(link, "Invalid input: QUIT")
        if state.right is None:
            self.connect_right()

    def close(self, link: Link, reason: str, *, elects_left: bool = True) -> None:
        """Say goodbye, forget the link, and let the shell close it; nobody is stamped."""
        state = self._state
        if state.links.pop(link.link_id, None) is None:
            return
        if reason and link.minor >= QUIT_MINOR:
            link.send(Quit(reason))
        for kind in ("idle", "pong", "leave"):
            state.timers.cancel((kind, link.link_id))
        self._leave_reasons.pop(link.link_id, None)
        state.effects.append(Hangup(link_id=link.link_id, unsent=link.take_rest()))
        was_left = link is state.left
        if was_left:
            state.left = None
        if link is state.right:
            state.right = None
        if state.left is None or state.right is None:
            state.sync_sequence += 1
            if not state.is_alone or len(state.directors) > 1:
                self._sync.become_unsynced()
        if was_left and elects_left:
            self._elect_waiting_left()

    def _elect_waiting_left(self) -> None:
        """Promote the nearest of the finished incoming links that wait for the left to go."""
        state = self._state
        waiting = [
            link
            for link in state.links.values()
            if link.is_incoming and link.is_done and not link.is_leaving
        ]
        if waiting:
            self._promote_left(max(waiting, key=self._distance_of))

    def _distance_of(self, link: Link) -> int:
        assert link.director is not None
        return self._state.directors.distance(link.director)
