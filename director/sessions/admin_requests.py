"""Lines of the `director-admin` protocol as values: what an administrator asks for.

A line is either a command of the node's (`ring.commands`), which is answered with one line when the
ring has applied it, or one of the questions below, which is answered from what the node knows now
(doveadm-director.md section 1.3). Names are case sensitive and surplus arguments are ignored, as in
the original; a line that means nothing raises `ValueRefused` with what was expected.

A user is given by name or by hash: an argument of digits that fits 32 bits is a hash, so a user
whose name is a number can only be found by its hash (users-and-hosts.md section 1). `USER-KICK-HASH
hash`, `USER-STATUS user [tag]` and `SESSION-COUNTS` are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs

from ring import limits
from ring.address import DirectorAddress, IpAddress, parse_ip
from ring.codec import tabs
from ring.commands import (
    Command,
    DirectorAdd,
    DirectorRemove,
    HostDown,
    HostFlush,
    HostRemove,
    HostResetUsers,
    HostSet,
    HostUp,
    HostUpdate,
    UserKick,
    UserKickField,
    UserKickHash,
    UserMove,
)
from ring.errors import ValueRefused, excerpt

NUMBER_MAX = 0xFFFFFFFF

HashUser: TypeAlias = Callable[[bytes], int]


@attrs.frozen
class ListHosts:
    pass


@attrs.frozen
class ListRemovedHosts:
    """Hosts that are configured and not in the ring's list."""


@attrs.frozen
class ListDirectors:
    pass


@attrs.frozen(kw_only=True)
class LookUpUser:
    user_hash: int
    tag: bytes


@attrs.frozen(kw_only=True)
class ShowUserState:
    """Whether a user is being moved, and whether it is weak (our own addition)."""

    user_hash: int
    tag: bytes


@attrs.frozen
class ListUsers:
    """The users of one host, None for all."""

    ip: IpAddress | None


@attrs.frozen
class CountSessions:
    """Our own addition: only Dovecot knows, so the answer takes a while (`kick/census.py`)."""


Question: TypeAlias = (
    ListHosts | ListRemovedHosts | ListDirectors | LookUpUser | ShowUserState | ListUsers
)


def parse_request(
    line: bytes, hash_user: HashUser, own: DirectorAddress
) -> Command | Question | CountSessions:
    """Return what a line asks for; `own` completes directors that are named without a port.

    Raises:
        ValueRefused: an unknown name, or missing or wrong arguments.
    """
    name, *arguments = tabs.split(line) or [b""]
    parse = _PARSERS.get(name)
    if parse is None:
        raise ValueRefused(f"unknown command {excerpt(name)!r}")
    try:
        return parse(_Arguments(arguments, hash_user, own))
    except ValueRefused as error:
        raise ValueRefused(f"{name.decode()}: {error}") from None


@attrs.frozen
class _Arguments:
    """The fields behind the name, read by position."""

    fields: Sequence[bytes]
    hash_user: HashUser
    own: DirectorAddress

    def optional(self, index: int) -> bytes:
        """Return a field, empty if it is not there."""
        return self.fields[index] if index < len(self.fields) else b""

    def required(self, index: int, what: str) -> bytes:
        if index >= len(self.fields):
            raise ValueRefused(f"got {len(self.fields)} arguments, expected {what} as well")
        return self.fields[index]

    def text(self, index: int, what: str) -> bytes:
        """Return a field that travels around the ring."""
        field = self.required(index, what)
        if len(field) > limits.FRAME_TEXT_BYTES_MAX:
            raise ValueRefused(
                f"{what} of {len(field)} bytes, expected {limits.FRAME_TEXT_BYTES_MAX} at most"
            )
        return field

    def ip(self, index: int) -> IpAddress:
        return _parse_ip(self.required(index, "an address"))

    def optional_ip(self, index: int) -> IpAddress | None:
        field = self.optional(index)
        return _parse_ip(field) if field else None

    def ip_and_tag(self, index: int) -> tuple[IpAddress, bytes]:
        address, _, tag = self.text(index, "an address").partition(b"@")
        return _parse_ip(address), tag

    def number(self, index: int, what: str) -> int:
        return _parse_number(self.required(index, what), what)

    def optional_number(self, index: int, what: str) -> int | None:
        if index >= len(self.fields):
            return None
        return _parse_number(self.fields[index], what)

    def user_hash(self, index: int) -> int:
        """Return the hash of a user given by name or hash; a missing one is the empty name."""
        field = self.optional(index)
        if field.isdigit() and int(field) <= NUMBER_MAX:
            return int(field)
        return self.hash_user(field)

    def is_waiting(self, index: int) -> bool:
        return self.optional(index) != b"nowait"

    def port(self, index: int) -> int | None:
        port = self.optional_number(index, "a port")
        if port is not None and not 0 < port <= 65535:
            raise ValueRefused(f"got port {port}, expected 1 to 65535")
        return port


def _parse_ip(field: bytes) -> IpAddress:
    return parse_ip(field.decode("ascii", "backslashreplace"))


def _parse_number(field: bytes, what: str) -> int:
    if not field.isdigit() or len(field) > 10 or int(field) > NUMBER_MAX:
        raise ValueRefused(f"got {excerpt(field)!r}, expected {what}: 0 to {NUMBER_MAX}")
    return int(field)


# --- one function a command -------------------------------------------------------------------


def _host_set(arguments: _Arguments) -> Command:
    ip, tag = arguments.ip_and_tag(0)
    return HostSet(ip=ip, tag=tag, weight=arguments.optional_number(1, "a weight"))


def _host_update(arguments: _Arguments) -> Command:
    ip, tag = arguments.ip_and_tag(0)
    return HostUpdate(ip=ip, tag=tag, weight=arguments.number(1, "a weight"))


def _host_reset_users(arguments: _Arguments) -> Command:
    parallel_max = arguments.optional_number(1, "a number of moves")
    if parallel_max == 0:
        raise ValueRefused("got 0 moves at a time, expected 1 or more")
    return HostResetUsers(ip=arguments.optional_ip(0), parallel_max=parallel_max)


def _user_move(arguments: _Arguments) -> Command:
    arguments.required(0, "a user")
    return UserMove(user_hash=_real_hash(arguments.user_hash(0)), ip=arguments.ip(1))


def _user_kick(arguments: _Arguments) -> Command:
    return UserKick(user=arguments.text(0, "a user"), is_waiting=arguments.is_waiting(1))


def _user_kick_field(arguments: _Arguments) -> Command:
    return UserKickField(
        field=arguments.text(0, "a field"),
        value=arguments.text(1, "a value"),
        is_waiting=arguments.is_waiting(2),
    )


def _user_kick_hash(arguments: _Arguments) -> Command:
    return UserKickHash(_real_hash(arguments.number(0, "a user hash")))


def _real_hash(user_hash: int) -> int:
    """Return a hash that a user can have: 0 never comes out of a name."""
    if user_hash == 0:
        raise ValueRefused("got the user hash 0, expected 1 or more")
    return user_hash


def _director_add(arguments: _Arguments) -> Command:
    ip, port = arguments.ip(0), arguments.port(1) or arguments.own.port
    if port == 0:
        raise ValueRefused("got no port, and this director has none of its own")
    return DirectorAdd(DirectorAddress(ip=ip, port=port))


def _director_remove(arguments: _Arguments) -> Command:
    return DirectorRemove(ip=arguments.ip(0), port=arguments.port(1))


_PARSERS: dict[bytes, Callable[[_Arguments], Command | Question | CountSessions]] = {
    b"HOST-LIST": lambda arguments: ListHosts(),
    b"HOST-LIST-REMOVED": lambda arguments: ListRemovedHosts(),
    b"DIRECTOR-LIST": lambda arguments: ListDirectors(),
    b"SESSION-COUNTS": lambda arguments: CountSessions(),
    b"DIRECTOR-ADD": _director_add,
    b"DIRECTOR-REMOVE": _director_remove,
    b"HOST-SET": _host_set,
    b"HOST-UPDATE": _host_update,
    b"HOST-UP": lambda arguments: HostUp(arguments.ip(0)),
    b"HOST-DOWN": lambda arguments: HostDown(arguments.ip(0)),
    b"HOST-REMOVE": lambda arguments: HostRemove(arguments.ip(0)),
    b"HOST-FLUSH": lambda arguments: HostFlush(arguments.optional_ip(0)),
    b"HOST-RESET-USERS": _host_reset_users,
    b"USER-LOOKUP": lambda arguments: LookUpUser(
        user_hash=arguments.user_hash(0), tag=arguments.optional(1)
    ),
    b"USER-LIST": lambda arguments: ListUsers(arguments.optional_ip(0)),
    b"USER-MOVE": _user_move,
    b"USER-KICK": _user_kick,
    b"USER-KICK-ALT": _user_kick_field,
    b"USER-KICK-HASH": _user_kick_hash,
    b"USER-STATUS": lambda arguments: ShowUserState(
        user_hash=arguments.user_hash(0), tag=arguments.optional(1)
    ),
}
