"""Scripted servers on unix sockets, and nodes whose director is such a server."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from sim.cluster.lines import Lines
from sim.cluster.nodes import Node, Shared
from sim.cluster.places import Place
from sim.cluster.proxy import Network

Script = Callable[[Lines], Awaitable[None]]


@asynccontextmanager
async def served(path: Path, script: Script) -> AsyncIterator[None]:
    """Play the script for every client; a client that goes away ends its turn."""

    async def serve(stream: trio.SocketStream) -> None:
        lines = Lines(stream)
        try:
            await script(lines)
        except ConnectionError:
            pass
        finally:
            await lines.close()

    path.parent.mkdir(parents=True, exist_ok=True)
    with trio.socket.socket(socket.AF_UNIX) as sock:
        await sock.bind(str(path))
        sock.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, serve, [trio.SocketListener(sock)])
            yield
            nursery.cancel_scope.cancel()


def make_node(directory: Path, *, number: int = 1, is_real: bool = False) -> Node:
    """Return a node that was never started; its sockets are what a test serves there."""
    shared = Shared(
        directory=directory,
        auth=directory / "auth",
        director={"director_user_expire": "30 s", "director_mail_servers": "10.0.0.1"},
        test_port=20499,
    )
    place = Place(ip=f"127.0.3.{number}", port=20400 + number, hidden_ip=f"127.0.3.{100 + number}")
    return Node(place, Network(seed=1), shared, is_real=is_real)
