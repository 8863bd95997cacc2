"""Which protocol each local listener speaks: opens the doors of the daemon, and closes them.

    login, authreply   lines of auth that begin with OK get a host
    userdb             lines of auth that begin with PASS do
    notify             user names that are still logged in

One `HostFields` per listener and one `Roster` for all, so that `client_limit` counts every session.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from director.binding import Opened
from director.listeners import ListenerKind, Role
from director.sessions.authreply import AuthReply
from director.sessions.directory import Surroundings
from director.sessions.listener import SessionListener
from director.sessions.notify import NotifyFifo, NotifyStream
from director.sessions.relay import Relay
from director.sessions.rewriter import HostFields
from director.settings import Settings


class LocalSockets:
    def __init__(self, surroundings: Surroundings, settings: Settings) -> None:
        self._surroundings = surroundings
        self._settings = settings
        self._listeners: list[SessionListener] = []

    def serve(self, item: Opened) -> None:
        """Serve a listener that is open, for as long as the daemon lives."""
        name = item.listener.name
        if item.listener.kind is ListenerKind.FIFO:
            NotifyFifo(self._surroundings, item.descriptor, listener=name).start()
            return
        listener = SessionListener(
            self._surroundings,
            item.take_socket(),
            self._welcomer(item.listener.role, name),
            name=name,
        )
        self._listeners.append(listener)
        listener.start()

    def close(self) -> None:
        """Take in no more clients and hang up on those that are there."""
        for listener in self._listeners:
            listener.close()
        self._surroundings.roster.close_all()

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
            case _:
                raise AssertionError(role)

        def relay(sock: socket.socket) -> None:
            Relay(
                surroundings, fields, sock, listener=name, keyword=keyword, auth_path=auth_path
            ).start()

        return relay
