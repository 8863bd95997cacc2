"""Changes of the host list, ours and everybody's: applied, announced, settled when they collide.

ring-protocol.md sections 7.2, 7.3 and 8.3 to 8.5. A host that changed since the last completed sync
is *desynced*; a second change that overlaps the first is settled by rule (newer up/down, lower
weight), re-announced as our own to everybody, so that all nodes end with the same list.

The original refuses a change while an earlier one of the same host still travels; here commands
wait for the ring (`administration.py`), so that never happens.
"""

from __future__ import annotations

import attrs

from ring import limits
from ring.address import IpAddress
from ring.commands import Answer, HostSet, HostUpdate
from ring.directors import Director
from ring.errors import RemoteProtocolError
from ring.gossip import Gossip, host_message
from ring.hosts import MailHost
from ring.link import Link
from ring.messages import Host, HostFlush, HostRemove, HostsStart, Stamp
from ring.settings import DEFAULT_WEIGHT
from ring.state import State
from ring.sync import Synchroniser

TAGS_MINOR = 7


class HostList:
    def __init__(self, state: State, gossip: Gossip, sync: Synchroniser) -> None:
        self._state = state
        self._gossip = gossip
        self._sync = sync
        self._has_taken_hosts = False

    # --- our administrator's changes --------------------------------------------------------------

    def set_weight(self, command: HostSet | HostUpdate) -> Answer:
        """Add a host, or change its weight."""
        hosts = self._state.hosts
        if command.weight is not None and command.weight > limits.WEIGHT_MAX:
            return Answer.WEIGHT_TOO_LARGE
        host = hosts.get(command.ip)
        if host is None:
            if isinstance(command, HostUpdate):
                return Answer.NOT_FOUND
            if len(hosts) >= limits.HOSTS_MAX:
                return Answer.TOO_MANY_HOSTS
            weight = DEFAULT_WEIGHT if command.weight is None else command.weight
            host = self._add(command.ip, tag=command.tag, hostname=b"", weight=weight)
        else:
            if command.tag not in (b"", host.tag):
                return Answer.TAG_IS_FIXED
            if command.weight is not None:
                self._set_weight(host, command.weight)
        self._announce(host, self._gossip.own_stamp(), exclude=None)
        return Answer.OK

    def set_down(self, ip: IpAddress, *, is_down: bool) -> Answer:
        host = self._state.hosts.get(ip)
        if host is None:
            return Answer.NOT_FOUND
        if host.is_down == is_down:
            return Answer.OK
        # Newer than what it replaces, even if that came from a clock that is ahead of ours.
        self._set_down(host, is_down, max(self._state.wall, host.changed_at + 1))
        self._announce(host, self._gossip.own_stamp(), exclude=None)
        return Answer.OK

    def remove(self, ip: IpAddress) -> Answer:
        host = self._state.hosts.get(ip)
        if host is None:
            return Answer.NOT_FOUND
        self._remove(host, self._gossip.own_stamp(), exclude=None)
        return Answer.OK

    def flush(self, ip: IpAddress | None) -> Answer:
        """Forget the users of one host, or of all; nobody is kicked."""
        state = self._state
        if ip is None:
            state.note("all_users_flushed")
            hosts = list(state.hosts)
        else:
            host = state.hosts.get(ip)
            if host is None:
                return Answer.NOT_FOUND
            hosts = [host]
        for host in hosts:
            self._flush(host, self._gossip.own_stamp(), exclude=None)
        self._sync.start()
        return Answer.OK

    # --- the ring's changes -----------------------------------------------------------------------

    def block_started(self, link: Link, message: HostsStart) -> None:
        """A left neighbour lists its hosts: take them, ignore them, or merge (section 7.2).

        Hosts are taken in place of ours once. The original does so until it is synced, and forgets
        with them the users that another caller has told it before.
        """
        state = self._state
        if message.is_complete and not state.is_handshaked and not self._has_taken_hosts:
            self._has_taken_hosts = True
            for host in state.hosts:
                state.hosts.remove(host)
            self._sync.start()
        elif not message.is_complete and state.is_handshaked:
            link.is_host_block_ignored = True

    def block_ended(self, link: Link) -> None:
        link.is_host_block_ignored = False

    def host_received(self, link: Link, message: Host) -> None:
        """A neighbour says how a host is (section 8.3)."""
        if message.stamp is None:
            stamp: Stamp | None = None
        else:
            stamp = self._gossip.accept(message.stamp)
            if stamp is None:
                return
        if link.is_host_block_ignored:
            return
        if message.tag and link.minor < TAGS_MINOR:
            raise RemoteProtocolError(
                f"tag {message.tag!r} from minor version {link.minor}, expected at least 7",
                token="HOST",
            )
        hosts = self._state.hosts
        host = hosts.get(message.ip)
        if host is None:
            host = self._add(
                message.ip, tag=message.tag, hostname=message.hostname, weight=message.weight
            )
        elif (
            host.weight == message.weight
            and host.is_down == message.is_down
            and host.tag == message.tag
        ):
            return
        elif host.is_desynced:
            self._apply(host, self._settle(host, message))
            self._announce(host, self._gossip.own_stamp(), exclude=None)
            return
        elif stamp is None and message.is_down != host.is_down and _is_older(message, host):
            # A handshake tells how things are there, not what somebody wants: ours is newer.
            self._apply(host, attrs.evolve(message, is_down=host.is_down))
            self._announce(host, self._gossip.own_stamp(), exclude=None)
            return
        self._apply(host, message)
        self._announce(host, stamp or self._gossip.own_stamp(), exclude=link.director)

    def _settle(self, host: MailHost, message: Host) -> Host:
        """Two changes overlap: keep the newer up/down state and the lower weight.

        Of two of the same second the host is down. The original takes what it hears; then two
        directors can tell each other up and down for ever.
        """
        is_down = message.is_down
        if is_down != host.is_down and host.changed_at >= message.changed_at:
            is_down = host.is_down or host.changed_at == message.changed_at
        weight = min(host.weight, message.weight)
        self._state.note(
            "host_conflict_settled",
            host=host.ip,
            ours=f"{host.weight} {'down' if host.is_down else 'up'}",
            theirs=f"{message.weight} {'down' if message.is_down else 'up'}",
            result=f"{weight} {'down' if is_down else 'up'}",
        )
        return attrs.evolve(message, weight=weight, is_down=is_down)

    def _apply(self, host: MailHost, message: Host) -> None:
        if host.tag != message.tag:
            self._state.note("host_tag_changed", host=host.ip, old=host.tag, new=message.tag)
            self._state.reclaim_host_numbers()
            self._state.hosts.set_tag(host, message.tag)
        if host.is_down != message.is_down:
            self._set_down(host, message.is_down, max(message.changed_at, host.changed_at))
        if host.weight != message.weight:
            self._set_weight(host, message.weight)

    def remove_received(self, link: Link, message: HostRemove) -> None:
        stamp = self._gossip.accept(message.stamp)
        host = self._state.hosts.get(message.ip)
        if stamp is not None and host is not None:
            self._remove(host, stamp, exclude=link.director)

    def flush_received(self, link: Link, message: HostFlush) -> None:
        stamp = self._gossip.accept(message.stamp)
        host = self._state.hosts.get(message.ip)
        if stamp is not None and host is not None:
            self._flush(host, stamp, exclude=link.director)
            self._sync.start()

    # --- what both have in common -----------------------------------------------------------------

    def _add(self, ip: IpAddress, *, tag: bytes, hostname: bytes, weight: int) -> MailHost:
        """Add a host.

        Raises:
            LimitExceeded: there are `limits.HOSTS_MAX` already.
        """
        self._state.reclaim_host_numbers()
        host = self._state.hosts.add(ip, tag=tag, hostname=hostname, weight=weight)
        self._state.note("host_added", host=ip, tag=tag, weight=weight)
        return host

    def _set_weight(self, host: MailHost, weight: int) -> None:
        self._state.note("host_weight_set", host=host.ip, old=host.weight, new=weight)
        self._state.hosts.set_weight(host, weight)

    def _set_down(self, host: MailHost, is_down: bool, changed_at: int) -> None:
        self._state.note("host_went_down" if is_down else "host_came_up", host=host.ip)
        self._state.hosts.set_down(host, is_down, changed_at)

    def _announce(self, host: MailHost, stamp: Stamp, *, exclude: Director | None) -> None:
        self._gossip.flood(host_message(host, stamp), exclude=exclude)
        host.is_desynced = not self._state.is_alone
        self._state.is_changed = True
        self._sync.start()

    def _remove(self, host: MailHost, stamp: Stamp, *, exclude: Director | None) -> None:
        self._gossip.flood(HostRemove(stamp=stamp, ip=host.ip), exclude=exclude)
        self._state.note("host_removed", host=host.ip)
        self._state.hosts.remove(host)
        self._sync.start()

    def _flush(self, host: MailHost, stamp: Stamp, *, exclude: Director | None) -> None:
        self._gossip.flood(HostFlush(stamp=stamp, ip=host.ip), exclude=exclude)
        self._state.note("host_flushed", host=host.ip)
        self._state.reclaim_host_numbers()
        self._state.hosts.forget_users(host)
        self._state.has_forgotten_users = True


def _is_older(message: Host, host: MailHost) -> bool:
    return message.changed_at < host.changed_at
