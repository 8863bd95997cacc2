"""Why the daemon does not start, for the person who started it."""

from __future__ import annotations

from ring.errors import RingError


class StartupRefused(RingError):
    """The world is not as the configuration says; the message names what to change."""
