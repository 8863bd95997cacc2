"""What the verbs share: numbers, times, names of hosts, several addresses at once."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from director.cli.call import format_time, parse_number, parse_time
from tests.director.cli.conftest import Director
from tests.director.cli.outcome import Outcome
from tests.director.cli.scripted_server import HANDSHAKE, ScriptedServer


@pytest.mark.parametrize(
    ("digits", "number"),
    [
        ("0", 0),
        ("007", 7),
        ("4294967295", 4294967295),
        ("4294967296", None),
        ("", None),
        ("-1", None),
        ("+1", None),
        (" 1", None),
        ("\u0663", None),
        ("0x1", None),
    ],
)
def test_numbers_are_plain_and_of_32_bits(digits: str, number: int | None) -> None:
    assert parse_number(digits) == number


@pytest.mark.parametrize(
    ("field", "seconds"), [(b"0", 0), (b"-1", -1), (b"17", 17), (b"", None), (b"x", None)]
)
def test_times_may_be_negative(field: bytes, seconds: int | None) -> None:
    assert parse_time(field) == seconds


def test_times_are_local_however_far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")

    assert format_time(1_700_000_000) == "2023-11-14 22:13:20"
    assert format_time(99_999_999_999_999) == "3170843-11-07 09:46:39"
    assert format_time(1 << 70) == str(1 << 70)


@pytest.fixture
def two_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host name with two addresses, since no resolver can be relied on to have one."""
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::5%lo", 0, 0, 1)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.2", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.2", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: found)


def test_all_addresses_of_a_host_are_sent_together(
    director: Director, tmp_path: Path, two_addresses: None
) -> None:
    with ScriptedServer(tmp_path, {}) as server:
        outcome = director("-v", "up", "two.example", "-a", str(server.path))

    assert outcome == Outcome(0, "", "Info: 10.0.0.2: up\nInfo: fe80::5: up\n")
    assert server.received == [HANDSHAKE, b"HOST-UP\t10.0.0.2\n", b"HOST-UP\tfe80::5\n"]


def test_what_was_answered_before_a_lost_connection_is_told(
    director: Director, tmp_path: Path, two_addresses: None
) -> None:
    with ScriptedServer(tmp_path, {}, is_closing=True) as server:
        outcome = director("-v", "up", "two.example", "-a", str(server.path))

    assert sorted(outcome.stderr.splitlines()) == [
        f"Error: {server.path} unexpectedly disconnected",
        "Info: 10.0.0.2: up",
    ]
    assert outcome.status == os.EX_TEMPFAIL
