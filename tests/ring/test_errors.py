"""What errors say, and to whom."""

from __future__ import annotations

import pytest

from ring.errors import (
    EXCERPT_BYTES,
    LimitExceeded,
    ProtocolError,
    RemoteProtocolError,
    RingError,
    ValueRefused,
    excerpt,
)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"plain text", "plain text"),
        (b"tab\there", "tab\\x09here"),
        (b"\xff\x00", "\\xff\\x00"),
        (b"a" * EXCERPT_BYTES, "a" * EXCERPT_BYTES),
        (b"a" * (EXCERPT_BYTES + 1), "a" * EXCERPT_BYTES + "..."),
    ],
)
def test_excerpt_is_printable_and_short(data: bytes, text: str) -> None:
    assert text == excerpt(data)


def test_quit_names_the_refused_command_unless_it_has_words_of_its_own() -> None:
    assert "Invalid input: SYNC" == RemoteProtocolError("x", token="SYNC").quit_reason
    assert (
        "Too long input line" == LimitExceeded("x", quit_reason="Too long input line").quit_reason
    )
    assert "" == RemoteProtocolError("x", token="VERSION", quit_reason="").quit_reason


def test_remote_errors_are_stamped_unless_said_otherwise() -> None:
    assert RemoteProtocolError("x").is_stamped
    assert not RemoteProtocolError("x", is_stamped=False).is_stamped


def test_everything_raised_on_purpose_is_a_ring_error() -> None:
    for kind in (RemoteProtocolError, LimitExceeded, ProtocolError, ValueRefused):
        assert issubclass(kind, RingError)
    assert issubclass(ValueRefused, ValueError)
