"""Changes of the host list, ours and everybody's: applied, announced, settled when they collide.

ring-protocol.md sections 7.2, 7.3 and 8.3 to 8.5. A host that changed since the last completed sync
is *desynced*; a second change that overlaps the first is settled by rule (newer up/down, lower
weight), re-announced as our own to everybody, so that all nodes end with the same list.

The original refuses a change while an earlier one of the same host still travels; here commands
wait for the ring (`administration.py`), so that never happens.

Our own directors also tell when a weight was set and when a host was removed, and what was done
later stands, however late it is heard (DESIGN.md decision 33). A classic line tells no such moment:
then the rules of the original hold, and what comes of them is as new as now.
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
            set_at = self._later_than(hosts.removed_at.get(command.ip, 0))
            host = self._add(
                command.ip, tag=command.tag, hostname=b"", weight=weight, set_at=set_at
            )
        else:
            if command.tag not in (b"", host.tag):
                return Answer.TAG_IS_FIXED
            if command.weight is not None:
                self._set_weight(host, command.weight, self._later_than(host.weight_set_at))
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
        removed_at = self._later_than(host.weight_set_at)
        self._remove(host, self._gossip.own_stamp(), removed_at, exclude=None)
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
        host = self._state.hosts.get(message.ip)
        if host is None:
            self._unknown_received(link, message, stamp)
            return
        if _is_known(host, message):
            return
        is_overlapping = host.is_desynced
        agreed = self._settle(host, message) if is_overlapping else _newest(host, message)
        self._apply(host, agreed)
        if is_overlapping or agreed != message:
            self._announce(host, self._gossip.own_stamp(), exclude=None)
        else:
            self._announce(host, stamp or self._gossip.own_stamp(), exclude=link.director)

    def _unknown_received(self, link: Link, message: Host, stamp: Stamp | None) -> None:
        """Add a host, unless that is what was before it was removed."""
        removed_at = self._state.hosts.removed_at.get(message.ip, 0)
        set_at = message.weight_set_at
        if set_at is None:
            set_at = self._later_than(removed_at) if removed_at else 0
        elif removed_at and set_at <= removed_at:
            own_stamp = self._gossip.own_stamp()
            removal = HostRemove(stamp=own_stamp, ip=message.ip, removed_at=removed_at)
            self._gossip.flood(removal, exclude=None)
            return
        if removed_at:
            self._state.has_missed_users = True  # who set it since did not forget them
        host = self._add(
            message.ip,
            tag=message.tag,
            hostname=message.hostname,
            weight=message.weight,
            set_at=set_at,
        )
        self._apply(host, message)
        self._announce(host, stamp or self._gossip.own_stamp(), exclude=link.director)

    def _settle(self, host: MailHost, message: Host) -> Host:
        """Two changes overlap: keep the newer up/down state, and the weight that was set later.

        Of two of the same second the host is down. The original takes what it hears; then two
        directors can tell each other up and down for ever. Of two weights of the same moment, or
        if it was not told, the lower one stands.
        """
        is_down = message.is_down
        if is_down != host.is_down and host.changed_at >= message.changed_at:
            is_down = host.is_down or host.changed_at == message.changed_at
        weight, set_at = min(host.weight, message.weight), message.weight_set_at
        if set_at is None:
            set_at = self._later_than(host.weight_set_at)
        elif set_at > host.weight_set_at:
            weight = message.weight
        elif set_at < host.weight_set_at:
            weight, set_at = host.weight, host.weight_set_at
        self._state.note(
            "host_conflict_settled",
            host=host.ip,
            ours=f"{host.weight} {'down' if host.is_down else 'up'}",
            theirs=f"{message.weight} {'down' if message.is_down else 'up'}",
            result=f"{weight} {'down' if is_down else 'up'}",
        )
        return attrs.evolve(message, weight=weight, weight_set_at=set_at, is_down=is_down)

    def _apply(self, host: MailHost, message: Host) -> None:
        if host.tag != message.tag:
            self._state.note("host_tag_changed", host=host.ip, old=host.tag, new=message.tag)
            self._state.reclaim_host_numbers()
            self._state.hosts.set_tag(host, message.tag)
        if host.is_down != message.is_down:
            self._set_down(host, message.is_down, max(message.changed_at, host.changed_at))
        set_at = message.weight_set_at
        if host.weight != message.weight:
            set_at = self._later_than(host.weight_set_at) if set_at is None else set_at
            self._set_weight(host, message.weight, set_at)
        elif set_at is not None:
            self._state.hosts.set_weight(host, host.weight, max(set_at, host.weight_set_at))

    def remove_received(self, link: Link, message: HostRemove) -> None:
        """A neighbour says that a host was removed (section 8.4)."""
        stamp = self._gossip.accept(message.stamp)
        if stamp is None:
            return
        hosts = self._state.hosts
        host, removed_at = hosts.get(message.ip), message.removed_at
        if host is None:
            if removed_at is not None and removed_at > hosts.removed_at.get(message.ip, -1):
                hosts.remember_removal(message.ip, removed_at)
                self._gossip.flood(attrs.evolve(message, stamp=stamp), exclude=link.director)
            return
        if removed_at is None:
            removed_at = self._later_than(host.weight_set_at)
        if removed_at < host.weight_set_at:
            self._announce(host, self._gossip.own_stamp(), exclude=None)  # set since
        else:
            self._remove(host, stamp, removed_at, exclude=link.director)

    def flush_received(self, link: Link, message: HostFlush) -> None:
        stamp = self._gossip.accept(message.stamp)
        host = self._state.hosts.get(message.ip)
        if stamp is not None and host is not None:
            self._flush(host, stamp, exclude=link.director)
            self._sync.start()

    # --- what both have in common -----------------------------------------------------------------

    def _later_than(self, before: int) -> int:
        """Return now in milliseconds, but later than what is replaced: clocks differ."""
        return max(self._state.wall_ms, before + 1)

    def _add(
        self, ip: IpAddress, *, tag: bytes, hostname: bytes, weight: int, set_at: int
    ) -> MailHost:
        """Add a host.

        Raises:
            LimitExceeded: there are `limits.HOSTS_MAX` already.
        """
        self._state.reclaim_host_numbers()
        hosts = self._state.hosts
        host = hosts.add(ip, tag=tag, hostname=hostname, weight=weight)
        hosts.set_weight(host, weight, set_at)
        self._state.note("host_added", host=ip, tag=tag, weight=weight)
        return host

    def _set_weight(self, host: MailHost, weight: int, set_at: int) -> None:
        self._state.note("host_weight_set", host=host.ip, old=host.weight, new=weight)
        self._state.hosts.set_weight(host, weight, set_at)

    def _set_down(self, host: MailHost, is_down: bool, changed_at: int) -> None:
        self._state.note("host_went_down" if is_down else "host_came_up", host=host.ip)
        self._state.hosts.set_down(host, is_down, changed_at)

    def _announce(self, host: MailHost, stamp: Stamp, *, exclude: Director | None) -> None:
        self._gossip.flood(host_message(host, stamp), exclude=exclude)
        host.is_desynced = not self._state.is_alone
        self._state.is_changed = True
        self._sync.start()

    def _remove(
        self, host: MailHost, stamp: Stamp, removed_at: int, *, exclude: Director | None
    ) -> None:
        removal = HostRemove(stamp=stamp, ip=host.ip, removed_at=removed_at)
        self._gossip.flood(removal, exclude=exclude)
        self._state.note("host_removed", host=host.ip)
        self._state.hosts.remove(host)
        self._state.hosts.remember_removal(host.ip, removed_at)
        self._sync.start()

    def _flush(self, host: MailHost, stamp: Stamp, *, exclude: Director | None) -> None:
        self._gossip.flood(HostFlush(stamp=stamp, ip=host.ip), exclude=exclude)
        self._state.note("host_flushed", host=host.ip)
        self._state.reclaim_host_numbers()
        self._state.hosts.forget_users(host)
        self._state.has_forgotten_users = True


def _is_known(host: MailHost, message: Host) -> bool:
    return (
        host.weight == message.weight
        and host.is_down == message.is_down
        and host.tag == message.tag
        and (message.weight_set_at is None or message.weight_set_at <= host.weight_set_at)
    )


def _newest(host: MailHost, message: Host) -> Host:
    """Return what is heard of a host, but what is newer here.

    Without a stamp it tells how things are at a neighbour, not what somebody wants.
    """
    if message.stamp is None and message.changed_at < host.changed_at:
        message = attrs.evolve(message, is_down=host.is_down)
    if message.weight_set_at is not None and message.weight_set_at < host.weight_set_at:
        message = attrs.evolve(message, weight=host.weight, weight_set_at=host.weight_set_at)
    return message
