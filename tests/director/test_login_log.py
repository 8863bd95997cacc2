"""Lines of real logs (2.3.19.1 wrote those without a remark), and what a reader may meet."""

from __future__ import annotations

import gzip
from io import BufferedReader, BytesIO

import pytest

from director import login_log
from director.login_log import LINE_BYTES_MAX, Login, LogUnreadable, parse_line

PROXIED = (
    b"2026-11-22 05:55:36.632659 imap-login: Info: proxy(alice@example.com,10.0.0.2:143): Started "
    b"proxying to <10.0.0.2> (0.004 secs): user=<alice@example.com>, method=PLAIN, "
    b"rip=10.9.0.1, lip=10.1.0.3, session=<cThQINdgpON/AAAB>\n"
)
DIRECT = (
    b"2026-11-22 05:55:36.631758 pop3-login: Info: Login: user=<bob@example.com>, method=PLAIN, "
    b"rip=10.9.0.1, lip=10.0.0.2, mpid=32721, session=<7ztQINdgiLB/AAAB>\n"
)
ALICE = Login(user=b"alice@example.com", backend=b"10.0.0.2", is_proxied=True)
BOB = Login(user=b"bob@example.com", backend=b"10.0.0.2", is_proxied=False)


def read(data: bytes) -> list[Login]:
    return list(login_log.read_logins(BufferedReader(BytesIO(data))))


def test_proxy_names_the_user_and_the_backend() -> None:
    assert parse_line(PROXIED) == ALICE


def test_backend_names_the_user_and_itself() -> None:
    assert parse_line(DIRECT) == BOB


def test_the_name_behind_as_user_is_the_one_that_was_hashed() -> None:
    line = (
        b"imap-login: Info: proxy(alias@example.com,10.0.0.2:143): Started proxying to <10.0.0.2> "
        b"as user Target@Example.COM (0.012 secs): user=<alias@example.com>, method=PLAIN\n"
    )

    login = parse_line(line)

    assert login == Login(user=b"Target@Example.COM", backend=b"10.0.0.2", is_proxied=True)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(
            b"Nov 22 02:28:00 imap-login: Info: proxy(alice@example.com,10.0.0.2:143): Started "
            b"proxying to remote host (0.016 secs): user=<alice@example.com>, method=PLAIN\n",
            ALICE,
            id="2.4 proxy",
        ),
        pytest.param(
            b"Nov 22 02:28:00 pop3-login: Info: Logged in: user=<bob@example.com>, method=PLAIN, "
            b"rip=10.9.0.1, lip=10.0.0.2, mpid=5, session=<x>\n",
            BOB,
            id="2.4 backend",
        ),
        pytest.param(
            b"Nov 22 02:28:00 mx dovecot: pop3-login: Login: user=<bob@example.com>, "
            b"lip=10.0.0.2\n",
            BOB,
            id="syslog",
        ),
        pytest.param(
            b"imap-login: Info: proxy(a,[2001:db8::2]:143): Started proxying to <2001:db8::2> "
            b"(0.1 secs): user=<a>\n",
            Login(user=b"a", backend=b"2001:db8::2", is_proxied=True),
            id="IPv6",
        ),
        pytest.param(
            b"imap-login: Info: proxy(a(b),c,10.0.0.2:143): Started proxying to <10.0.0.2> "
            b"(0.1 secs)\n",
            Login(user=b"a(b),c", backend=b"10.0.0.2", is_proxied=True),
            id="name with brackets and commas",
        ),
        pytest.param(
            b"imap-login: Info: Login: method=PLAIN, user=<a>\n",
            Login(user=b"a", backend=b"", is_proxied=False),
            id="own log format without lip",
        ),
    ],
)
def test_other_spellings_mean_the_same(line: bytes, expected: Login) -> None:
    assert parse_line(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        b"imap-login: Info: Disconnected: Connection closed (auth failed, 1 attempts in 1 secs): "
        b"user=<a>, method=PLAIN, rip=10.9.0.1, lip=10.0.0.2, session=<x>\n",
        b"imap-login: Info: proxy(a,10.0.0.2:143): Disconnected by client (0s idle, in=1, out=2): "
        b"user=<a>, method=PLAIN\n",
        b"imap-login: Info: Login aborted: Connection closed: user=<a>, rip=10.9.0.1\n",
        b"imap-login: Info: Login: user=<>, method=PLAIN\n",
        b"lmtp(4577): Info: Connect from 127.0.0.1\n",
        b"\xff\xfe\n",
        b"\n",
    ],
)
def test_everything_else_is_passed_over(line: bytes) -> None:
    assert parse_line(line) is None


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_reads_a_log_plain_or_compressed(pack: type[bytes]) -> None:
    assert read(pack(PROXIED + b"noise\n" + DIRECT)) == [ALICE, BOB]


def test_last_line_needs_no_end() -> None:
    assert read(DIRECT.rstrip()) == [BOB]


def test_a_line_longer_than_any_is_passed_over_whole() -> None:
    endless = b"x" * (LINE_BYTES_MAX + 1) + DIRECT

    assert read(endless + PROXIED) == [ALICE]


def test_damaged_compression_is_an_error_that_says_so() -> None:
    with pytest.raises(LogUnreadable, match="end-of-stream"):
        read(gzip.compress(DIRECT * 100)[:-20])


def test_an_empty_log_has_no_login() -> None:
    assert read(b"") == []
