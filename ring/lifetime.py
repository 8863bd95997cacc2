"""How long a user is known after its last login (users-and-hosts.md section 6).

Times are Unix seconds. Clocks of directors differ, so that near its end, by less than a margin, a
user may be expired already elsewhere: then the ring is asked first.
"""

from __future__ import annotations


def expiry_margin_s(expire_s: int) -> int:
    """Return how many seconds before its end a user is near expiry."""
    return min(30, max(3, expire_s * 10 // 100))


def is_expired(timestamp: int, wall: int, expire_s: int) -> bool:
    return timestamp + expire_s <= wall


def is_near_expiry(timestamp: int, wall: int, expire_s: int) -> bool:
    """Tell whether another node may already think that the user has expired; true after it has."""
    return timestamp + expire_s - expiry_margin_s(expire_s) < wall


def is_recently_updated(timestamp: int, wall: int, expire_s: int) -> bool:
    """Tell whether the user had a session within the last half of its lifetime."""
    return timestamp + expire_s // 2 >= wall
