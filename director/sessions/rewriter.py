"""The lines of one auth connection on their way to the client, with hosts where they need one.

It takes bytes in any portions and returns what may go on, in order, byte for byte, except:

- a line that needs a host gets one (`replies`), plus `user_dirhash=<hash>` and
  `user_dirdest=<hash>@<ip>`: login processes of both generations take any `user_*` field as an
  alternative name of the session, so that kicks can find it (dovecot-2.4-plug.md section 4.4);
- a line whose lookup is parked is held back, later lines overtake it, and it is delivered when the
  answer comes, or dropped when its request was cancelled (login-sockets.md section 3, 4 and 6);
- a line whose lookup failed becomes a temporary failure.

Lines contain passwords: nothing of them is ever logged but the hash and the tag.

Speed: everything that can be is done for all lines of a read at once: one `findall` for the users,
one call each for hashes and hosts, one `join`. Only lines with something rare, and those that must
wait, are looked at alone. The fields of a host are formatted once per host. Measured: 1.4 us for a
line in a read of fifty, 2.6 if the user is new; a call per line cost about twice as much.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TypeAlias

from director.sessions import replies
from director.sessions.directory import Host, Surroundings
from director.sessions.replies import HostWanted
from ring import limits
from ring.effects import LookupAnswered
from ring.errors import LimitExceeded

FormattedHost: TypeAlias = tuple[bytes, bytes, bytes]
"""Host name; address; what becomes a line with its host when it is given line, hash and hash."""

_PATTERNS = {keyword: replies.reply_pattern(keyword) for keyword in (b"OK", b"PASS")}


class HostFields:
    """The formatted fields of every host seen lately, shared by all connections of a listener."""

    __slots__ = ("_by_host", "_refresh_s")

    def __init__(self) -> None:
        self._by_host: dict[Host, FormattedHost] = {}
        self._refresh_s: int | None = None

    def by_host(self, refresh_s: int | None) -> dict[Host, FormattedHost]:
        """Return what is known for this refresh interval.

        An entry is stale if the host has got another name since: whoever reads it checks.
        """
        if refresh_s != self._refresh_s or len(self._by_host) >= limits.HOSTS_MAX:
            self._by_host.clear()
            self._refresh_s = refresh_s
        return self._by_host


class HeldReply:
    """A line whose lookup is parked: the token the answer comes back to."""

    __slots__ = ("line", "rewriter", "wanted")

    def __init__(self, rewriter: Rewriter) -> None:
        self.rewriter = rewriter
        self.line = b""
        self.wanted: HostWanted | None = None

    def lookup_answered(self, answer: LookupAnswered) -> None:
        self.rewriter.finish(self, answer)


class Rewriter:
    __slots__ = (
        "_deliver",
        "_directory",
        "_fields_at",
        "_find_users",
        "_held_bytes",
        "_held_count",
        "_host_fields",
        "_keyword",
        "_name",
        "_spare",
        "_surroundings",
        "held",
        "partial",
    )

    def __init__(
        self,
        surroundings: Surroundings,
        host_fields: HostFields,
        keyword: bytes,
        name: str,
        deliver: Callable[[bytes], None],
    ) -> None:
        """Rewrite lines that begin with `keyword`; `deliver` sends what was held back.

        `name` names the connection in notes.
        """
        self._surroundings = surroundings
        self._directory = surroundings.directory
        self._host_fields = host_fields
        self._find_users = _PATTERNS[keyword].findall
        self._keyword = keyword + b"\t"
        self._fields_at = len(keyword) + 1
        self._name = name
        self._deliver = deliver
        self.partial = b""
        self._spare = HeldReply(self)
        self.held: dict[bytes, list[HeldReply]] = {}
        """By request id; an id that is used twice at one time has both."""
        self._held_count = 0
        self._held_bytes = 0

    def rewrite(self, data: bytes) -> bytes:
        """Take what the auth service sent next, return what may go to the client now.

        Raises:
            LimitExceeded: a line is longer than auth and login processes take.
        """
        # hot: bench login
        if self.partial:
            data = self.partial + data
            self.partial = b""
        if len(data) > limits.AUTH_LINE_BYTES_MAX:
            _check_length(data)
        if not data.endswith(b"\n"):
            end = data.rfind(b"\n") + 1
            self.partial = data[end:]
            data = data[:end]
        if not data:
            return b""
        users = self._find_users(data)
        lines = data.split(b"\n")
        del lines[-1]
        if b"" in users:  # nobody, or somebody with an empty name: something rare
            plain = [row for row, user in enumerate(users) if user]
            found = self._with_hosts([lines[row] for row in plain], [users[row] for row in plain])
            lines = [
                b"" if user else self._rare(line) for line, user in zip(lines, users, strict=True)
            ]
            for row, line in zip(plain, found, strict=True):
                lines[row] = line
            return b"".join(lines)
        return b"".join(self._with_hosts(lines, users))

    def cancel(self, request_id: bytes) -> None:
        """Drop the replies held back for a request."""
        for held in self.held.pop(request_id, ()):
            self._held_count -= 1
            self._held_bytes -= len(held.line)
            self._directory.abandon(held)

    def close(self) -> None:
        """Drop everything held back; nothing may be rewritten afterwards."""
        for request_id in list(self.held):
            self.cancel(request_id)
        # The spare and we refer to each other. Without this every closed connection would wait for
        # the collector of cycles, whose full run takes some 9 us for each open one.
        if hasattr(self, "_spare"):
            del self._spare

    def finish(self, held: HeldReply, answer: LookupAnswered) -> None:
        """Deliver a reply that was held back."""
        request_id = replies.reply_id(held.line, self._fields_at)
        same_id = self.held[request_id]
        same_id.remove(held)
        if not same_id:
            del self.held[request_id]
        self._held_count -= 1
        self._held_bytes -= len(held.line)
        if answer.ip is None:
            self._deliver(self._fail(held.line, answer.user_hash, answer.tag, answer.detail))
        else:
            host = self._format(str(answer.ip).encode(), answer.hostname)
            self._deliver(self._complete(held.line, held.wanted, host, answer.user_hash))

    def _with_hosts(self, lines: list[bytes], users: list[bytes]) -> list[bytes]:
        """Return each line with its LF and the host of its user, or nothing if it is held back."""
        # hot: bench login
        directory = self._directory
        if separator := self._surroundings.master_user_separator:
            users = [user.partition(separator)[0] for user in users]
        hashes = directory.hash_users(users)
        hosts = directory.lookup_many(hashes, b"")
        fields = {host: self._fields_of(host) for host in set(hosts) if host is not None}
        return [
            fields[host][2] % (line, h, h)
            if host is not None
            else self._with_host(line, h, b"", None)
            for line, h, host in zip(lines, hashes, hosts, strict=True)
        ]

    def _rare(self, line: bytes) -> bytes:
        """Return a line that may need a host, or may be anything else, as it may go on."""
        wanted = None
        if line.startswith(self._keyword) and (b"proxy" in line or b"\x01" in line):
            wanted = replies.parse_reply(line)
        if wanted is None:
            return line + b"\n"
        user = wanted.user
        if separator := self._surroundings.master_user_separator:
            user = user.partition(separator)[0]
        return self._with_host(line, self._directory.hash_user(user), wanted.tag, wanted)

    def _with_host(
        self, line: bytes, user_hash: int, tag: bytes, wanted: HostWanted | None
    ) -> bytes:
        host = self._directory.lookup(self._spare, user_hash, tag)
        if host is None:
            return self._hold(line, wanted, user_hash, tag)
        return self._complete(line, wanted, self._fields_of(host), user_hash)

    def _fields_of(self, host: Host) -> FormattedHost:
        known = self._host_fields.by_host(self._directory.proxy_refresh_s)
        formatted = known.get(host)
        if formatted is None or formatted[0] != host.hostname:
            formatted = known[host] = self._format(host.ip_text, host.hostname)
        return formatted

    def _format(self, ip_text: bytes, hostname: bytes) -> FormattedHost:
        fields = replies.format_host(ip_text, hostname, self._directory.proxy_refresh_s)
        fields, at_ip = (text.replace(b"%", b"%%") for text in (fields, b"@" + ip_text))
        return hostname, ip_text, b"%%b%b\tuser_dirhash=%%d\tuser_dirdest=%%d%b\n" % (fields, at_ip)

    def _complete(
        self, line: bytes, wanted: HostWanted | None, host: FormattedHost, user_hash: int
    ) -> bytes:
        """Return the line with its host, or without `proxy` if the user is at home here."""
        _, ip_text, template = host
        if wanted is not None and wanted.is_maybe:
            if _is_home(wanted, ip_text):
                return replies.without_proxy(line) + b"\n"
            if not wanted.is_proxy:
                line += b"\tproxy"
        return template % (line, user_hash, user_hash)

    def _hold(self, line: bytes, wanted: HostWanted | None, user_hash: int, tag: bytes) -> bytes:
        """Keep a line until its lookup is answered; beyond the limits it fails at once."""
        held = self._spare
        if (
            self._held_count >= limits.AUTH_PENDING_MAX
            or self._held_bytes >= limits.AUTH_PENDING_BYTES_MAX
        ):
            self._directory.abandon(held)
            return self._fail(line, user_hash, tag, "too many requests of one connection wait")
        self._spare = HeldReply(self)
        held.line = line
        held.wanted = wanted
        self.held.setdefault(replies.reply_id(line, self._fields_at), []).append(held)
        self._held_count += 1
        self._held_bytes += len(line)
        return b""

    def _fail(self, line: bytes, user_hash: int, tag: bytes, detail: str) -> bytes:
        self._directory.note(
            "lookup_failed",
            connection=self._name,
            user_hash=user_hash,
            tag=tag.decode("ascii", "backslashreplace"),
            detail=detail,
        )
        return replies.format_failure(line, self._fields_at) + b"\n"


def _check_length(data: bytes) -> None:
    longest = max(map(len, data.split(b"\n")))
    if longest > limits.AUTH_LINE_BYTES_MAX:
        raise LimitExceeded(
            f"a reply of at least {longest} bytes, expected at most"
            f" {limits.AUTH_LINE_BYTES_MAX} (AUTH_LINE_BYTES_MAX)"
        )


def _is_home(wanted: HostWanted, ip_text: bytes) -> bool:
    """Return whether the user's host is where the client is connected already."""
    if wanted.lip:
        return replies.is_same_place(wanted, ip_text)
    return replies.is_same_port(wanted) and is_own_address(ip_text)


def is_own_address(ip_text: bytes) -> bool:
    """Return whether this machine has the address.

    A connected datagram socket sends nothing, but shows the source the kernel would take: for an
    own address that is the address itself. (Trying to bind it would always succeed where proxies
    share addresses, with `ip_nonlocal_bind`.)
    """
    ip = ip_text.decode("ascii")
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((ip, 9))
        except OSError:
            return False
        return bool(probe.getsockname()[0] == ip)
