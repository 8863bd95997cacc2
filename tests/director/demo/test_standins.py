"""The stand-ins say what Dovecot's programs would."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import trio

from director.demo.standins import AuthService, TinyBackend, find_common_port, listen_unix
from director.streams import connect_unix


async def test_auth_asks_for_a_proxy_and_names_no_host(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        listener = await listen_unix(tmp_path / "auth")
        nursery.start_soon(trio.serve_listeners, AuthService(143).serve, [listener])
        async with await connect_unix(tmp_path / "auth") as stream:
            handshake = await stream.receive_some(4096)
            response = base64.b64encode(b"\0alice\0secret")
            await stream.send_all(b"AUTH\t7\tPLAIN\tservice=imap\tresp=%s\n" % response)
            reply = await stream.receive_some(4096)
        nursery.cancel_scope.cancel()

    assert handshake.startswith(b"VERSION\t1\t2\nMECH\tPLAIN\t")
    assert handshake.endswith(b"\nDONE\n")
    assert reply == b"OK\t7\tuser=alice\tproxy\tport=143\tpass=secret\n"


async def test_a_backend_greets_by_name_until_it_is_stopped() -> None:
    ip = "127.0.0.21"
    backend = TinyBackend(name="backend-1", ip=ip, port=await find_common_port([ip]))
    async with trio.open_nursery() as nursery:
        await nursery.start(backend.run)
        async with await trio.open_tcp_stream(ip, backend.port) as stream:
            greeting = await stream.receive_some(100)
            await stream.send_all(b"1 LOGIN alice secret\r\n")
            answer = await stream.receive_some(100)
            backend.stop()
            rest = await stream.receive_some(100)

    assert greeting == b"* OK backend-1 ready\r\n"
    assert answer == b"1 OK LOGIN by backend-1\r\n"
    assert rest == b""
    assert backend.logins_count == 1
    with pytest.raises(OSError):
        await trio.open_tcp_stream(ip, backend.port)


async def test_the_common_port_is_free_on_every_address() -> None:
    ips = ["127.0.0.22", "127.0.0.23"]
    port = await find_common_port(ips)
    for ip in ips:
        for listener in await trio.open_tcp_listeners(port, host=ip):
            await listener.aclose()
