"""Bytes between two addresses: all of them arrive, late and in pieces, unless a fault is on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from sim.cluster.places import Place, Places, listen
from sim.cluster.proxy import Network

PAYLOAD = bytes(range(256)) * 200


@attrs.define
class Wire:
    """`near` has dialled the place, `far` is what its daemon accepted."""

    network: Network
    caller_ip: str
    place: Place
    near: trio.SocketStream
    far: trio.SocketStream


@asynccontextmanager
async def wire() -> AsyncGenerator[Wire, None]:
    places = Places()
    caller, place = places.node(), places.node()
    network = Network(seed=1)
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        listening = listen("0.0.0.0", place.port)
        listening.setblocking(False)
        with trio.socket.from_stdlib_socket(listening) as listener:
            network.open_door(place, place.port, (place.hidden_ip, place.port))
            near = await dial(caller.ip, place)
            accepted, (source, _) = await listener.accept()
            assert source == caller.ip
            try:
                yield Wire(network, caller.ip, place, near, trio.SocketStream(accepted))
            finally:
                near.socket.close()
                accepted.close()
                nursery.cancel_scope.cancel()
    places.release()


async def dial(ip: str, place: Place) -> trio.SocketStream:
    sock = trio.socket.socket()
    await sock.bind((ip, 0))
    await sock.connect((place.ip, place.port))
    return trio.SocketStream(sock)


async def receive(stream: trio.SocketStream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = await stream.receive_some()
        assert more, f"closed after {len(data)} bytes"
        data += more
    return data


@pytest.mark.slow
async def test_everything_arrives_both_ways() -> None:
    async with wire() as w:
        await w.near.send_all(PAYLOAD)

        assert await receive(w.far, len(PAYLOAD)) == PAYLOAD

        await w.far.send_all(PAYLOAD[:1000])

        assert await receive(w.near, 1000) == PAYLOAD[:1000]


async def test_the_end_is_passed_on() -> None:
    async with wire() as w:
        await w.near.send_eof()

        assert await w.far.receive_some() == b""

        await w.far.send_all(b"still here")

        assert await receive(w.near, 10) == b"still here"


async def test_silence_holds_bytes_back_in_one_direction() -> None:
    async with wire() as w:
        w.network.silence(w.caller_ip, w.place.ip)
        await w.near.send_all(b"lost?")
        await w.far.send_all(b"heard")

        assert await receive(w.near, 5) == b"heard"
        with trio.move_on_after(0.1) as scope:
            await w.far.receive_some()
        assert scope.cancelled_caught

        w.network.let_flow(w.caller_ip, w.place.ip)

        assert await receive(w.far, 5) == b"lost?"


async def test_a_cut_resets_what_is_open_and_refuses_what_comes() -> None:
    async with wire() as w:
        w.network.cut(w.caller_ip, w.place.ip)

        for stream in (w.near, w.far):
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
                raise trio.BrokenResourceError  # the end is as good as a reset

        again = await dial(w.caller_ip, w.place)
        with pytest.raises(trio.BrokenResourceError):
            await again.receive_some()
            raise trio.BrokenResourceError
        assert w.network.counts["connections reset"] == 1
        await trio.aclose_forcefully(again)
