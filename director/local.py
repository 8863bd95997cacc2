"""Which protocol each local listener speaks: opens the doors of the daemon, and closes them.

    login, authreply   lines of auth that begin with OK get a host
    userdb             lines of auth that begin with PASS do
    admin              commands and questions of administrators
    notify             user names that are still logged in
    events             sessions that begin and end, as Dovecot's stats process exports them

One `HostFields` per listener and one `Roster` for all, so that `client_limit` counts every session.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TypeAlias, assert_never

import attrs

from director.binding import Opened
from director.listeners import ListenerKind, Role
from director.sessions.admin import AdminDesk
from director.sessions.auth_service import AuthService
from director.sessions.authreply import AuthReply
from director.sessions.directory import Roster, Surroundings
from director.sessions.events import EventStream, OpenSessions
from director.sessions.listener import SessionListener
from director.sessions.notify import NotifyFifo, NotifyStream
from director.sessions.relay import Relay
from director.sessions.rewriter import HostFields
from director.settings import Settings

Door: TypeAlias = Callable[[socket.socket], Relay]
"""Makes the relay of a client, not yet started."""


class LocalSockets:
    def __init__(
        self,
        surroundings: Surroundings,
        desk: AdminDesk,
        open_sessions: OpenSessions,
        settings: Settings,
    ) -> None:
        self._surroundings = surroundings
        self._open_sessions = open_sessions
        self._desk = desk
        self._settings = settings
        self._listeners: list[SessionListener] = []
        self._doors: dict[bytes, Door] = {}

    def serve(self, item: Opened) -> None:
        """Serve a listener that is open, for as long as the daemon lives."""
        name, role = item.listener.name, item.listener.role
        if item.listener.kind is ListenerKind.FIFO:
            NotifyFifo(self._surroundings, item.descriptor, listener=name).start()
            return
        surroundings = self._surroundings
        if role is Role.ADMIN:
            # Administrators get in however many logins there are; their desk counts them itself.
            surroundings = attrs.evolve(surroundings, roster=Roster(sessions_max=1))
        listener = SessionListener(
            surroundings, item.take_socket(), self._welcomer(role, name), name=name
        )
        self._listeners.append(listener)
        listener.start()

    def resume(self, label: bytes, client: socket.socket, auth: socket.socket) -> Relay | None:
        """Serve a connection that our predecessor left, unless it came by a door we do not have."""
        door = self._doors.get(label)
        if door is None:
            return None
        relay = door(client)
        relay.resume(auth)
        return relay

    def stop_listening(self) -> None:
        """Take in no more clients."""
        for listener in self._listeners:
            listener.close()

    def close(self) -> None:
        """Take in no more clients and hang up on those that are there."""
        self.stop_listening()
        self._surroundings.roster.close_all()
        self._desk.close_all()

    def _welcomer(self, role: Role, name: str) -> Callable[[socket.socket], None]:
        surroundings, settings, fields = self._surroundings, self._settings, HostFields()
        match role:
            case Role.USERDB:
                keyword, auth_path = b"PASS", settings.auth_userdb_socket
            case Role.LOGIN:
                keyword, auth_path = b"OK", settings.auth_login_socket
            case Role.AUTHREPLY:
                return lambda sock: AuthReply(surroundings, fields, sock, listener=name).start()
            case Role.NOTIFY:
                return lambda sock: NotifyStream(surroundings, sock, listener=name).start()
            case Role.EVENTS:
                table = self._open_sessions
                return lambda sock: EventStream(surroundings, table, sock, name).start()
            case Role.ADMIN:
                return self._welcome_administrator
            case Role.RING:
                raise AssertionError("neighbours are served by director.peers")
            case _:
                assert_never(role)

        auth_service = AuthService(surroundings, auth_path)

        def relay(sock: socket.socket) -> Relay:
            return Relay(surroundings, fields, auth_service, sock, listener=name, keyword=keyword)

        self._doors[name.encode()] = relay
        return lambda sock: relay(sock).start()

    def _welcome_administrator(self, sock: socket.socket) -> None:
        self._desk.accept(sock)
