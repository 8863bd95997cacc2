"""One proxied session as Dovecot lists it: LIST-FULL of 2.3's ipc, CONNECT-DUMP of 2.4's anvil.

Every OK line that this daemon rewrites carries two private fields, `user_dirhash=HASH` and
`user_dirdest=HASH@HOST` (dovecot-2.4-plug.md section 4.4). Login processes of both versions take
them as alternative user names, show them in these lists and kick by them. They say what the
*director* decided: `user=` alone does not, because `destuser=` is what was hashed, and the address
connected to does not, because a backend may have redirected the session.

A session without them was set up by somebody else: a real director that ran here before us, or a
passdb that named the host itself. Its hash is that of its user name, which is all anybody knows.

Rejected: finding our columns by the header line. Every login process of 2.3 sends its own header,
their columns differ, and the lines of several processes may mix. `HASH@HOST` beside `HASH` is
recognisable wherever it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs

from ring.address import IpAddress, parse_ip
from ring.codec import tabs
from ring.errors import ValueRefused

HASH_FIELD = b"user_dirhash"
DESTINATION_FIELD = b"user_dirdest"

UserHash: TypeAlias = Callable[[bytes], int]

_DESTINATION = re.compile(rb"([1-9][0-9]{0,9})@([0-9a-fA-F:.]+)")


@attrs.frozen(kw_only=True)
class LiveSession:
    """A session that a login process proxies to a backend.

    `user_hash` and `ip` are the director's: of our fields if `is_ours`, else of the user name and
    the address connected to. `alternatives` are the values of the `user_*` fields in the list's
    order. Dovecot 2.3 tells neither `pid` (0) nor `guid` (empty).
    """

    user: bytes
    user_hash: int
    ip: IpAddress
    service: bytes
    is_ours: bool
    alternatives: tuple[bytes, ...]
    pid: int
    guid: bytes


def destination(user_hash: int, ip: IpAddress) -> bytes:
    """Return the value of `user_dirdest` for a session of this user to this host."""
    return b"%d@%s" % (user_hash, str(ip).encode("ascii"))


def is_ipc_header(line: bytes) -> bool:
    """Whether a line of LIST-FULL names columns; one such line starts each process's part."""
    return line.startswith(b"username\t") and line.endswith(
        b"\tservice\tsrc-ip\tdest-ip\tdest-port"
    )


def parse_ipc_row(line: bytes, user_hash: UserHash) -> LiveSession | None:
    """Return the session of a LIST-FULL row (without its colon), or None if it is none.

    The row: user, alternatives, service, client IP, destination IP, destination port.
    """
    if is_ipc_header(line):
        return None
    fields = tabs.split(line)
    if len(fields) < 5:
        return None
    user, *alternatives, service, _client, ip, _port = fields
    return _session(user, alternatives, service, ip, user_hash, pid=0, guid=b"")


def parse_anvil_row(line: bytes, user_hash: UserHash) -> LiveSession | None:
    """Return the session of a CONNECT-DUMP row, or None if it is not proxied or no row at all.

    The row: pid, user, service, client IP, guid, destination IP (empty: a local session),
    alternatives.
    """
    fields = tabs.split(line)
    if len(fields) < 6 or not fields[0].isdigit():
        return None
    pid, user, service, _client, guid, ip, *alternatives = fields
    return _session(user, alternatives, service, ip, user_hash, pid=int(pid), guid=guid)


def local_user(line: bytes) -> bytes:
    """Return whose session a CONNECT-DUMP row is if it is not proxied, else nothing."""
    fields = tabs.split(line)
    return fields[1] if len(fields) >= 6 and not fields[5] else b""


def _session(
    user: bytes,
    alternatives: Sequence[bytes],
    service: bytes,
    ip_text: bytes,
    user_hash: UserHash,
    *,
    pid: int,
    guid: bytes,
) -> LiveSession | None:
    try:
        ip = parse_ip(ip_text.decode("ascii", "replace"))
    except ValueRefused:
        return None
    ours = _our_fields(alternatives)
    number, ip = ours or (user_hash(user), ip)
    return LiveSession(
        user=user,
        user_hash=number,
        ip=ip,
        service=service,
        is_ours=ours is not None,
        alternatives=tuple(alternatives),
        pid=pid,
        guid=guid,
    )


def _our_fields(alternatives: Sequence[bytes]) -> tuple[int, IpAddress] | None:
    for value in alternatives:
        match = _DESTINATION.fullmatch(value)
        if match is None or match[1] not in alternatives or int(match[1]) >= 1 << 32:
            continue
        try:
            return int(match[1]), parse_ip(match[2].decode("ascii"))
        except ValueRefused:
            continue
    return None
