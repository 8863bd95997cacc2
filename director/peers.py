"""Connections to the neighbours in the ring: accept, dial, and carry bytes.

What the bytes mean is the node's business. A connection is two tasks in one nursery:

    reader   receive at most RECEIVE_BYTES -> runtime.received -> (checkpoint) -> again
    writer   wait for output -> take at most SEND_BYTES of it -> send -> again

The writer takes whatever has gathered since it last ran, and rests after it has sent nothing but
users: GOSSIP_PAUSE_S after few of them, GOSSIP_PAUSE_S_MAX after many. That is the batching; a
wake-up costs as much as a hundred users. An export of a million users is pulled by the writer, a
step at a time.

Fairness: a step of either task is bounded by its limit (a few milliseconds at worst) and ends in a
checkpoint, and trio runs every task that is ready before it runs one twice. So a login waits for at
most one step of each link.

`Hangup` and end of life: the node has already forgotten the link, so nothing is reported back. The
last words are sent, then the connection is ended for sending and drained until the neighbour
closes, all within HANGUP_SEND_S; a close with unread input would reset the connection, and the
neighbour would never read why.

TCP keep-alive is on, as the kernel is set up; the ring's own pings are faster.
"""

from __future__ import annotations

import errno
import socket

import attrs
import trio

from director.runtime import Runtime
from ring import limits
from ring.address import DirectorAddress, IpAddress, parse_ip
from ring.effects import Dial, Hangup, LinkId

_ACCEPT_PAUSE_S = 0.1
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@attrs.define(eq=False)
class _Connection:
    """`unsent` is None until the node hangs up; from then on it only ends."""

    link_id: LinkId
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    has_output: trio.Event = attrs.field(factory=trio.Event)
    is_pausing: bool = False
    is_established: bool = False
    unsent: bytes | None = None


class Peers:
    """All connections to neighbours. `own_ip` is where we call from, None for "anywhere"."""

    def __init__(self, runtime: Runtime, own_ip: IpAddress | None) -> None:
        self._runtime = runtime
        self._own_ip = own_ip
        self._connections: dict[LinkId, _Connection] = {}
        self._nursery: trio.Nursery | None = None
        self._early: list[Dial] = []
        self._became_empty = trio.Event()

    def __len__(self) -> int:
        return len(self._connections)

    async def run(self, listeners: list[socket.socket]) -> None:
        """Accept on these (they are closed at the end) and hold all connections; never returns."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for effect in self._early:
                self.dial(effect)
            self._early.clear()
            for listener in listeners:
                nursery.start_soon(self._accept, listener)
            await trio.sleep_forever()

    async def wait_ended(self) -> None:
        """Wait until no connection is left, but not for ever: for a clean end."""
        with trio.move_on_after(limits.HANGUP_SEND_S):
            while self._connections:
                self._became_empty = trio.Event()
                await self._became_empty.wait()

    # --- effects --------------------------------------------------------------------------------

    def dial(self, effect: Dial) -> None:
        if self._nursery is None:
            self._early.append(effect)
            return
        connection = self._new_connection(effect.link_id)
        self._nursery.start_soon(self._dial, connection, effect.address)

    def hang_up(self, effect: Hangup) -> None:
        self._early = [dial for dial in self._early if dial.link_id != effect.link_id]
        connection = self._connections.get(effect.link_id)
        if connection is None:
            return  # it ended by itself in the same moment
        connection.unsent = effect.unsent
        connection.has_output.set()
        if connection.is_established:
            connection.scope.deadline = trio.current_time() + limits.HANGUP_SEND_S
        else:
            connection.scope.cancel()

    def wake(self, link_id: LinkId) -> bool:
        connection = self._connections.get(link_id)
        if connection is None or connection.has_output.is_set():
            return False
        if connection.is_pausing:
            link = self._runtime.node.link(link_id)
            if link is None or not link.has_urgent_output:
                return False
        connection.has_output.set()
        return True

    # --- tasks ----------------------------------------------------------------------------------

    async def _accept(self, listening: socket.socket) -> None:
        assert self._nursery is not None
        listening.setblocking(False)
        listener = trio.socket.from_stdlib_socket(listening)
        with listener:
            while True:
                try:
                    sock, address = await listener.accept()
                except ConnectionAbortedError:
                    continue
                except OSError as error:
                    if error.errno not in _OUT_OF_RESOURCES:
                        raise
                    self._runtime.note("ring_accept_failed", reason=error.strerror)
                    await trio.sleep(_ACCEPT_PAUSE_S)
                    continue
                self._welcome(sock, parse_ip(address[0].partition("%")[0]))

    def _welcome(self, sock: trio.socket.SocketType, source_ip: IpAddress) -> None:
        assert self._nursery is not None
        link_id = self._runtime.link_accepted(source_ip)
        if link_id is None or self._runtime.node.link(link_id) is None:
            sock.close()  # nobody we know, or refused at once
            return
        connection = self._new_connection(link_id)
        connection.is_established = True
        self._nursery.start_soon(self._serve, connection, sock)

    async def _dial(self, connection: _Connection, address: DirectorAddress) -> None:
        sock: trio.socket.SocketType | None = None
        reason = ""
        with connection.scope:
            try:
                sock = await self._connect(address)
            except OSError as error:
                reason = error.strerror or str(error)
        if connection.unsent is not None or sock is None:
            if sock is not None:
                sock.close()
            self._forget(connection)
            if connection.unsent is None:
                self._runtime.link_failed(connection.link_id, reason)
            return
        connection.scope = trio.CancelScope()
        connection.is_established = True
        self._runtime.link_connected(connection.link_id)
        await self._serve(connection, sock)

    async def _connect(self, address: DirectorAddress) -> trio.socket.SocketType:
        family = socket.AF_INET6 if address.ip.version == 6 else socket.AF_INET
        sock = trio.socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._own_ip is not None and self._own_ip.version == address.ip.version:
                await sock.bind((str(self._own_ip), 0))
            await sock.connect((str(address.ip), address.port))
        except BaseException:
            sock.close()
            raise
        return sock

    async def _serve(self, connection: _Connection, sock: trio.socket.SocketType) -> None:
        """Carry bytes both ways until the connection ends, and tell the node how it did."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reason = ""
        with sock, connection.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, connection, sock)
                reason = await self._read(connection, sock)
                nursery.cancel_scope.cancel()
        self._forget(connection)
        if connection.unsent is None:
            self._runtime.link_lost(connection.link_id, reason)

    async def _read(self, connection: _Connection, sock: trio.socket.SocketType) -> str:
        """Feed the node until the input ends; return why it did."""
        link_id, runtime = connection.link_id, self._runtime
        while True:
            try:
                data = await sock.recv(limits.RECEIVE_BYTES)
            except OSError as error:
                return error.strerror or str(error)
            if not data:
                return "end of file"
            if connection.unsent is None:
                runtime.received(link_id, data)

    async def _write(self, connection: _Connection, sock: trio.socket.SocketType) -> None:
        """Send what the node has for this link. An error here is for the reader to notice."""
        link = self._runtime.node.link(connection.link_id)
        try:
            while connection.unsent is None and link is not None:
                is_gossip = not link.has_urgent_output
                data = self._runtime.take_output(link)
                if not data:
                    connection.has_output = trio.Event()
                    await connection.has_output.wait()
                    continue
                await _send_all(sock, data)
                if is_gossip and not link.has_urgent_output:
                    connection.has_output = trio.Event()
                    connection.is_pausing = True
                    with trio.move_on_after(_pause_s(len(data))):
                        await connection.has_output.wait()
                    connection.is_pausing = False
            if connection.unsent:
                await _send_all(sock, connection.unsent)
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            await trio.lowlevel.checkpoint()

    # --- book-keeping ---------------------------------------------------------------------------

    def _new_connection(self, link_id: LinkId) -> _Connection:
        assert link_id not in self._connections, link_id
        connection = self._connections[link_id] = _Connection(link_id)
        return connection

    def _forget(self, connection: _Connection) -> None:
        del self._connections[connection.link_id]
        if not self._connections:
            self._became_empty.set()


def _pause_s(sent_bytes: int) -> float:
    """Return how long to rest after so much gossip was sent."""
    is_crowd = sent_bytes >= limits.GOSSIP_CROWD_BYTES
    return limits.GOSSIP_PAUSE_S_MAX if is_crowd else limits.GOSSIP_PAUSE_S


async def _send_all(sock: trio.socket.SocketType, data: bytes) -> None:
    with memoryview(data) as view:
        sent = 0
        while sent < len(data):
            sent += await sock.send(view[sent:])
