"""What can go wrong in the ring, and who did it.

A remote error costs the connection it came over and nothing else. What we do wrong ourselves is a
bug, and an assertion.
Every message says what was got, what was expected, and where, with at most
`EXCERPT_BYTES` bytes of the offending input.
"""

EXCERPT_BYTES = 80


def excerpt(data: bytes) -> str:
    """Return `data` as printable ASCII, cut to `EXCERPT_BYTES` bytes."""
    text = data[:EXCERPT_BYTES].decode("ascii", "backslashreplace")
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    return text + "..." if len(data) > EXCERPT_BYTES else text


class RingError(Exception):
    """Base of every error this package raises on purpose."""


class ProtocolError(RingError):
    """Somebody broke the rules of a protocol."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the rules.

    `token` is what a QUIT names: the offending line up to its first TAB. `is_stamped` says
    whether the peer is left alone for the protocol-failure hold-off (ring-protocol.md section 9).
    `quit_reason` is the whole text of that QUIT (section 8.15); None: it names the token.
    """

    def __init__(
        self,
        message: str,
        *,
        token: str = "",
        is_stamped: bool = True,
        quit_reason: str | None = None,
    ) -> None:
        super().__init__(message)
        self.token = token
        self.is_stamped = is_stamped
        self.quit_reason = f"Invalid input: {token}" if quit_reason is None else quit_reason


class LimitExceeded(RemoteProtocolError):
    """The peer went over one of the bounds in `ring.limits`; the message names which."""


class ValueRefused(RingError, ValueError):
    """A text from a person (setting, command line) does not say what it should."""
