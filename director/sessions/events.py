"""Who has sessions, as Dovecot 2.4's event exporter tells: the last resort of three.

proxy-notify is best, asking Dovecot for its list next (`memory.py`). Where neither can be had,
because no FIFO is safe and anvil is closed to us, Dovecot's stats process can be told to export the
beginning and the end of each proxied session to a listener of ours, a name ending in `-events`:

    event_exporter director {            metric director_sessions {
      driver = unix                        filter = event=proxy_session_established OR \\
      format = json                                 event=proxy_session_finished
      time_format = unix                   exporter = director
      unix_path = /run/dovecot/            exporter_include = name fields
        director-events                  }
    }

One JSON object a line (dovecot-2.4-lab.md section 6). Best effort on Dovecot's side: events are
lost while we are away, and sessions that began before are never told. Then a user may be forgotten
while a session is open, or live on although it ended unseen. An event names the user who logged
in, not `destuser`. Sessions are told apart by the client's address and port, and the service.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import attrs

from director.kick.listing import LiveSession
from director.sessions.directory import Surroundings
from director.sessions.stream import Stream
from ring import limits
from ring.address import parse_ip
from ring.errors import LimitExceeded, ValueRefused

BEGAN = "proxy_session_established"
ENDED = "proxy_session_finished"


@attrs.frozen
class SessionEvent:
    """`key` tells the session from all others that are open."""

    key: tuple[object, ...]
    is_end: bool
    user: bytes
    service: bytes
    ip_text: str


@attrs.define(eq=False)
class OpenSessions:
    """The sessions whose beginning was told and whose end was not, at most SESSIONS_MAX."""

    by_key: dict[tuple[object, ...], LiveSession] = attrs.field(init=False, factory=dict)
    tellers_count: int = attrs.field(init=False, default=0)

    @property
    def is_told(self) -> bool:
        """Whether somebody is connected who tells."""
        return self.tellers_count > 0

    def sessions(self) -> list[LiveSession]:
        return list(self.by_key.values())

    def apply(self, event: SessionEvent, hash_user: Callable[[bytes], int]) -> int:
        """Take an event; return the hash of its user."""
        user_hash = hash_user(event.user)
        if event.is_end:
            self.by_key.pop(event.key, None)
        elif len(self.by_key) < limits.SESSIONS_MAX:
            self.by_key[event.key] = LiveSession(
                user=event.user,
                user_hash=user_hash,
                ip=parse_ip(event.ip_text),
                service=event.service,
                is_ours=False,
                alternatives=(),
                pid=0,
                guid=b"",
            )
        return user_hash


class EventStream:
    """The connection of Dovecot's stats process."""

    def __init__(
        self,
        surroundings: Surroundings,
        open_sessions: OpenSessions,
        sock: socket.socket,
        name: str,
    ) -> None:
        self._surroundings = surroundings
        self._open_sessions = open_sessions
        self._stream = Stream(surroundings.poll_set, sock)
        self._name = f"{name}({self._stream.describe_peer()})"
        self._partial = b""

    def start(self) -> None:
        self._surroundings.roster.sessions.add(self)
        self._open_sessions.tellers_count += 1
        self._stream.start(self, is_reading=True)

    def close(self) -> None:
        self._stream.close()
        if self in self._surroundings.roster.sessions:
            self._surroundings.roster.sessions.discard(self)
            self._open_sessions.tellers_count -= 1

    def readable(self) -> None:
        data = self._stream.receive()
        if not data:
            self.close()
            return
        directory, separator = (
            self._surroundings.directory,
            self._surroundings.master_user_separator,
        )
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            event = parse_event(line, separator)
            if event is not None:
                directory.refresh(self._open_sessions.apply(event, directory.hash_user))
        if len(self._partial) > limits.SESSION_LINE_BYTES_MAX:
            raise LimitExceeded(f"an event of more than {limits.SESSION_LINE_BYTES_MAX} bytes")

    def writable(self) -> None:
        self._stream.flush()

    def failed(self, error: Exception) -> None:
        self._surroundings.directory.note("client_lost", connection=self._name, reason=str(error))
        self.close()


def parse_event(line: bytes, separator: bytes) -> SessionEvent | None:
    """Return the beginning or end of a session; None: something else, or not all of it."""
    try:
        event = json.loads(line)
        name, fields = event["event"], event["fields"]
        user = fields["user"].encode("utf-8", "surrogateescape")
        key = (fields["service"], fields["remote_ip"], fields["remote_port"])
        ip_text, service = str(fields["dest_ip"]), str(fields["service"]).encode()
        parse_ip(ip_text)
    except (ValueError, KeyError, TypeError, AttributeError, ValueRefused):
        return None
    if name not in (BEGAN, ENDED):
        return None
    if separator:
        user = user.partition(separator)[0]
    return SessionEvent(key=key, is_end=name == ENDED, user=user, service=service, ip_text=ip_text)
