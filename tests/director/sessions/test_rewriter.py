"""Lines on their way to the client: `director_proxy_maybe`, caches, ids used twice."""

from __future__ import annotations

import gc

from director.sessions.rewriter import HeldReply, HostFields, Rewriter, is_own_address
from director.sessions.stream import Stream
from ring.address import parse_ip
from ring.settings import HostSetting
from tests.director.sessions.rig import Desk, End, without_private_fields

HERE = HostSetting(ip=parse_ip("127.0.0.9"), tag=b"here")


def test_user_whose_host_is_this_very_socket_logs_in_locally(pair: tuple[End, End]) -> None:
    client, auth = pair
    line = b"OK\t1\tuser=u1\tproxy\tdirector_proxy_maybe\tlip=127.0.0.3\tlport=143\tport=143\n"
    auth.say(line)

    assert line.replace(b"\tproxy\t", b"\t") == client.heard()


def test_user_whose_host_is_elsewhere_gets_a_proxy_field(pair: tuple[End, End]) -> None:
    client, auth = pair
    auth.say(b"OK\t1\tuser=u1\tdirector_proxy_maybe=y\tlip=10.0.0.1\n")

    assert (
        b"OK\t1\tuser=u1\tdirector_proxy_maybe=y\tlip=10.0.0.1\tproxy"
        b"\tproxy_refresh=30\thost=127.0.0.3\n" == without_private_fields(client.heard())
    )


def test_without_lip_an_own_address_is_home(pair: tuple[End, End]) -> None:
    client, auth = pair
    line = b"OK\t1\tuser=u1\tdirector_proxy_maybe=y\tdirector_tag=lh\n"
    auth.say(line)

    assert line == client.heard()
    assert is_own_address(b"127.0.0.1")
    assert not is_own_address(b"192.0.2.1")


def test_an_id_that_is_used_twice_gets_both_answers(desk: Desk) -> None:
    client = desk.connect()
    auth = desk.accept_auth()
    auth.say(b"OK\t1\tuser=a\tproxy\tdirector_tag=no\nOK\t1\tuser=b\tproxy\tdirector_tag=no\n")
    assert desk.runtime.node.statistics().parked == 2
    desk.pass_time(30.1)

    assert b"FAIL\t1\tcode=temp_fail\n" * 2 == client.heard()


def test_formatted_hosts_are_forgotten_when_the_refresh_interval_changes() -> None:
    fields = HostFields()
    first = fields.by_host(30)
    assert first is fields.by_host(30)
    first[HERE] = (b"", b"", b"")  # type: ignore[index]

    assert {} == fields.by_host(60)


def test_refresh_interval_of_a_reload_reaches_the_next_reply(desk: Desk) -> None:
    client = desk.connect()
    auth = desk.accept_auth()
    auth.say(b"OK\t1\tuser=u1\tproxy\n")
    assert b"proxy_refresh=30" in client.heard()
    desk.runtime.proxy_refresh_s = None
    auth.say(b"OK\t2\tuser=u1\tproxy\n")

    assert b"proxy_refresh" not in client.heard()


def test_a_closed_connection_is_freed_without_the_collector(desk: Desk) -> None:
    desk.connect().close()
    desk.accept_auth().close()
    desk.settle()
    gc.collect()
    gc.disable()
    try:
        client = desk.connect()
        auth = desk.accept_auth()
        auth.say(b"OK\t1\tuser=u1\tproxy\n")
        client.close()
        auth.close()
        desk.settle()
        left = [o for o in gc.get_objects() if isinstance(o, Rewriter | HeldReply | Stream)]
    finally:
        gc.enable()

    assert [] == left
