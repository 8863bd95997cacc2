"""The verbs about mail hosts: status (without a user), add, update, up, down, remove, flush, dump.

Each sends one command per address of the host it was given and turns the replies into doveadm's
words and exit statuses (doveadm-director.md section 2.2). Waiting for the ring is the server's
business; nothing here retries.
"""

from __future__ import annotations

import os

from director.cli.admin_client import AdminClient, Disconnected
from director.cli.call import Call, format_time, parse_number, parse_time, text
from director.cli.failures import UsageWrong
from director.cli.progress import show_progress
from director.cli.tables import Column
from ring.codec import tabs

STATUS_COLUMNS = (
    Column("mail server ip"),
    Column("tag"),
    Column("vhosts"),
    Column("state"),
    Column("state changed", key="state-changed"),
    Column("users"),
)

SESSIONS_COLUMN = Column("sessions")

DUMP_COLUMNS = (
    Column("command"),
    Column("socket-path"),
    Column("host"),
    Column("vhost_count"),
)


def show_hosts(call: Call, client: AdminClient) -> None:
    """`status`: one row per mail host; with --sessions also how many are open on this machine."""
    are_sessions_shown = call.arguments.has("sessions")
    call.table.begin((*STATUS_COLUMNS, SESSIONS_COLUMN) if are_sessions_shown else STATUS_COLUMNS)
    try:
        counts = session_counts(call, client) if are_sessions_shown else {}
        client.send((b"HOST-LIST",))
        for fields in client.rows():
            if len(fields) < 6:
                continue
            ip, weight, users, tag, state, changed = fields[:6]
            changed_at = parse_time(changed) or 0
            row = [
                text(ip),
                text(tag),
                text(weight),
                "down" if state.startswith(b"D") else "up",
                format_time(changed_at) if changed_at > 0 else "-",
                text(users),
            ]
            if are_sessions_shown:
                row.append("-" if counts is None else str(counts.pop(row[0], 0)))
            call.table.row(row)
        for ip_of_nobody, count in (counts or {}).items():
            call.messages.warning(f"{count} sessions to {ip_of_nobody}, which is no mail server")
    except Disconnected as error:
        call.disconnected(error)


def session_counts(call: Call, client: AdminClient) -> dict[str, int] | None:
    """Return how many sessions of the director's machine lead to each address; None: unknown.

    Raises:
        Disconnected: also by a Dovecot director, which does not know the question.
    """
    client.send((b"SESSION-COUNTS",))
    rows = [[text(field) for field in row] for row in client.rows() if len(row) >= 2]
    if rows and rows[0][0] == "ERROR":
        call.messages.warning(f"sessions cannot be counted: {rows[0][1]}")
        return None
    return {row[0]: parse_number(row[1]) or 0 for row in rows}


def add(call: Call) -> None:
    """`add`: create a host, or change its weight."""
    host = call.required("host")
    weight = call.arguments.get("vhost-count")
    client = call.connect()
    _set_weight(call, client, b"HOST-SET", host, call.arguments.get("tag") or "", weight)


def update(call: Call) -> None:
    """`update`: change the weight of a known host."""
    host = call.required("host")
    weight = call.required("vhost-count")
    client = call.connect()
    _set_weight(call, client, b"HOST-UPDATE", host, "", weight)


def _set_weight(
    call: Call, client: AdminClient, name: bytes, host: str, tag: str, weight: str | None
) -> None:
    if weight is not None and parse_number(weight) is None:
        raise UsageWrong(f"{weight!r} is no number")
    if parse_number(host) is not None:
        call.messages.error(f"Invalid host '{host}'")
        raise UsageWrong("a bare number is a forgotten host name more often than an address")
    if not tag:
        host, _, tag = host.partition("@")
    at_tag = b"@" + tabs.escape(os.fsencode(tag)) if tag else b""
    more = [] if weight is None else [str(parse_number(weight)).encode()]
    commands = ((ip, [ip.encode() + at_tag, *more]) for ip in call.resolve(host))
    for ip, reply in call.ask_per_address(client, name, commands):
        if reply == "OK":
            call.messages.info(f"{ip}: OK")
        elif reply == "NOTFOUND":
            call.failed(f"{ip}: doesn't exist", os.EX_TEMPFAIL)
        else:
            call.failed(f"{ip}: {reply}", os.EX_TEMPFAIL)


def up(call: Call) -> None:
    """`up`: let a host have users again."""
    _tell_host(call, b"HOST-UP", "up")


def down(call: Call) -> None:
    """`down`: give a host no new users."""
    _tell_host(call, b"HOST-DOWN", "down")


def remove(call: Call) -> None:
    """`remove`: forget a host and its users."""
    _tell_host(call, b"HOST-REMOVE", "removed")


def _tell_host(call: Call, name: bytes, success: str) -> None:
    host = call.required("host")
    client = call.connect()
    commands = ((ip, [ip.encode()]) for ip in call.resolve(host))
    for ip, reply in call.ask_per_address(client, name, commands):
        if reply == "OK":
            call.messages.info(f"{ip}: {success}")
        elif reply == "NOTFOUND":
            call.failed(f"{ip}: doesn't exist", os.EX_NOHOST)
        else:
            call.failed(f"{ip}: {reply}", os.EX_TEMPFAIL)


def flush(call: Call) -> None:
    """`flush`: move a host's users to where they belong now, or with -F forget them."""
    host = call.required("host")
    client = call.connect()
    addresses: list[str | None] = [None] if host == "all" else [*call.resolve(host)]
    commands = [_flush_command(call, (ip or "").encode()) for ip in addresses]
    client.send(*commands)
    try:
        for ip in addresses:
            show_progress(call, client, ip)
            _say_flushed(call, ip, text(client.line()))
    except Disconnected as error:
        call.disconnected(error)


def _flush_command(call: Call, ip: bytes) -> list[bytes]:
    """Return the command for one host, or for all if `ip` is empty."""
    if call.arguments.has("force-flush"):
        return [b"HOST-FLUSH", ip] if ip else [b"HOST-FLUSH"]
    # A wrong number counts as none given, as in doveadm.
    parallel_max = parse_number(call.arguments.get("max-parallel") or "")
    if parallel_max:
        return [b"HOST-RESET-USERS", ip, str(parallel_max).encode()]
    return [b"HOST-RESET-USERS", ip] if ip else [b"HOST-RESET-USERS"]


def _say_flushed(call: Call, ip: str | None, reply: str) -> None:
    if ip is None:
        if reply == "OK":
            call.messages.info("flushed")
        else:
            call.failed(f"failed: {reply}", os.EX_TEMPFAIL)
    elif reply == "OK":
        call.messages.info(f"{ip}: flushed")
    elif reply == "NOTFOUND":
        call.messages.warning(f"{ip}: doesn't exist")
        call.status = os.EX_NOHOST
    else:
        call.messages.warning(f"{ip}: {reply}")
        call.status = os.EX_TEMPFAIL


def dump(call: Call) -> None:
    """`dump`: the commands that bring an empty director to this state (up or down excepted)."""
    program = call.arguments.get("program") or "doveadm director"
    is_socket_given = call.arguments.has("socket-path")
    socket = " -a %{socket-path}" if is_socket_given else ""
    template = f"{program} %{{command}}{socket} %{{host}} %{{vhost_count}}\n"
    client = call.connect()
    client.send((b"HOST-LIST",))
    call.table.begin(DUMP_COLUMNS, template)
    try:
        for fields in client.rows():
            if len(fields) < 2:
                continue
            tag = fields[3] if len(fields) > 3 else b""
            host = text(fields[0] + b"@" + tag if tag else fields[0])
            call.table.row(["add", call.socket_name, host, text(fields[1])])
        client.send((b"HOST-LIST-REMOVED",))
        while line := client.line():
            call.table.row(["remove", call.socket_name, text(line), ""])
    except Disconnected as error:
        call.disconnected(error)
