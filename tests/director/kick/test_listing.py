"""Rows of session lists as recorded from 2.3.19.1 and 2.4.1, and rows that lie."""

from __future__ import annotations

import ipaddress

import pytest

from director.kick.listing import LiveSession, parse_anvil_row, parse_ipc_row


def user_hash(user: bytes) -> int:
    return len(user)


def session(**changes: object) -> dict[str, object]:
    return {
        "user": b"u1",
        "user_hash": 2,
        "ip": ipaddress.ip_address("127.0.0.3"),
        "service": b"imap",
        "is_ours": False,
        "alternatives": (),
        "pid": 0,
        "guid": b"",
    } | changes


def as_dict(live: LiveSession | None) -> dict[str, object]:
    assert live is not None
    return {name: getattr(live, name) for name in session()}


def test_row_of_a_real_director_has_the_hash_of_its_user_name() -> None:
    live = parse_ipc_row(b"u1\taltu1\timap\t127.0.0.1\t127.0.0.3\t19150", user_hash)

    assert as_dict(live) == session(alternatives=(b"altu1",))


def test_our_fields_are_found_in_any_column_and_win() -> None:
    row = b"dest\t\t77@127.0.0.2\taltu1\t77\timap\t127.0.0.1\t127.0.0.3\t19150"

    assert as_dict(parse_ipc_row(row, user_hash)) == session(
        user=b"dest",
        user_hash=77,
        ip=ipaddress.ip_address("127.0.0.2"),
        is_ours=True,
        alternatives=(b"", b"77@127.0.0.2", b"altu1", b"77"),
    )


def test_recorded_anvil_row() -> None:
    row = (
        b"19644\tu1\timap-login\t127.0.0.1\t086a8e3b924e026bbc4c000083ecc375\t127.0.0.3"
        b"\taltu1\t3833023709\t3833023709@127.0.0.3"
    )

    assert as_dict(parse_anvil_row(row, user_hash)) == session(
        user_hash=3833023709,
        service=b"imap-login",
        is_ours=True,
        alternatives=(b"altu1", b"3833023709", b"3833023709@127.0.0.3"),
        pid=19644,
        guid=b"086a8e3b924e026bbc4c000083ecc375",
    )


@pytest.mark.parametrize(
    "alternatives",
    [
        b"77@127.0.0.2",  # without the hash beside it
        b"77\t77@127.0.0.2.9",
        b"4294967296\t4294967296@127.0.0.2",
        b"0\t0@127.0.0.2",
        b"77\t77@",
    ],
)
def test_values_that_only_look_like_ours_are_not_ours(alternatives: bytes) -> None:
    live = parse_ipc_row(b"u1\t" + alternatives + b"\timap\t::1\t127.0.0.3\t143", user_hash)

    assert live is not None
    assert (live.is_ours, live.user_hash) == (False, 2)


@pytest.mark.parametrize(
    "row",
    [
        b"",
        b"username\tuser_alt\tservice\tsrc-ip\tdest-ip\tdest-port",
        b"u1\timap\t127.0.0.1\t127.0.0.3",
        b"u1\timap\t127.0.0.1\tlocalhost\t143",
    ],
)
def test_lines_without_a_session_of_ipc(row: bytes) -> None:
    assert parse_ipc_row(row, user_hash) is None


@pytest.mark.parametrize(
    "row",
    [
        b"",
        b"user_alt\tuser_dirhash",
        b"a\tb\tc\td\te\t127.0.0.1",
        b"19648\tlocal\timap\t127.0.0.1\tbae7f500934e026bc04c000083ecc375\t",
    ],
)
def test_lines_without_a_proxied_session_of_anvil(row: bytes) -> None:
    assert parse_anvil_row(row, user_hash) is None


def test_user_named_like_the_header_is_a_user() -> None:
    live = parse_ipc_row(b"username\timap\t127.0.0.1\t127.0.0.3\t143", user_hash)

    assert live is not None
    assert live.user == b"username"


def test_escaped_names_are_unescaped() -> None:
    live = parse_ipc_row(b"a\x01tb\timap\t127.0.0.1\t127.0.0.3\t143", user_hash)

    assert live is not None
    assert live.user == b"a\tb"
