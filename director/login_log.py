"""Who logged in, where, and how often: read from the log that Dovecot's login processes write.

Two kinds of lines count, as Dovecot 2.3 and 2.4 write them into files or through syslog:

    imap-login: Info: proxy(alice@example.com,10.0.0.1:143): Started proxying to <10.0.0.1> ...
    imap-login: Info: Login: user=<alice@example.com>, ..., lip=10.0.0.1, ...       (2.4: Logged in)

The first is a proxy's; the name behind `as user`, if there is one, is what the director hashed
(users-and-hosts.md section 1). The second is a backend's, or a proxy's for a user who is at home
there. Both name the backend, which tells the tag. Everything else is passed over, LMTP deliveries
too: they are no sessions.

A log that has lines of the first kind is a proxy's, or a whole site's; in the one the second kind
means users of no concern to the director, in the other it repeats the first. So the caller keeps
them apart (`Login.is_proxied`) and counts only one kind.

A log is read line by line and may be compressed; a line longer than any login is passed over.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from io import BufferedReader

import attrs

LINE_BYTES_MAX = 64 * 1024
"""More: the line is passed over. It bounds what a file without line ends costs."""

GZIP_MAGIC = b"\x1f\x8b"

_PREFIX = rb"-login(?:\([^)]*\))?(?:<[^>]*>)*: (?:Info: )?"
_PROXIED = re.compile(
    _PREFIX + rb"proxy\((?P<user>.*?)(?:,\[?(?P<ip>[0-9a-fA-F.:]+?)\]?:[0-9]+)?\): "
    rb"[Ss]tarted proxying to (?:.*? as user (?P<target>.*?) \([0-9.]+ secs\))?"
)
_DIRECT = re.compile(
    _PREFIX + rb"(?:Login|Logged in): (?:.*?[ ,])?user=<(?P<user>[^>]+)>"
    rb"(?:.*?[ ,]lip=(?P<ip>[0-9a-fA-F.:]+))?"
)


class LogUnreadable(Exception):
    """The log could not be read to its end; the text says why."""


@attrs.frozen(kw_only=True)
class Login:
    """`user` is the name the director hashed; `backend` an address, empty if not in the line."""

    user: bytes
    backend: bytes
    is_proxied: bool


def read_logins(stream: BufferedReader) -> Iterator[Login]:
    """Yield the logins of a log, plain or gzip.

    Raises:
        LogUnreadable: the compressed data is damaged or ends early.
    """
    try:
        if stream.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC):
            with gzip.open(stream) as unpacked:
                yield from _logins(unpacked)
        else:
            yield from _logins(stream)
    except (OSError, EOFError, zlib.error) as error:
        raise LogUnreadable(str(error)) from None


def parse_line(line: bytes) -> Login | None:
    """Return the login that a line tells of, if it does."""
    is_proxied = b"tarted proxying" in line
    match = (_PROXIED if is_proxied else _DIRECT).search(line)
    if match is None:
        return None
    user: bytes = match["user"]
    if is_proxied:
        user = match["target"] or user
    return Login(user=user, backend=match["ip"] or b"", is_proxied=is_proxied)


def _logins(stream: BufferedReader | gzip.GzipFile) -> Iterator[Login]:
    is_whole = True
    while line := stream.readline(LINE_BYTES_MAX):
        was_whole, is_whole = is_whole, line.endswith(b"\n") or len(line) < LINE_BYTES_MAX
        if was_whole and is_whole and b"-login" in line:
            login = parse_line(line)
            if login is not None:
                yield login
