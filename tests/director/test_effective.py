"""Effective settings print as a configuration that reads back the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from director.config import parse_text
from director.definitions import DEFINITIONS
from director.effective import format_effective, format_value, setting_texts
from director.settings import Settings, load_text
from ring.address import parse_ip

FIXTURES = Path(__file__).parent / "fixtures"


def load(text: str) -> Settings:
    return load_text(
        text,
        "t.conf",
        resolve=lambda name: [parse_ip("10.7.0.1"), parse_ip("fd00::7")],
        can_bind=lambda ip: True,
    )


RICH = r"""
director_mail_servers = mail.example@a 10.0.0.1 fd00::1-fd00::3@b
director_servers = 10.0.0.1 10.0.0.2:99
director_hash = murmur3
director_username_hash = %{user | lower}
auth_master_user_separator = "#"
director_user_kick_delay = 90 s
director_output_buffer_size = 1000k
director_snapshot_path = "/var/lib/a #b/$x/\"q\"\\"
director_auth_login_socket = /elsewhere/auth
base_dir = /run/d
service director {
  chroot = .
  user = "odd user"
  unix_listener "login/with blank" {
    mode = 0606
    user = "$x"
  }
  inet_listener {
    port = 7
  }
  inet_listener x-admin {
    address = 127.0.0.1, ::1
    port = 8
  }
  inet_listener {
    address = 10.0.0.9
    port = 7
  }
}
"""


@pytest.mark.parametrize(
    "text",
    [
        "director_mail_servers = 10.0.0.1",
        RICH,
        (FIXTURES / "doveconf-n-2.3.conf").read_text(),
    ],
    ids=["defaults", "rich", "doveconf"],
)
def test_printed_settings_read_back_the_same(text: str) -> None:
    settings = load(text)

    assert load(format_effective(settings)) == settings


def test_computed_facts_stand_in_comments() -> None:
    text = format_effective(load(RICH))

    assert "# these are 10.7.0.1@a fd00::7@a 10.0.0.1 fd00::1@b fd00::2@b fd00::3@b\n" in text
    assert "# these are 10.0.0.1:7 10.0.0.2:99\n# this director is 10.0.0.1:7\n" in text


def test_every_setting_is_printed() -> None:
    printed = setting_texts(load("director_mail_servers = 10.0.0.1"))

    in_the_service_section = {"listen", "default_client_limit"}
    expected = {d.name for d in DEFINITIONS} - in_the_service_section - {"master_user_separator"}
    assert set(printed) == expected


@given(st.text(alphabet="ab \\\"'#$<%{}=", max_size=12))
def test_any_value_survives_being_written(text: str) -> None:
    config = parse_text(f"a = {format_value(text)}\nb = c\n", "t.conf", {}, {})

    assert config.text(config.root.values["a"]) == text
    assert config.text(config.root.values["b"]) == "c"
