"""Login processes in front, the auth service behind: login-sockets.md sections 2 to 4."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ring import limits
from ring.commands import HostDown, HostUp
from tests.director.sessions.rig import HOSTS, Desk, End, without_private_fields

U1 = 3833023709
PRIVATE = b"\tuser_dirhash=%d\tuser_dirdest=%d@127.0.0.3" % (U1, U1)
OK_U1 = b"OK\t1\tuser=u1\tproxy\tpass=p1"
PLACED = OK_U1 + b"\tproxy_refresh=30\thost=127.0.0.3" + PRIVATE + b"\n"


class Ignored:
    """A token that wants no answer."""

    def command_answered(self, answer: object) -> None:
        pass


def run_on_hosts(desk: Desk, command: type[HostDown] | type[HostUp]) -> None:
    for host in reversed(HOSTS):  # .3 before .2, so that u1 need not wait for its host
        desk.runtime.command(Ignored(), command(host.ip))
    desk.runtime.settle()
    desk.settle()


def test_client_bytes_pass_unread_in_any_pieces(pair: tuple[End, End]) -> None:
    client, auth = pair
    for piece in (b"VERS", b"ION\t1\t2\nCPID\t7\n", b"AUTH\t1\tPLAIN\tresp=x"):
        client.say(piece)
        assert piece == auth.heard()


def test_both_generations_of_the_handshake_pass(desk: Desk) -> None:
    """2.4 says nothing but VERSION before its client has spoken; 2.3 says all at once."""
    client = desk.connect()
    auth = desk.accept_auth()
    auth.say(b"VERSION\t1\t4\n")
    assert b"VERSION\t1\t4\n" == client.heard()
    client.say(b"VERSION\t1\t4\nCPID\t7\n")
    assert b"VERSION\t1\t4\nCPID\t7\n" == auth.heard()
    rest = b"MECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t2\nCOOKIE\t00\nDONE\n"
    auth.say(rest)

    assert rest == client.heard()


def test_replies_that_come_together_tell_that_logins_come_in_crowds(
    desk: Desk, pair: tuple[End, End]
) -> None:
    client, auth = pair
    auth.say(OK_U1 + b"\n")
    auth.say(b"OK\t2\tuser=u1\n")

    assert not desk.poll_set.is_gathering

    auth.say(b"OK\t3\tuser=u1\nOK\t4\tuser=u1\n")

    assert desk.poll_set.is_gathering

    assert 4 == client.heard().count(b"\n")


def test_reply_that_wants_a_host_gets_one(pair: tuple[End, End]) -> None:
    client, auth = pair
    auth.say(OK_U1 + b"\n")

    assert PLACED == client.heard()


def test_several_requests_may_be_answered_out_of_order(pair: tuple[End, End]) -> None:
    client, auth = pair
    auth.say(
        b"CONT\t3\tx\n" + OK_U1.replace(b"\t1\t", b"\t2\t") + b"\nFAIL\t9\tuser=x\n" + OK_U1 + b"\n"
    )
    heard = client.heard().split(b"\n")

    assert [b"CONT\t3", b"OK\t2\tuser=u1", b"FAIL\t9\tuser=x", b"OK\t1\tuser=u1", b""] == [
        b"\t".join(line.split(b"\t")[: 2 if line.startswith(b"CONT") else 3]) for line in heard
    ]


def test_reply_without_a_host_waits_and_others_overtake_it(desk: Desk) -> None:
    run_on_hosts(desk, HostDown)
    client = desk.connect()
    auth = desk.accept_auth()
    auth.say(OK_U1 + b"\nOK\t2\tuser=local\n")
    assert b"OK\t2\tuser=local\n" == client.heard()
    run_on_hosts(desk, HostUp)

    assert PLACED == client.heard()


def test_reply_that_waited_thirty_seconds_becomes_a_temporary_failure(desk: Desk) -> None:
    run_on_hosts(desk, HostDown)
    client = desk.connect()
    auth = desk.accept_auth()
    auth.say(OK_U1 + b"\n")
    desk.pass_time(29.9)
    assert b"" == client.heard()
    desk.pass_time(0.2)

    assert b"FAIL\t1\tcode=temp_fail\n" == client.heard()
    assert f"hash={U1}" in desk.notes("lookup_failed")[0]
    assert "pass" not in desk.notes("lookup_failed")[0]


def test_failure_on_the_userdb_socket_keeps_its_id(desk: Desk) -> None:
    run_on_hosts(desk, HostDown)
    client = desk.connect(b"PASS")
    auth = desk.accept_auth()
    auth.say(b"PASS\t77\tuser=u1\tproxy=y\n")
    desk.pass_time(30.1)

    assert b"FAIL\t77\tcode=temp_fail\n" == client.heard()


@pytest.mark.parametrize("pieces", [(b"CANCEL\t1\n",), (b"CAN", b"CEL\t1", b"\n")])
def test_cancelled_request_gets_no_reply(desk: Desk, pieces: tuple[bytes, ...]) -> None:
    run_on_hosts(desk, HostDown)
    client = desk.connect()
    auth = desk.accept_auth()
    auth.say(OK_U1 + b"\n")
    for piece in pieces:
        client.say(piece)
    assert b"CANCEL\t1\n" == auth.heard()
    auth.say(b"CANCELLED\t1\n")
    run_on_hosts(desk, HostUp)

    assert b"CANCELLED\t1\n" == client.heard()
    assert desk.runtime.node.statistics().parked == 0


def test_client_that_leaves_takes_its_lookups_along(desk: Desk) -> None:
    run_on_hosts(desk, HostDown)
    client = desk.connect()
    auth = desk.accept_auth()
    auth.say(OK_U1 + b"\n")
    assert desk.runtime.node.statistics().parked == 1
    client.close()

    assert auth.is_closed
    assert desk.runtime.node.statistics().parked == 0
    assert not desk.surroundings.roster.sessions


def test_auth_that_ends_takes_its_client_along_and_nobody_else(desk: Desk) -> None:
    first = desk.connect()
    auth = desk.accept_auth()
    second = desk.connect()
    other_auth = desk.accept_auth()
    auth.say(b"DONE\n")
    first.heard()
    auth.close()

    assert first.is_closed
    assert not second.is_closed
    other_auth.say(OK_U1 + b"\n")
    assert PLACED == second.heard()
    assert 1 == len(desk.notes("auth_connection_lost"))


def test_client_waits_while_the_auth_service_is_away(desk: Desk) -> None:
    desk.stop_auth()
    client = desk.connect()
    client.say(b"VERSION\t1\t2\n")
    desk.pass_time(20)
    assert not client.is_closed
    desk.start_auth()
    desk.pass_time(limits.AUTH_RETRY_S)
    auth = desk.accept_auth()
    desk.settle()

    assert b"VERSION\t1\t2\n" == auth.heard()
    assert 1 == len(desk.notes("auth_waited_for"))


def test_client_is_closed_when_auth_stays_away_for_a_minute(desk: Desk) -> None:
    desk.stop_auth()
    client = desk.connect()
    for _ in range(round(limits.AUTH_WAIT_S / limits.AUTH_RETRY_S) + 1):
        desk.pass_time(limits.AUTH_RETRY_S)

    assert client.is_closed
    assert 1 == len(desk.notes("auth_not_found"))


def test_client_that_leaves_while_waiting_is_forgotten(desk: Desk) -> None:
    desk.stop_auth()
    desk.connect().close()
    desk.pass_time(limits.AUTH_RETRY_S)

    assert not desk.surroundings.roster.sessions


def test_greeting_is_repeated_to_the_successor_of_an_auth_that_died_before_its_first_byte(
    desk: Desk,
) -> None:
    client = desk.connect()
    client.say(b"VERSION\t1\t2\n")
    desk.accept_auth().close()
    client.say(b"CPID\t1\n")
    desk.pass_time(limits.AUTH_RETRY_S)
    auth = desk.accept_auth()

    assert b"VERSION\t1\t2\nCPID\t1\n" == auth.heard()

    auth.say(b"DONE\n")

    assert b"DONE\n" == client.heard()
    assert 1 == len(desk.notes("auth_found"))


def test_auth_that_dies_again_and_again_is_given_up(desk: Desk) -> None:
    client = desk.connect()
    for _ in range(3):
        desk.accept_auth().close()
        desk.pass_time(limits.AUTH_RETRY_S)
    assert not client.is_closed
    desk.now += limits.AUTH_WAIT_S
    desk.accept_auth().close()

    assert client.is_closed
    assert 1 == len(desk.notes("auth_not_found"))


def test_client_that_said_more_than_a_greeting_is_closed_with_a_dying_auth(desk: Desk) -> None:
    client = desk.connect()
    auth = desk.accept_auth()
    client.say(b"AUTH\t1\n" * 3000)
    auth.close()

    assert client.is_closed
    assert 1 == len(desk.notes("auth_connection_lost"))


def test_over_long_line_from_a_client_costs_only_its_connection(desk: Desk) -> None:
    client, other = desk.connect(), desk.connect()
    client.say(b"AUTH\t" + b"x" * limits.AUTH_LINE_BYTES_MAX)

    assert client.is_closed
    assert not other.is_closed
    assert "AUTH_LINE_BYTES_MAX" in desk.notes("client_lost")[0]
    assert "xxxxx" not in desk.notes("client_lost")[0]


def test_over_long_line_from_auth_costs_only_its_connection(desk: Desk) -> None:
    client = desk.connect()
    auth = desk.accept_auth()
    other = desk.connect()
    desk.accept_auth()
    auth.say(b"OK\t1\t" + b"x" * limits.AUTH_LINE_BYTES_MAX)

    assert client.is_closed
    assert not other.is_closed
    assert "16384" in desk.notes("auth_connection_lost")[0]


def test_client_that_never_reads_stops_its_auth_from_being_read(desk: Desk) -> None:
    desk.connect()
    auth = desk.accept_auth()
    line = b"CONT\t1\t" + b"x" * 10_000 + b"\n"
    sent = 0
    with pytest.raises(BlockingIOError):
        for _ in range(1000):
            auth.sock.send(line)
            sent += len(line)
            desk.settle()

    assert sent < 2 * limits.SESSION_OUTPUT_BYTES_MAX + 1_000_000


def test_client_that_reads_again_gets_everything(desk: Desk) -> None:
    client = desk.connect()
    auth = desk.accept_auth()
    line = b"CONT\t1\t" + b"x" * 10_000 + b"\n"
    count = 0
    try:
        for _ in range(1000):
            assert len(line) == auth.sock.send(line)
            count += 1
            desk.settle()
    except BlockingIOError:
        pass
    heard = b""
    while len(heard) < count * len(line):
        heard += client.heard()
        desk.settle()

    assert count * line == heard


def test_auth_that_never_reads_stops_its_client_from_being_read(desk: Desk) -> None:
    client = desk.connect()
    desk.accept_auth()
    data = b"AUTH\t1\tPLAIN\n" * 1000
    sent = 0
    with pytest.raises(BlockingIOError):
        for _ in range(1000):
            sent += client.sock.send(data)
            desk.settle()

    assert sent < 2 * limits.SESSION_OUTPUT_BYTES_MAX + 1_000_000


def test_one_held_request_too_many_fails_at_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "AUTH_PENDING_MAX", 2)
    run_on_hosts(desk, HostDown)
    client = desk.connect()
    auth = desk.accept_auth()
    for number in (1, 2, 3):
        auth.say(b"OK\t%d\tuser=u%d\tproxy\n" % (number, number))

    assert b"FAIL\t3\tcode=temp_fail\n" == client.heard()
    assert desk.runtime.node.statistics().parked == 2


def test_held_replies_of_too_many_bytes_fail_at_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "AUTH_PENDING_BYTES_MAX", 30)
    run_on_hosts(desk, HostDown)
    client = desk.connect()
    auth = desk.accept_auth()
    for number in (1, 2):
        auth.say(b"OK\t%d\tuser=u%d\tproxy\tpass=0123456789\n" % (number, number))

    assert b"FAIL\t2\tcode=temp_fail\n" == client.heard()


def test_master_user_is_cut_off_before_hashing(tmp_path: Path) -> None:
    desk = Desk(tmp_path, separator=b"*")
    desk.start_auth()
    client = desk.connect()
    auth = desk.accept_auth()
    auth.say(OK_U1.replace(b"user=u1", b"user=u1*master") + b"\n")

    assert b"\thost=127.0.0.3" + PRIVATE in client.heard()
    desk.close()


def test_host_with_a_name_is_given_by_name_and_address(pair: tuple[End, End]) -> None:
    client, auth = pair
    auth.say(b"OK\t1\tuser=x\tproxy\tdirector_tag=lh\n")

    assert b"\thost=localhost\thostip=127.0.0.1\tuser_dirhash=" in client.heard()


def connections_possible(count: int) -> int:
    """Return how many connections this machine lets us hold open, at most `count`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = min(hard, 4 * count + 200)  # the test holds the other ends of both sockets
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    return min(count, (descriptors - 200) // 4)


@pytest.mark.slow
def test_ten_thousand_idle_connections_disturb_nobody(desk: Desk) -> None:
    """Fewer if this machine's limit of descriptors is below 40,200."""
    count = connections_possible(10_000)
    desk.surroundings.roster.sessions_max = count + 1
    for _ in range(count):
        desk.connect()
        desk.accept_auth()
    client = desk.connect()
    auth = desk.accept_auth()
    auth.say(OK_U1 + b"\n")

    assert PLACED == client.heard()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(cuts=st.lists(st.integers(1, 400), max_size=12))
def test_lines_of_auth_are_the_same_however_they_are_cut(desk: Desk, cuts: list[int]) -> None:
    stream = (
        b"VERSION\t1\t2\nMECH\tPLAIN\nDONE\n" + OK_U1 + b"\nFAIL\t2\nOK\t3\tuser=local\n"
        b"OK\t4\tuser=h\tproxy\thost=1.2.3.4\nOK\t5\tuser=a\x01tb\tproxy\nCONT\t6\t\n"
    )
    client = desk.connect()
    auth = desk.accept_auth()
    start = 0
    heard = b""
    for cut in [*sorted(cuts), len(stream)]:
        if start < min(cut, len(stream)):
            auth.say(stream[start:cut])
            heard += client.heard()
            start = cut
    client.close()
    auth.close()

    assert stream == without_hosts(without_private_fields(heard))


def without_hosts(data: bytes) -> bytes:
    lines = data.split(b"\n")
    return b"\n".join(line.partition(b"\tproxy_refresh=")[0] for line in lines)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(data=st.binary(max_size=300), more=st.binary(max_size=300))
def test_rubbish_from_auth_or_client_harms_nobody(desk: Desk, data: bytes, more: bytes) -> None:
    client = desk.connect()
    auth = desk.accept_auth()
    auth.say(data + b"\n")
    client.say(more)
    auth.say(b"OK\t" + more + b"\tproxy\n")
    client.close()
    auth.close()

    assert not desk.surroundings.roster.sessions
    assert desk.runtime.node.statistics().parked == 0
