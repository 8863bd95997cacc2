"""Which lines of the auth service need a host, and what they look like when they have one.

Pure functions over single lines without their LF (login-sockets.md section 4). A line needs a host
if it asks to be proxied, has a user name and names no host. Keys are matched whole and unescaped;
the field after the keyword is the request's id and never a key. Asked from the real program where
the notes are silent: of several `user=` the first counts, of several `destuser=` or `director_tag=`
the last; an empty user name is one; the bare words `host`, `user` and `director_tag` mean nothing.

`director_proxy_maybe` is done as section 4.4 recommends: a user of this very machine loses `proxy`
and logs in locally, everybody else has it added. The original did neither.

Nearly every line is `OK id user=.. proxy ..` without anything rare. `reply_pattern` finds those,
and their user name, in a whole read at a time (0.5 us a line; with substring searches line by line
it was 2.5 us); `parse_reply` takes the rest apart (3 us).
"""

from __future__ import annotations

import ipaddress
import re

import attrs

from ring.codec import tabs

PROXY_MAYBE = b"director_proxy_maybe"


@attrs.frozen(kw_only=True)
class HostWanted:
    """What a line that needs a host says. Ports and `lip` matter only if `is_maybe`."""

    user: bytes
    tag: bytes
    is_proxy: bool
    is_maybe: bool
    lip: bytes = b""
    lport: bytes = b""
    port: bytes = b""


def reply_pattern(keyword: bytes) -> re.Pattern[bytes]:
    """Return what matches every whole line, of text that begins with one.

    Group 1 is the user name if the line begins with the keyword and certainly needs a host for the
    empty tag; otherwise it is None and `parse_reply` must decide. A line takes time in proportion
    to its length, whatever is in it: the repetitions give nothing back.
    """
    rare = rb"(?!host=|destuser=|director_"
    value = rb"[^\t\x01\n]*"
    return re.compile(
        rb"(?:%b\t[^\t\n]*\tuser=(%b)" % (re.escape(keyword), value)
        + rb"(?:\t%b|proxy[=\t\n])%b)*+" % (rare, value)
        + rb"\tproxy(?:=%b)?" % value
        + rb"(?:\t%b)%b)*+\n|[^\n]*\n)" % (rare, value)
    )


def parse_reply(line: bytes) -> HostWanted | None:
    """Return what host the line needs, None if it stays as it is."""
    user: bytes | None = None
    destuser: bytes | None = None
    tag = lip = lport = port = b""
    is_proxy = is_maybe = False
    for field in tabs.split(line)[2:]:
        key, equals, value = field.partition(b"=")
        if key == b"proxy":
            is_proxy = True
        elif key == PROXY_MAYBE:
            is_maybe = True
        elif not equals:
            continue
        elif key == b"host":
            return None
        elif key == b"user":
            user = value if user is None else user
        elif key == b"destuser":
            destuser = value
        elif key == b"director_tag":
            tag = value
        elif key == b"lip":
            lip = value
        elif key == b"lport":
            lport = value
        elif key == b"port":
            port = value
    name = user if destuser is None else destuser
    if name is None or not (is_proxy or is_maybe):
        return None
    return HostWanted(
        user=name,
        tag=tag,
        is_proxy=is_proxy,
        is_maybe=is_maybe,
        lip=lip,
        lport=lport,
        port=port,
    )


def reply_id(line: bytes, fields_at: int) -> bytes:
    """Return the text up to the first TAB behind the keyword."""
    end = line.find(b"\t", fields_at)
    return line[fields_at:] if end < 0 else line[fields_at:end]


def format_failure(line: bytes, fields_at: int) -> bytes:
    """Return the temporary failure that takes the place of a line (section 4.3)."""
    return b"FAIL\t" + reply_id(line, fields_at) + b"\tcode=temp_fail"


def format_host(ip_text: bytes, hostname: bytes, refresh_s: int | None) -> bytes:
    """Return the fields that send a user to a host (section 4.2)."""
    refresh = b"" if refresh_s is None else b"\tproxy_refresh=%d" % refresh_s
    if hostname:
        return b"%b\thost=%b\thostip=%b" % (refresh, tabs.escape(hostname), ip_text)
    return b"%b\thost=%b" % (refresh, ip_text)


def without_proxy(line: bytes) -> bytes:
    """Return the line with its `proxy` fields removed, so that the login stays local."""
    fields = line.split(b"\t")
    kept = [f for f in fields[2:] if tabs.unescape(f).partition(b"=")[0] != b"proxy"]
    return b"\t".join(fields[:2] + kept)


def is_same_place(wanted: HostWanted, ip_text: bytes) -> bool:
    """Return whether the client is connected to the host and port it would be sent to.

    Values that cannot be read count as missing; so does a missing `lip` as another place.
    """
    try:
        is_same_ip = ipaddress.ip_address(wanted.lip.decode("ascii")) == ipaddress.ip_address(
            ip_text.decode("ascii")
        )
    except ValueError:
        return False
    return is_same_ip and is_same_port(wanted)


def is_same_port(wanted: HostWanted) -> bool:
    if not wanted.port.isdigit() or not wanted.lport.isdigit():
        return True
    return wanted.port.lstrip(b"0") == wanted.lport.lstrip(b"0")
