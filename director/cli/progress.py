"""What an operator sees while waiting: `flush` counts down, `status --watch` redraws.

Both only repeat a question that anybody may ask; the work itself happens in the ring and goes on
when they are interrupted. Nothing is shown in a pipe, unless `--progress` asks for it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from director.cli.admin_client import AdminClient, Disconnected
from director.cli.call import Call, parse_number, text
from director.cli.failures import Fatal

PROGRESS_PERIOD_S = 1.0
"""Between two counts of a flush; a flush that takes less is not counted at all."""

WATCH_PERIOD_S = 2.0
"""Between two redraws of `status --watch`."""

CLEAR_SCREEN = "\x1b[H\x1b[2J"
CLEAR_LINE = "\r\x1b[K"


def show_progress(call: Call, client: AdminClient, ip: str | None) -> None:
    """Say on stderr how many users a host (None: all hosts) still has, until the reply is there.

    The counts come over a connection of their own: one connection answers one command at a time.
    """
    is_terminal = sys.stderr.isatty()
    if not is_terminal and not call.arguments.has("progress"):
        return
    counter: AdminClient | None = None
    shown = ""
    while not client.has_line(PROGRESS_PERIOD_S):
        try:
            counter = counter or call.connect()
            count = _count_users(counter, ip)
        except (Fatal, Disconnected):
            break
        now_shown = f"{ip or 'all'}: {count} users left"
        if now_shown != shown:
            shown = now_shown
            sys.stderr.write(CLEAR_LINE + shown if is_terminal else shown + "\n")
            sys.stderr.flush()
    if shown and is_terminal:
        sys.stderr.write(CLEAR_LINE)


def _count_users(client: AdminClient, ip: str | None) -> int:
    client.send((b"HOST-LIST",))
    rows = [[text(field) for field in fields] for fields in client.rows() if len(fields) >= 6]
    return sum(parse_number(row[2]) or 0 for row in rows if ip in (None, row[0]))


def watch(call: Call, show: Callable[[Call], None]) -> None:
    """Clear the terminal and `show` again and again, until interrupted or something is wrong."""
    try:
        while True:
            print(CLEAR_SCREEN, end="", flush=True)
            show(call)
            call.close()
            call.table.finish()
            sys.stdout.flush()
            call.table = call.make_table()
            if call.status != os.EX_OK:
                return
            time.sleep(WATCH_PERIOD_S)
    except KeyboardInterrupt:
        print()
