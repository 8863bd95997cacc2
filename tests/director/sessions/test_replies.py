"""Which lines need a host: login-sockets.md section 4."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director.sessions import replies

PATTERN = replies.reply_pattern(b"OK")


@pytest.mark.parametrize(
    ("fields", "user"),
    [
        (b"user=a\tproxy", b"a"),
        (b"user=a\tproxy=n", b"a"),
        (b"proxy\tuser=a", b"a"),
        (b"user=a\tproxy_timeout=5", None),
        (b"user=a\tproxy_maybe=y", None),
        (b"user=a\tproxy\thost=", None),
        (b"user=a\tproxy\thost=1.2.3.4", None),
        (b"user=a\tproxy\thost", b"a"),
        (b"user=a\tproxy\thostip=1.2.3.4", b"a"),
        (b"user=a", None),
        (b"proxy", None),
        (b"user=a\tdestuser=b\tproxy", b"b"),
        (b"destuser=b\tuser=a\tproxy", b"b"),
        (b"user=a\x01tb\tproxy", b"a\tb"),
        (b"user=\tproxy", b""),
        (b"user=a\tuser=b\tproxy", b"a"),
        (b"destuser=a\tdestuser=b\tuser=c\tproxy", b"b"),
        (b"user=a\tdirector_proxy_maybe", b"a"),
        (b"user=a\tdirector_proxy_maybe=n", b"a"),
        (b"xuser=a\tproxy", None),
    ],
)
def test_line_needs_a_host_for_this_user(fields: bytes, user: bytes | None) -> None:
    wanted = replies.parse_reply(b"OK\t1\t" + fields)

    assert user == (wanted.user if wanted else None)


def test_tag_and_what_decides_about_home_are_read() -> None:
    wanted = replies.parse_reply(
        b"OK\t1\tuser=a\tproxy\tdirector_tag=x\tdirector_proxy_maybe\tlip=1.2.3.4\tlport=1\tport=2"
    )

    assert wanted == replies.HostWanted(
        user=b"a",
        tag=b"x",
        is_proxy=True,
        is_maybe=True,
        lip=b"1.2.3.4",
        lport=b"1",
        port=b"2",
    )


FIELD = st.sampled_from(
    [
        b"user=a",
        b"user=",
        b"proxy",
        b"proxy=y",
        b"proxy_timeout=1",
        b"host=1.2.3.4",
        b"host=",
        b"hostip=1.2.3.4",
        b"destuser=d",
        b"director_tag=t",
        b"director_proxy_maybe",
        b"pass=x",
        b"user=b\x01tc",
        b"xproxy",
        b"",
    ]
)


@given(st.lists(FIELD, max_size=6))
def test_the_quick_look_never_disagrees_with_the_careful_one(fields: list[bytes]) -> None:
    line = b"\t".join([b"OK", b"1", *fields])
    match = PATTERN.fullmatch(line + b"\n")
    assert match is not None
    quick = match[1]
    careful = replies.parse_reply(line)

    if quick is not None:
        assert careful is not None
        assert (quick, b"") == (careful.user, careful.tag)
        assert not careful.is_maybe


def test_the_quick_look_suffices_for_what_real_auth_services_send() -> None:
    fields = b"user=u1\tport=19150\tproxy=y\tuser_alt=a\tlip=127.0.0.1\tlport=143\tpass=p1"
    match = PATTERN.fullmatch(b"OK\t1\t" + fields + b"\n")

    assert match is not None
    assert match[1] == b"u1"


@pytest.mark.parametrize("field", [b"\tproxy", b"\tproxy=", b"\tproxy_x", b"\t"])
def test_the_quick_look_takes_no_longer_for_a_line_made_to_confuse_it(field: bytes) -> None:
    """A pattern that tried every way to match would take minutes."""
    line = b"OK\t1\tuser=a" + field * 2000 + b"\thost=x\n"
    match = PATTERN.fullmatch(line)

    assert match is not None
    assert match[1] is None


@pytest.mark.parametrize(
    ("lip", "lport", "port", "is_same"),
    [
        (b"10.0.0.1", b"143", b"143", True),
        (b"10.0.0.1", b"143", b"0143", True),
        (b"10.0.0.1", b"", b"143", True),
        (b"10.0.0.1", b"143", b"", True),
        (b"10.0.0.1", b"143", b"144", False),
        (b"10.0.0.2", b"143", b"143", False),
        (b"", b"143", b"143", False),
        (b"rubbish", b"143", b"143", False),
    ],
)
def test_same_place_is_same_address_and_port(
    lip: bytes, lport: bytes, port: bytes, is_same: bool
) -> None:
    wanted = replies.HostWanted(
        user=b"a", tag=b"", is_proxy=True, is_maybe=True, lip=lip, lport=lport, port=port
    )

    assert is_same == replies.is_same_place(wanted, b"10.0.0.1")


def test_failure_names_the_request() -> None:
    fields_at = len(b"OK\t")

    assert b"FAIL\t7\tcode=temp_fail" == replies.format_failure(b"OK\t7\tuser=a", fields_at)
    assert b"FAIL\t7\tcode=temp_fail" == replies.format_failure(b"OK\t7", fields_at)


def test_host_fields() -> None:
    assert b"\tproxy_refresh=30\thost=1.2.3.4" == replies.format_host(b"1.2.3.4", b"", 30)
    assert b"\thost=1.2.3.4" == replies.format_host(b"1.2.3.4", b"", None)
    assert b"\thost=a.b\thostip=1.2.3.4" == replies.format_host(b"1.2.3.4", b"a.b", None)


def test_local_user_loses_every_proxy_field_and_nothing_else() -> None:
    line = b"OK\t1\tuser=a\tproxy\tproxy=y\tproxy_timeout=4\tpass=p"

    assert b"OK\t1\tuser=a\tproxy_timeout=4\tpass=p" == replies.without_proxy(line)
