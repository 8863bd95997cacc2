"""The register of sessions closes exactly what it is asked to, as login processes do over ipc."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from director.demo.proxies import ProxiedSession, SessionRegister
from director.demo.standins import listen_unix
from director.streams import connect_unix


async def make_session(user: str, user_hash: str, ip: str) -> ProxiedSession:
    ours, theirs = trio.socket.socketpair()
    theirs.close()
    fields = {"user_dirhash": user_hash, "user_dirdest": f"{user_hash}@{ip}"}
    return ProxiedSession(
        user=user, ip=ip, backend_name="", fields=fields, stream=trio.SocketStream(ours)
    )


async def ask(path: Path, register: SessionRegister, line: str) -> str:
    async with trio.open_nursery() as nursery:
        listener = await listen_unix(path)
        nursery.start_soon(trio.serve_listeners, register.serve, [listener])
        async with await connect_unix(path) as stream:
            await stream.send_all(f"proxy\t*\t{line}\n".encode())
            answer = (await stream.receive_some(4096)).decode()
        nursery.cancel_scope.cancel()
    return answer


@pytest.mark.parametrize(
    ("line", "kicked"),
    [
        ("KICK\talice", ["alice"]),
        ("KICK-ALT\tuser_dirhash\t2\t3", ["bob", "carol"]),
        ("KICK-ALT\tuser_dirdest\t1@10.0.0.1", ["alice"]),
        ("KICK-HOST\t10.0.0.2", ["bob", "carol"]),
        ("KICK-DIRECTOR-HASH\t1", []),
    ],
)
async def test_it_closes_what_matches(tmp_path: Path, line: str, kicked: list[str]) -> None:
    sessions = [
        await make_session("alice", "1", "10.0.0.1"),
        await make_session("bob", "2", "10.0.0.2"),
        await make_session("carol", "3", "10.0.0.2"),
    ]
    register = SessionRegister(sessions)
    answer = await ask(tmp_path / "ipc", register, line)
    await register.close_all()

    assert answer == f"+{len(kicked)}\n"
    assert [session.user for session in sessions if session.is_kicked] == kicked


async def test_it_lists_live_sessions_in_dovecots_columns(tmp_path: Path) -> None:
    register = SessionRegister([await make_session("alice", "1", "10.0.0.1")])
    answer = await ask(tmp_path / "ipc", register, "LIST-FULL")
    await register.close_all()

    assert answer.splitlines() == [
        ":username\tuser_dirhash\tuser_dirdest\tservice\tsrc-ip\tdest-ip\tdest-port",
        ":alice\t1\t1@10.0.0.1\timap\t127.0.0.1\t10.0.0.1\t143",
        "+",
    ]


async def test_a_session_whose_backend_is_gone_is_dead() -> None:
    session = await make_session("alice", "1", "10.0.0.1")
    is_alive = await session.is_alive()
    await session.stream.aclose()

    assert not is_alive
