"""`drain`: take a mail server out of service, wait until nobody is on it, and say so.

What an operator would do by hand before pulling a plug, with what goes wrong at night looked at:

1. Is it the last one in use? Then its users would have nowhere to go, and nothing is done.
2. `down`: no new users. Not weight 0, because `up` brings the old weight back.
3. `flush`: its users are moved, `--max-parallel` at a time, and their sessions closed everywhere.
4. Wait until it has no users, and no sessions on the director's machine: a login that was on its
   way to it may turn up late. If users are left because their move failed, flush again.

Interrupted or out of time, the server stays down and moves under way go on; what is left is said,
and how to go on or back. Sessions on other machines are closed by the same moves but not counted;
deliveries over LMTP nobody counts.

Nothing here is new to the ring, so it also drains for a Dovecot director, which counts no sessions.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import attrs

from director.cli.admin_client import AdminClient, Disconnected
from director.cli.call import Call, parse_number, text
from director.cli.failures import UsageWrong
from director.cli.host_verbs import session_counts
from director.cli.progress import CLEAR_LINE

LOOK_PERIOD_S = 1.0
"""Between two looks at what is left."""

TIMEOUT_S_DEFAULT = 600
FLUSH_AGAIN_S = 10.0
"""After a flush that left users behind."""


class _OutOfTime(Exception):
    pass


def drain(call: Call) -> None:
    """Empty a mail server; exit status 0 only if it is empty."""
    host = call.required("host")
    timeout_s = _number(call, "timeout", TIMEOUT_S_DEFAULT)
    parallel_max = _number(call, "max-parallel", 0)
    deadline = time.monotonic() + timeout_s
    for ip in call.resolve(host):
        server = _Server(call=call, ip=ip, parallel_max=parallel_max, deadline=deadline)
        try:
            if server.take_out_of_use():
                server.wait_empty()
        except Disconnected as error:
            server.end_line()
            call.disconnected(error)
            server.say_how_it_stands()
        except _OutOfTime:
            call.failed(f"{ip}: not empty after {timeout_s} s: {server.left}", os.EX_TEMPFAIL)
            server.say_how_it_stands()
        except KeyboardInterrupt:
            server.end_line()
            call.messages.warning(f"{ip}: interrupted: {server.left}")
            server.say_how_it_stands()
            raise


def _number(call: Call, name: str, default: int) -> int:
    given = call.arguments.get(name)
    number = default if given is None else parse_number(given)
    if number is None:
        raise UsageWrong(f"--{name} is no number")
    return number


@attrs.define(kw_only=True)
class _Server:
    """One mail server on its way out; `left` says what is still there."""

    call: Call
    ip: str
    parallel_max: int
    deadline: float
    left: str = "nobody has looked yet"
    can_count_sessions: bool = True
    is_down: bool = False
    shown: str = ""

    def take_out_of_use(self) -> bool:
        """Let it have no new users; False, and an error said, if that cannot be."""
        client = self.call.connect()
        rows = _hosts(client)
        row = next((row for row in rows if row[0] == self.ip), None)
        if row is None:
            self.call.failed(f"{self.ip}: doesn't exist", os.EX_NOHOST)
            return False
        others = [r for r in rows if r[3] == row[3] and r[0] != self.ip and _is_used(r)]
        if not others:
            pool = f" of tag {row[3]}" if row[3] else ""
            self.call.failed(
                f"{self.ip} is the only mail server{pool} in use: its users would have nowhere to "
                "go. First: director add HOST, or director up HOST",
                os.EX_TEMPFAIL,
            )
            return False
        client.send((b"HOST-DOWN", self.ip.encode()))
        reply = text(client.line())
        if reply != "OK":
            self.call.failed(f"{self.ip}: {reply}", os.EX_TEMPFAIL)
            return False
        self.is_down = True
        return True

    def wait_empty(self) -> None:
        """Move users away until nobody is left."""
        watcher = self.call.connect()
        while True:
            for _ in self._flush():
                self._look(watcher)
                self._check_time()
            again_at = time.monotonic() + FLUSH_AGAIN_S
            while (users := self._look(watcher)) or self._has_sessions(watcher):
                self._check_time()
                if users and time.monotonic() >= again_at:
                    break
                time.sleep(LOOK_PERIOD_S)
            else:
                break
        self.end_line()
        print(f"{self.ip}: empty. It stays down until `director up {self.ip}`.")

    def _flush(self) -> Iterator[None]:
        """Flush; yield now and then until that has ended."""
        client = self.call.connect()
        more = (str(self.parallel_max).encode(),) if self.parallel_max else ()
        client.send((b"HOST-RESET-USERS", self.ip.encode(), *more))
        while not client.has_line(LOOK_PERIOD_S):
            yield
        reply = text(client.line())
        client.close()
        if reply != "OK":
            self.end_line()
            self.call.messages.warning(f"{self.ip}: {reply}")

    def _look(self, client: AdminClient) -> int:
        """Return how many users are left, and show it."""
        users = sum(parse_number(row[2]) or 0 for row in _hosts(client) if row[0] == self.ip)
        self.left = f"{users} users left"
        if users:
            self._show(self.left)
        return users

    def _has_sessions(self, client: AdminClient) -> bool:
        """Whether users are gone but sessions are not; False if nobody can tell."""
        if not self.can_count_sessions:
            return False
        try:
            counts = session_counts(self.call, client)
        except Disconnected:
            counts = None  # a Dovecot director does not know the question, and hangs up
            self.call.messages.warning("sessions cannot be counted: this director does not")
        if counts is None:
            self.can_count_sessions = False
            return False
        count = counts.get(self.ip, 0)
        if count:
            self._show(f"no users, {count} sessions left")
        return count > 0

    def _show(self, left: str) -> None:
        self.left = left
        line = f"{self.ip}: {left}"
        if line != self.shown:
            self.shown = line
            sys.stderr.write(CLEAR_LINE + line if sys.stderr.isatty() else line + "\n")
            sys.stderr.flush()

    def _check_time(self) -> None:
        if time.monotonic() >= self.deadline:
            self.end_line()
            raise _OutOfTime

    def end_line(self) -> None:
        """Let what is said next begin on a line of its own."""
        if self.shown and sys.stderr.isatty():
            sys.stderr.write("\n")
        self.shown = ""

    def say_how_it_stands(self) -> None:
        if self.is_down:
            self.call.messages.warning(
                f"{self.ip} stays down, and moves under way go on. To go on waiting: director "
                f"drain {self.ip}; to take it back into use: director up {self.ip}"
            )


def _hosts(client: AdminClient) -> list[list[str]]:
    client.send((b"HOST-LIST",))
    return [[text(field) for field in fields] for fields in client.rows() if len(fields) >= 6]


def _is_used(row: list[str]) -> bool:
    return row[4] != "D" and row[1] != "0"
