"""What a verb takes from the configuration, and from what overrules it."""

from __future__ import annotations

from pathlib import Path

import pytest

from director.cli.environment import Environment
from director.cli.failures import Fatal

U1 = 3833023709


def environment(tmp_path: Path, text: str = "", *overrides: str, **environ: str) -> Environment:
    file = tmp_path / "director.conf"
    file.write_text(text)
    return Environment(str(file), overrides, environ)


def test_sockets_are_in_base_dir(tmp_path: Path) -> None:
    configured = environment(tmp_path, "base_dir = /srv/run/\n")

    assert configured.socket_name == "/srv/run/director-admin"
    assert configured.userdb_path == "/srv/run/auth-userdb"
    assert environment(tmp_path).socket_name == "/run/dovecot/director-admin"


def test_the_user_database_can_be_elsewhere(tmp_path: Path) -> None:
    configured = environment(tmp_path, "director_auth_userdb_socket = /elsewhere/userdb\n")

    assert configured.userdb_path == "/elsewhere/userdb"


def test_options_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    text = "base_dir = /file\n"

    assert environment(tmp_path, text, DIRECTOR_BASE_DIR="/env").socket_name == (
        "/env/director-admin"
    )
    assert environment(
        tmp_path, text, "base_dir=/option", DIRECTOR_BASE_DIR="/env"
    ).socket_name == ("/option/director-admin")
    assert environment(tmp_path, text, "base_dir=").socket_name == "/director-admin"


def test_the_configuration_can_be_named_by_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "director.conf"
    file.write_text("base_dir = /srv\n")

    assert Environment(None, (), {"DIRECTOR_CONFIG": str(file)}).socket_name == (
        "/srv/director-admin"
    )


def test_names_are_hashed_as_configured(tmp_path: Path) -> None:
    assert environment(tmp_path).user_hash(b"U1") == U1
    assert environment(tmp_path, "director_username_hash = %Ln\n").user_hash(b"u1@x") == U1
    assert environment(tmp_path, "director_hash = murmur3\n").user_hash(b"u1") != U1


def test_what_is_not_asked_for_may_be_broken(tmp_path: Path) -> None:
    broken = environment(tmp_path, "director_username_hash = %{nosuch}\nbase_dir = /srv\n")

    assert broken.socket_name == "/srv/director-admin"

    with pytest.raises(Fatal, match=r"Error reading configuration: .*nosuch") as fatal:
        broken.user_hash(b"u1")

    assert fatal.value.status == 75


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("nonsense", "Invalid -o parameter nonsense: Missing '='"),
        ("=x", "Invalid -o parameter =x: Missing key name"),
    ],
)
def test_an_override_must_be_a_setting_and_a_value(
    tmp_path: Path, override: str, reason: str
) -> None:
    with pytest.raises(Fatal) as fatal:
        environment(tmp_path, "", override)

    assert str(fatal.value) == f"Error reading configuration: {reason}"


def test_a_file_that_is_no_configuration_says_where(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match=r"director\.conf:1"):
        environment(tmp_path, "}\n").socket_name  # noqa: B018


def test_a_named_file_must_be_there() -> None:
    with pytest.raises(Fatal, match=r"stat\(/nonexistent\) failed: No such file or directory"):
        Environment("/nonexistent", (), {})
