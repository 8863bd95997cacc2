"""Administrators' connections: order, waiting, errors and limits, on real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from ring import limits
from ring.effects import KickName
from tests.director.sessions.office import GREETING, OTHER, OWN, WALL, Office


@pytest.fixture
def office() -> Iterator[Office]:
    with_everything = Office()
    yield with_everything
    with_everything.close()


@pytest.fixture
def lonely_office() -> Iterator[Office]:
    """A director whose neighbour does not answer: nothing is synced for a while."""
    waiting = Office(OWN, OTHER)
    yield waiting
    waiting.close()


def test_the_server_greets_first(office: Office) -> None:
    assert office.visit().hear() == GREETING


def test_any_minor_version_is_welcome(office: Office) -> None:
    visitor = office.visit()

    assert visitor.say(b"VERSION\tdirector-doveadm\t1\t99", b"HOST-UP\t127.0.0.2") == (
        GREETING + b"OK\n"
    )


@pytest.mark.parametrize(
    "line",
    [
        b"VERSION\tdirector-doveadm\t2\t0",
        b"VERSION\tfoo\t1\t0",
        b"VERSION\tdirector-doveadm\t1",
        b"VERSION\tdirector-doveadm\t1\tx",
        b"HOST-LIST",
        b"",
    ],
)
def test_a_wrong_version_closes_without_a_word(office: Office, line: bytes) -> None:
    visitor = office.visit()

    assert visitor.say(line, b"HOST-LIST") == GREETING + b"<EOF>"
    assert office.notes == ["admin_version_refused"]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"NOSUCH", b"unknown command 'NOSUCH'"),
        (b"", b"unknown command ''"),
        (b"host-list", b"unknown command 'host-list'"),
        (b"HOST-SET\tnotanip", b"HOST-SET: 'notanip' is not an IP address"),
        (b"USER-MOVE\tu1", b"USER-MOVE: got 1 arguments, expected an address as well"),
    ],
)
def test_a_line_that_means_nothing_gets_an_error_and_the_end(
    office: Office, line: bytes, error: bytes
) -> None:
    visitor = office.visit().greet()

    assert visitor.say(line, b"HOST-LIST") == b"ERROR\t" + error + b"\n<EOF>"
    assert office.notes == ["admin_command_refused"]
    assert not office.desk.sessions


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_may_have_1024_bytes(office: Office, end: bytes) -> None:
    visitor = office.visit().greet()
    line = b"USER-LOOKUP\tu1\t\t".ljust(limits.ADMIN_LINE_BYTES_MAX, b"x")

    assert visitor.say(line) == b"\t0\t127.0.0.3\t127.0.0.3\n"

    visitor.socket.sendall(line + b"x" + end)

    assert visitor.hear() == b"ERROR\ta line of more than 1024 bytes\n<EOF>"


def test_pipelined_lines_are_answered_in_order(office: Office) -> None:
    """Recorded from the real director (captures/10)."""
    visitor = office.visit().greet()

    reply = visitor.say(
        b"HOST-LIST", b"USER-LOOKUP\tu1", b"HOST-UP\t127.0.0.77", b"HOST-UPDATE\t127.0.0.2\t100"
    )

    assert reply == (
        b"127.0.0.2\t100\t0\t\tU\t0\n127.0.0.3\t100\t0\t\tU\t0\n127.0.0.4\t100\t0\ttagA\tU\t0\n\n"
        b"\t0\t127.0.0.3\t127.0.0.3\n"
        b"NOTFOUND\n"
        b"OK\n"
    )


def test_no_line_is_lost_while_a_command_waits_for_the_ring(lonely_office: Office) -> None:
    """The original throws the second HOST-SET away (captures/11)."""
    visitor = lonely_office.visit().greet()

    assert (
        visitor.say(b"HOST-SET\t127.0.0.20\t50", b"HOST-SET\t127.0.0.21\t50", b"HOST-LIST") == b""
    )

    replies = b""
    for _ in range(10):
        lonely_office.let_pass(limits.COMMAND_TIMEOUT_S)
        replies += visitor.hear()
    first, second, *hosts = replies.splitlines()

    assert {first, second} <= {b"OK", b"Ring sync timed out"}
    assert hosts[-1] == b""
    assert (b"127.0.0.21\t50\t0\t\tU\t0" in hosts) == (second == b"OK")


def test_sessions_are_counted_while_others_are_served(office: Office) -> None:
    visitor, other = office.visit().greet(), office.visit().greet()

    assert visitor.say(b"SESSION-COUNTS", b"USER-LOOKUP\tu1") == b""
    assert other.say(b"USER-LOOKUP\tu1") == b"\t0\t127.0.0.3\t127.0.0.3\n"

    [told] = office.askers
    told(b"127.0.0.2\t2\t1\n\n")

    assert visitor.hear() == b"127.0.0.2\t2\t1\n\n" + b"\t0\t127.0.0.3\t127.0.0.3\n"


def test_a_count_may_come_when_nobody_is_there_any_more(office: Office) -> None:
    visitor = office.visit().greet()
    visitor.say(b"SESSION-COUNTS")
    office.desk.close_all()
    [told] = office.askers
    told(b"\n")

    assert visitor.hear() == b"<EOF>"


def test_two_visitors_do_not_wait_for_each_other(lonely_office: Office) -> None:
    waiting = lonely_office.visit().greet()
    asking = lonely_office.visit().greet()
    waiting.say(b"HOST-SET\t127.0.0.20\t50")

    assert asking.say(b"USER-LOOKUP\tu1") == b"\t0\t127.0.0.3\t127.0.0.3\n"
    assert waiting.hear() == b""


def test_lines_in_pieces_are_put_together(office: Office) -> None:
    visitor = office.visit().greet()
    replies = b""
    for byte in b"HOST-UP\t127.0.0.2\nHOST-DOWN\t127.0.0.2\n":
        visitor.socket.sendall(bytes([byte]))
        replies += visitor.hear()

    assert replies == b"OK\nOK\n"


def test_a_watchdog_downs_and_flushes_in_one_write(office: Office) -> None:
    """What poolmon and its kin do: list, down and flush in one write, up again; weight 0 stays."""
    visitor = office.visit().greet()
    visitor.say(b"HOST-UPDATE\t127.0.0.3\t0", b"USER-MOVE\t5\t127.0.0.2")

    listed = visitor.say(b"HOST-LIST")

    assert listed.split(b"\n")[:2] == [b"127.0.0.2\t100\t1\t\tU\t0", b"127.0.0.3\t0\t0\t\tU\t0"]
    assert visitor.say(b"HOST-DOWN\t127.0.0.2", b"HOST-FLUSH\t127.0.0.2") == b"OK\nOK\n"
    assert visitor.say(b"HOST-LIST").split(b"\n")[:2] == [
        b"127.0.0.2\t100\t0\t\tD\t%d" % WALL,
        b"127.0.0.3\t0\t0\t\tU\t0",
    ]
    assert visitor.say(b"HOST-DOWN\t127.0.0.3", b"HOST-UP\t127.0.0.2", b"HOST-UP\t127.0.0.3") == (
        b"OK\nOK\nOK\n"
    )
    # Within one second: a later change is given a later time, so that it wins everywhere.
    assert visitor.say(b"HOST-LIST").split(b"\n")[:2] == [
        b"127.0.0.2\t100\t0\t\tU\t%d" % (WALL + 1),
        b"127.0.0.3\t0\t0\t\tU\t%d" % (WALL + 1),
    ]


def test_a_visitor_that_writes_and_leaves_is_obeyed(office: Office) -> None:
    visitor = office.visit().greet()
    visitor.socket.sendall(b"HOST-DOWN\t127.0.0.2\nUSER-KICK\tu1\nHOST-UP\t127.0.0.77\n")
    visitor.socket.close()
    office.turn()

    assert [host.is_down for host in office.node.hosts] == [True, False, False]
    assert office.kicks == [KickName(b"u1")]
    assert not office.desk.sessions


def test_what_a_visitor_left_behind_waits_for_the_ring_too(lonely_office: Office) -> None:
    visitor = lonely_office.visit().greet()
    visitor.socket.sendall(b"HOST-SET\t127.0.0.20\t50\nUSER-KICK\tu1\n")
    visitor.socket.close()
    lonely_office.turn()

    assert (len(lonely_office.desk.sessions), lonely_office.kicks) == (1, [])

    lonely_office.let_pass(limits.COMMAND_TIMEOUT_S)
    lonely_office.let_pass(limits.COMMAND_TIMEOUT_S)

    assert lonely_office.kicks == [KickName(b"u1")]
    assert not lonely_office.desk.sessions


def test_a_visitor_that_only_stopped_talking_gets_its_answers(office: Office) -> None:
    visitor = office.visit().greet()
    visitor.socket.sendall(b"HOST-UP\t127.0.0.2\nHOST-UP\t127.0.0.77\nunfinished")
    visitor.socket.shutdown(socket.SHUT_WR)

    assert visitor.hear() == b"OK\nNOTFOUND\n<EOF>"
    assert not office.desk.sessions


def test_a_visitor_that_never_reads_costs_a_bounded_amount(office: Office) -> None:
    visitor = office.visit().greet()
    visitor.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for _ in range(200):
        try:
            visitor.socket.sendall(b"HOST-LIST\n" * 1000)
        except BlockingIOError:
            break
        office.turn()
    session = next(iter(office.desk.sessions))
    for _ in range(100):
        office.turn()

    assert session.output_bytes <= limits.SESSION_OUTPUT_BYTES_MAX + 1000
    assert session.input_bytes <= limits.ADMIN_INPUT_BYTES_MAX + limits.SESSION_READ_BYTES

    office.time += limits.ADMIN_STUCK_S
    office.turn()
    office.time += limits.ADMIN_STUCK_S
    office.turn()

    assert not office.desk.sessions
    assert office.notes == ["admin_session_dropped"]


def test_a_slow_reader_gets_everything(office: Office) -> None:
    visitor = office.visit().greet()
    visitor.socket.sendall(b"HOST-LIST\n" * 1000)
    for _ in range(5):
        office.time += limits.ADMIN_STUCK_S
        office.turn()
        visitor.socket.recv(4096)
    reply = visitor.hear()

    assert reply.endswith(b"\n\n")
    assert office.desk.sessions


def test_the_longest_idle_visitor_makes_room(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ADMINISTRATORS_MAX", 2)
    first, second = office.visit().greet(), office.visit().greet()
    first.say(b"HOST-UP\t127.0.0.2")
    third = office.visit().greet()

    assert second.hear() == b"<EOF>"
    assert first.say(b"HOST-UP\t127.0.0.2") == b"OK\n"
    assert third.say(b"HOST-UP\t127.0.0.2") == b"OK\n"


def test_a_waiting_visitor_is_the_last_to_make_room(
    lonely_office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ADMINISTRATORS_MAX", 2)
    waiting, idle = lonely_office.visit().greet(), lonely_office.visit().greet()
    waiting.say(b"HOST-SET\t127.0.0.20\t50")
    idle.say(b"HOST-LIST")

    lonely_office.visit().greet()

    assert idle.hear() == b"<EOF>"
    assert waiting.hear() == b""


def test_one_visitor_cannot_keep_the_others_waiting(office: Office) -> None:
    busy, other = office.visit().greet(), office.visit().greet()
    busy.socket.sendall(b"HOST-UP\t127.0.0.77\n" * 2000)
    other.socket.sendall(b"HOST-UP\t127.0.0.2\n")
    for _ in range(4):
        office.poll_set.turn()

    assert other.socket.recv(100) == b"OK\n"
    assert busy.hear().count(b"NOTFOUND\n") == 2000
