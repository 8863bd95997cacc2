"""The verbs about users: status USER, map, move, kick.

The ring knows users by hash only, so `map` needs names from elsewhere: a file, or the listing of
Dovecot's user database. `move` always hashes its argument, `status` sends it as it is, and the
server takes an all-digit one for a hash (users-and-hosts.md section 1, last paragraph).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from director.cli.admin_client import AdminClient, Disconnected
from director.cli.call import Call, format_time, parse_number, parse_time, text
from director.cli.failures import Fatal, UsageWrong
from director.cli.tables import Column
from director.cli.userdb_list import UserListFailed, list_users
from ring.address import parse_ip
from ring.codec import tabs
from ring.errors import ValueRefused

LOOKUP_COLUMNS = (
    Column("status"),
    Column("expires"),
    Column("hashed"),
    Column("initial-config"),
)
LOOKUP_TEMPLATE = (
    "Current: %{status} (expires %{expires})\n"
    "Hashed: %{hashed}\n"
    "Initial config: %{initial-config}\n"
)

MAP_COLUMNS = (
    Column("user", is_expanding=True),
    Column("hash"),
    Column("mail server ip"),
    Column("expire time"),
)
HASH_COLUMNS = (Column("hash", has_title=False),)
NAME_COLUMNS = (Column("user", has_title=False),)


def show_user(call: Call, client: AdminClient, user: str) -> None:
    """`status USER [TAG]`: where a user is, and where it would be."""
    tag = call.arguments.get("tag") or ""
    client.send((b"USER-LOOKUP", tabs.escape(os.fsencode(user)), tabs.escape(os.fsencode(tag))))
    call.table.begin(LOOKUP_COLUMNS, LOOKUP_TEMPLATE)
    try:
        fields = tabs.split(client.line())
    except Disconnected as error:
        call.disconnected(error)
        return
    expires_at = parse_number(text(fields[1])) if len(fields) == 4 else None
    if expires_at is None:
        call.failed("Invalid reply from director", os.EX_PROTOCOL)
        return
    current, _, hashed, initial = map(text, fields)
    if current:
        call.table.row([current, format_time(expires_at), hashed, initial])
    else:
        call.table.row(["n/a", "-1", hashed, initial])
    if call.messages.is_verbose:
        _say_state(call, client, user, tag)


def _say_state(call: Call, client: AdminClient, user: str, tag: str) -> None:
    """Tell of a move or a weak round; a Dovecot director does not know and hangs up."""
    client.send((b"USER-STATUS", tabs.escape(os.fsencode(user)), tabs.escape(os.fsencode(tag))))
    try:
        fields = tabs.split(client.line())
    except Disconnected:
        return
    if len(fields) != 2 or fields[0] == b"ERROR":
        return
    stage, weak = map(text, fields)
    facts = [f"move {stage}"] if stage != "none" else []
    if weak:
        facts.append(weak)
    if facts:
        call.messages.info(f"{user}: {', '.join(facts)}")


def map_users(call: Call) -> None:
    """`map`: who is where; with -u the hash of a name, with -h the names of a hash."""
    host = call.arguments.get("host")
    is_hashing = call.arguments.has("user-map")
    is_naming = call.arguments.has("hash-map")
    if host is None and (is_hashing or is_naming):
        raise UsageWrong("-u and -h need an argument")
    if is_hashing:
        assert host is not None
        call.table.begin(HASH_COLUMNS)
        call.table.row([str(call.environment.user_hash(os.fsencode(host)))])
        return
    client = call.connect()
    if is_naming:
        assert host is not None
        _show_names(call, host)
    else:
        _show_map(call, client, host)


def _show_names(call: Call, digits: str) -> None:
    names = _names_by_hash(call)
    user_hash = parse_number(digits)
    if user_hash is None:
        raise Fatal(f"Invalid username hash: {digits}", os.EX_TEMPFAIL)
    call.table.begin(NAME_COLUMNS)
    for name in names.get(user_hash, ()):
        call.table.row([name])


def _show_map(call: Call, client: AdminClient, host: str | None) -> None:
    fields = [b"USER-LIST"]
    if host is not None:
        addresses = call.resolve(host)
        if not addresses:
            return
        if len(addresses) == 1:
            fields.append(addresses[0].encode())
    names = _names_by_hash(call)
    client.send(fields)
    call.table.begin(MAP_COLUMNS)
    try:
        for row in client.rows():
            _show_map_row(call, names, row)
    except Disconnected as error:
        call.disconnected(error)


def _show_map_row(call: Call, names: dict[int, list[str]], row: list[bytes]) -> None:
    user_hash = parse_number(text(row[0])) if len(row) >= 3 else None
    expires_at = parse_time(row[1]) if len(row) >= 3 else None
    is_address = len(row) >= 3 and _is_address(row[2])
    if user_hash is None or expires_at is None or not is_address:
        line = text(b"\t".join(row))
        call.failed(f"Invalid USER-LIST reply: {line}", os.EX_PROTOCOL)
        return
    for name in names.get(user_hash, ("<unknown>",)):
        call.table.row([name, str(user_hash), text(row[2]), format_time(expires_at)])


def _is_address(field: bytes) -> bool:
    try:
        parse_ip(text(field))
    except ValueRefused:
        return False
    return True


def _names_by_hash(call: Call) -> dict[int, list[str]]:
    """Return the known names of each hash, the last listed first."""
    names: dict[int, list[str]] = {}
    for name in _user_names(call):
        names.setdefault(call.environment.user_hash(name), []).append(text(name))
    for found in names.values():
        found.reverse()
    return names


def _user_names(call: Call) -> Iterator[bytes]:
    path = call.arguments.get("users-file")
    if path is None:
        try:
            yield from list_users(call.environment.userdb_path)
        except UserListFailed as error:
            call.messages.error(f"auth-master: userdb list: {error}")
            call.failed("user listing failed", os.EX_TEMPFAIL)
    elif path == "-":
        yield from _lines(sys.stdin.buffer)
    else:
        try:
            with Path(path).open("rb") as file:
                yield from _lines(file)
        except OSError as error:
            # Counts as an empty file, as in doveadm, but doveadm says nothing at all.
            call.messages.debug(f"open({path}) failed: {error.strerror}")


def _lines(file: Iterable[bytes]) -> Iterator[bytes]:
    for line in file:
        yield line.removesuffix(b"\n").removesuffix(b"\r")


def move(call: Call) -> None:
    """`move`: send a user to a host, sessions included."""
    user = call.required("user")
    host = call.required("host")
    client = call.connect()
    user_hash = call.environment.user_hash(os.fsencode(user))
    addresses = call.resolve(host)
    if addresses:
        ip = addresses[0]
        client.send((b"USER-MOVE", str(user_hash).encode(), ip.encode()))
        try:
            reply = text(client.line())
        except Disconnected as error:
            call.disconnected(error)
        else:
            _say_moved(call, user_hash, ip, reply)


def _say_moved(call: Call, user_hash: int, ip: str, reply: str) -> None:
    if reply == "OK":
        call.messages.info(f"User hash {user_hash} moved to {ip}")
    elif reply == "NOTFOUND":
        call.failed(f"Host '{ip}' doesn't exist", os.EX_NOHOST)
    elif reply == "TRYAGAIN":
        reason = "User is already being moved, wait a while for it to be finished"
        call.failed(reason, os.EX_TEMPFAIL)
    else:
        call.failed(f"failed: {reply}", os.EX_TEMPFAIL)


def kick(call: Call) -> None:
    """`kick`: close a user's sessions everywhere."""
    user = call.required("user")
    field = call.arguments.get("passdb-field")
    client = call.connect()
    name = tabs.escape(os.fsencode(user))
    if call.arguments.has("hash"):
        if parse_number(user) is None:
            raise UsageWrong(f"{user!r} is no user hash")
        client.send((b"USER-KICK-HASH", user.encode()))
    elif field is not None:
        client.send((b"USER-KICK-ALT", tabs.escape(os.fsencode(field)), name))
    else:
        client.send((b"USER-KICK", name))
    try:
        reply = text(client.line())
    except Disconnected as error:
        call.disconnected(error)
    else:
        if reply == "OK":
            call.messages.info(f"User {user} kicked")
        else:
            call.failed(f"failed: {reply}", os.EX_TEMPFAIL)
