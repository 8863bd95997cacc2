"""How directors hash user names unless they are told otherwise."""

from __future__ import annotations

from ring.hashing import HashKind, UserHasher, UsernameTemplate

HASHER = UserHasher(UsernameTemplate.parse("%Lu"), HashKind.MD5)
