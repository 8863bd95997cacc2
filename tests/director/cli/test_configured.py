"""How every verb finds its configuration."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest

from director.cli.configured import ConfigRefused, load_settings, parse_options


def test_last_of_several_options_wins_and_values_may_hold_equal_signs() -> None:
    assert parse_options(["a = 1", "b=2=3", "a=4"]) == {"a": "4", "b": "2=3"}


@pytest.mark.parametrize("option", ["a", "=1", " =1", ""])
def test_option_without_name_or_value_is_wrong_usage(option: str) -> None:
    with pytest.raises(click.UsageError, match=r"expected NAME=VALUE"):
        parse_options([option])


def test_options_win_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.conf"
    path.write_text("director_mail_servers = 10.0.0.1\ndirector_max_parallel_moves = 1\n")
    monkeypatch.setenv("DIRECTOR_MAX_PARALLEL_MOVES", "2")
    monkeypatch.setenv("DIRECTOR_MAX_PARALLEL_KICKS", "3")
    settings = load_settings(path, ["director_max_parallel_kicks=4"])

    assert (settings.max_parallel_moves, settings.max_parallel_kicks) == (2, 4)


def test_missing_file_ends_the_command_with_its_own_status(tmp_path: Path) -> None:
    with pytest.raises(ConfigRefused, match=r"cannot read .*none.conf: No such file") as caught:
        load_settings(tmp_path / "none.conf", [])

    assert caught.value.exit_code == os.EX_CONFIG
