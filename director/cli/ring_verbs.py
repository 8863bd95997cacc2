"""The verbs about directors: ring add, ring remove, ring status."""

from __future__ import annotations

import os

from director.cli.admin_client import Disconnected
from director.cli.call import Call, format_time, parse_number, parse_time, text
from director.cli.failures import UsageWrong
from director.cli.tables import Column
from ring.address import ip_text, parse_ip
from ring.errors import ValueRefused

STATUS_COLUMNS = (
    Column("director ip"),
    Column("port"),
    Column("type"),
    Column("last failed"),
    Column("status"),
    Column("ping ms"),
    Column("input"),
    Column("output"),
    Column("buffered"),
    Column("buffered peak"),
    Column("last read"),
    Column("last write"),
)

TIME_COLUMNS = frozenset((3, 10, 11))


def ring_add(call: Call) -> None:
    """`ring add`: let the ring know a director."""
    reply = _tell_ring(call, b"DIRECTOR-ADD")
    if reply not in (None, "OK"):
        call.failed(f"Failed: {reply}", os.EX_TEMPFAIL)


def ring_remove(call: Call) -> None:
    """`ring remove`: let the ring forget a director."""
    reply = _tell_ring(call, b"DIRECTOR-REMOVE")
    if reply == "NOTFOUND":
        call.failed("Not found", os.EX_NOHOST)
    elif reply not in (None, "OK"):
        call.failed(f"Failed: {reply}", os.EX_TEMPFAIL)


def _tell_ring(call: Call, name: bytes) -> str | None:
    """Send one command about one director; None if the connection broke instead of a reply."""
    address = call.required("ip")
    port = call.arguments.get("port")
    client = call.connect()
    try:
        fields = [ip_text(parse_ip(address)).encode()]
    except ValueRefused as error:
        raise UsageWrong(str(error)) from None
    if port is not None:
        number = parse_number(port)
        if number is None or not 0 < number <= 65535:
            raise UsageWrong(f"{port!r} is no port number")
        fields.append(str(number).encode())
    client.send((name, *fields))
    try:
        return text(client.line())
    except Disconnected as error:
        call.disconnected(error)
        return None


def ring_status(call: Call) -> None:
    """`ring status`: one row per director and connection."""
    client = call.connect()
    client.send((b"DIRECTOR-LIST",))
    call.table.begin(STATUS_COLUMNS)
    try:
        for fields in client.rows():
            call.table.row([_cell(fields, index) for index in range(len(STATUS_COLUMNS))])
    except Disconnected as error:
        call.disconnected(error)


def _cell(fields: list[bytes], index: int) -> str:
    if index >= len(fields):
        return "-"
    if index in TIME_COLUMNS:
        seconds = parse_time(fields[index])
        if seconds is not None:
            return "never" if seconds == 0 else format_time(seconds)
    return text(fields[index])
