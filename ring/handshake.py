"""What two directors say before they are neighbours: versions, names, hosts, users (section 7).

The connecting side tells all it knows: the directors, the hosts in one block, and its users as an
export that is read shard by shard when it is sent. The accepting side only greets, and says DONE
when the other has. Who may become a neighbour, and when, is decided in `places.py`; which message
is legal when, in `link.py`.

A peer that hashes user names differently must never join silently: it would send the same users
elsewhere. It is refused without a QUIT if it is a real director, because a QUIT makes it dial again
at once, while a closed socket holds it off for a minute (ring-protocol.md section 16).
"""

from __future__ import annotations

from ring.errors import RemoteProtocolError
from ring.exports import Exports
from ring.gossip import Gossip, host_message
from ring.heartbeat import Heartbeat
from ring.link import Link
from ring.messages import (
    NATIVE_MINOR,
    Director,
    Hello,
    HostRemove,
    HostsEnd,
    HostsStart,
    Me,
    Options,
    Version,
)
from ring.state import State

TAGS_MINOR = 7
OPTIONS_MINOR = 5


class IncompatibleDirector(RemoteProtocolError):
    """A director that hashes user names differently; the message names the setting to change."""


class Handshake:
    def __init__(
        self, state: State, gossip: Gossip, heartbeat: Heartbeat, exports: Exports
    ) -> None:
        self._state = state
        self._gossip = gossip
        self._exports = exports
        self._heartbeat = heartbeat

    def greet(self, link: Link) -> None:
        """Say our version and who we are."""
        state = self._state
        link.send(Version(major=1, minor=state.settings.minor))
        link.send(Me(address=state.directors.own.address, wall=state.wall))
        self._heartbeat.restart(link)

    def connected(self, link: Link) -> None:
        """Our dial was answered: say who we are and whom we know (section 7.1)."""
        link.become_connected(self._state.now)
        self.greet(link)
        for director in self._state.directors:
            if not director.is_removed:
                link.send(Director(director.address))

    def version_received(self, link: Link, message: Version) -> None:
        state = self._state
        if message.major != 1:
            link.become_versioned(message, 0)  # so that the QUIT can be said
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
        link.become_versioned(message, self._exports.users_count())
        if not link.is_incoming:
            link.send(HostsStart(state.is_handshaked))
            for host in state.hosts:
                link.send(host_message(host, None))
            link.send(HostsEnd(state.is_handshaked))
            if is_native:
                self._tell_removals(link)
            self._exports.begin(link)

    def _tell_removals(self, link: Link) -> None:
        """Who lists a host may not know that it was removed."""
        for ip, removed_at in self._state.hosts.removed_at.items():
            stamp = self._gossip.own_stamp()
            link.send(HostRemove(stamp=stamp, ip=ip, removed_at=removed_at))

    def hello_received(self, link: Link, message: Hello) -> None:
        expected = self._state.settings.director_hash
        if message.director_hash != expected:
            raise IncompatibleDirector(
                f"director_hash = {message.director_hash}, expected {expected} as here;"
                " set director_hash to the same value on all directors",
                token="Hello",
            )
        self._exports.hello_received(link, message.users_count)

    def options_received(self, message: Options) -> None:
        if b"consistent-hashing" not in message.names:
            raise RemoteProtocolError(
                "OPTIONS without consistent-hashing", token="OPTIONS", is_stamped=False
            )
