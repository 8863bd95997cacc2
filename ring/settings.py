"""What a node must be told before it starts; every value is final for its lifetime.

The daemon builds this from the operator's configuration (`director/settings.py`), the simulator
from its seed. Defaults are the classic ones (users-and-hosts.md section 14).
"""

from __future__ import annotations

import attrs

from ring.address import DirectorAddress, IpAddress
from ring.messages import NATIVE_MINOR

DEFAULT_WEIGHT = 100
"""Points of a mail host that nobody gave a weight (users-and-hosts.md section 2.1)."""


@attrs.frozen(kw_only=True)
class HostSetting:
    """One mail host as configured: name resolved, range expanded."""

    ip: IpAddress
    tag: bytes = b""
    hostname: bytes = b""


@attrs.frozen(kw_only=True)
class NodeSettings:
    """See `director/settings.py` for the meaning of each; times are seconds, sizes bytes.

    `own` is None for a director that will never have neighbours (`director_servers` empty);
    otherwise it is one of `directors`. `minor` is the version to announce; anything below
    `NATIVE_MINOR` makes a classic node of this one, which tests and simulations want.
    """

    own: DirectorAddress | None
    directors: tuple[DirectorAddress, ...]
    hosts: tuple[HostSetting, ...]
    director_hash: str = "md5"
    user_expire_s: int = 900
    user_kick_delay_s: float = 2.0
    ping_idle_timeout_s: float = 30.0
    ping_max_timeout_s: float = 60.0
    max_parallel_moves: int = 100
    max_parallel_kicks: int = 100
    output_buffer_bytes: int = 10 * 1024 * 1024
    has_flush_program: bool = False
    minor: int = NATIVE_MINOR
