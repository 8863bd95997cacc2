"""The stand-in for the auth service, asked as a director asks."""

from __future__ import annotations

from pathlib import Path

import trio

from sim.cluster.auth import AuthService, request
from sim.cluster.lines import Lines


async def test_everybody_may_log_in_and_is_to_be_proxied(directory: Path) -> None:
    path = directory / "auth"
    async with trio.open_nursery() as nursery:
        await nursery.start(AuthService(path).run)
        clients = [await Lines.connect(path) for _ in range(2)]
        greetings = [[await client.line() for _ in range(6)] for client in clients]
        assert [b"CUID\t1", b"CUID\t2"] == [greeting[3] for greeting in greetings]
        assert {b"DONE"} == {greeting[5] for greeting in greetings}
        await clients[0].send(b"CPID\t7\n" + request(3, "alice"))

        assert b"OK\t3\tuser=alice\tproxy\tport=143\tpass=secret" == await clients[0].line()
        for client in clients:
            await client.close()
        nursery.cancel_scope.cancel()


async def test_a_director_that_goes_away_disturbs_nobody_else(directory: Path) -> None:
    path = directory / "auth"
    async with trio.open_nursery() as nursery:
        await nursery.start(AuthService(path).run)
        await (await Lines.connect(path)).close()
        other = await Lines.connect(path)

        assert b"VERSION\t1\t2" == await other.line()
        await other.close()
        nursery.cancel_scope.cancel()
