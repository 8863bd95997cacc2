"""Directors over real loopback connections: they meet, agree, part, and survive bad company."""

from __future__ import annotations

import socket

import pytest
import trio

from ring.commands import HostDown
from ring.messages import CLASSIC_MINOR, NATIVE_MINOR
from tests.director.descriptors import descriptors_left
from tests.director.rig import Director, make_directors, wait_until
from tests.director.test_runtime import command


def is_synced(directors: list[Director]) -> bool:
    return all(director.runtime.node.is_synced for director in directors)


async def start_ring(nursery: trio.Nursery, count: int, **changes: object) -> list[Director]:
    directors = make_directors(count, **changes)
    for director in directors:
        nursery.start_soon(director.run)
    await wait_until(
        lambda: (
            is_synced(directors)
            and all(director.runtime.node.statistics().links == 2 for director in directors)
        ),
        f"a ring of {count}",
    )
    return directors


@pytest.mark.parametrize("count", [2, 3, 5])
async def test_a_ring_forms_and_every_director_names_the_same_host(count: int) -> None:
    async with trio.open_nursery() as nursery:
        directors = await start_ring(nursery, count)
        for number in range(20):
            name = b"user%d" % number
            hosts = {await director.find(name) for director in directors}

            assert len(hosts) == 1
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("minor", [CLASSIC_MINOR, NATIVE_MINOR])
async def test_a_ring_forms_over_ipv6(minor: int) -> None:
    async with trio.open_nursery() as nursery:
        directors = await start_ring(nursery, 3, is_ipv6=True, minor=minor)
        hosts = {await director.find(b"alice") for director in directors}

        assert len(hosts) == 1
        assert {6} == {director.address.ip.version for director in directors}
        nursery.cancel_scope.cancel()


async def test_users_and_hosts_reach_every_director() -> None:
    async with trio.open_nursery() as nursery:
        directors = await start_ring(nursery, 3)
        for number in range(500):
            await directors[number % 3].find(b"user%d" % number)
        command(directors[0], HostDown(directors[0].runtime.node.hosts.by_number[1].ip))
        await wait_until(
            lambda: all(
                director.runtime.node.statistics().users == 500
                and sum(host.is_down for host in director.runtime.node.hosts) == 1
                for director in directors
            ),
            "equal users and hosts",
        )
        nursery.cancel_scope.cancel()


async def test_a_director_that_says_goodbye_is_not_waited_for() -> None:
    async with trio.open_nursery() as nursery:
        first, second, third = await start_ring(nursery, 3)
        third.runtime.shut_down()
        await third.peers.wait_ended()
        left = [first, second]
        await wait_until(
            lambda: is_synced(left) and all(len(director.peers) == 2 for director in left),
            "a ring of the other two",
        )

        assert len(third.peers) == 0
        assert await first.find(b"alice") == await second.find(b"alice")
        nursery.cancel_scope.cancel()


async def test_a_stranger_is_closed_at_once() -> None:
    async with trio.open_nursery() as nursery:
        first, second = make_directors(2)
        second.listener.close()
        nursery.start_soon(first.run)
        await trio.testing.wait_all_tasks_blocked()
        stranger = await connect_from("127.0.0.99", first)
        with stranger, trio.fail_after(5):
            data = await stranger.recv(1000)

        assert data == b""
        assert len(first.peers) <= 1  # its own dial
        nursery.cancel_scope.cancel()


async def test_rubbish_costs_that_connection_and_nothing_else() -> None:
    async with trio.open_nursery() as nursery:
        first, second = make_directors(2)
        second_ip = str(second.address.ip)
        second.listener.close()
        nursery.start_soon(first.run)
        await trio.testing.wait_all_tasks_blocked()
        peer = await connect_from(second_ip, first)
        with peer, trio.fail_after(5):
            await peer.send(b"\xff\xfe rubbish\n" * 100)
            data = b""
            while chunk := await peer.recv(1000):
                data += chunk

        assert data.startswith(b"VERSION\tdirector\t1\t")
        assert first.runtime.now() > 0  # alive
        nursery.cancel_scope.cancel()


async def test_a_lack_of_descriptors_is_waited_out_and_the_neighbour_then_greeted() -> None:
    async with trio.open_nursery() as nursery:
        first, second = make_directors(2)
        second_ip = str(second.address.ip)
        second.listener.close()
        nursery.start_soon(first.run)
        await trio.testing.wait_all_tasks_blocked()
        with descriptors_left(1):  # for the neighbour's own end
            peer = await connect_from(second_ip, first)
            await wait_until(lambda: bool(accept_failures(first)), "the failure")
        with peer, trio.fail_after(5):
            data = await peer.recv(1000)

        assert data.startswith(b"VERSION\tdirector\t1\t")
        assert b"Too many open files" in accept_failures(first)[0]
        nursery.cancel_scope.cancel()


def accept_failures(director: Director) -> list[bytes]:
    return [line for line in director.lines if b"ring_accept_failed" in line]


async def connect_from(ip: str, director: Director) -> trio.socket.SocketType:
    sock = trio.socket.socket(socket.AF_INET)
    await sock.bind((ip, 0))
    await sock.connect((str(director.address.ip), director.address.port))
    return sock
