"""The options with which every verb finds its configuration, and what happens when it is wrong.

Options win over environment variables, those over the file (`settings.load`). Without `-c` and
without the usual file the environment alone has to do, as it does in a container.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click

from director.config import ConfigError
from director.settings import Settings, load

USUAL_PATH = Path("/etc/ringdirector/director.conf")

F = TypeVar("F", bound=Callable[..., object])


class ConfigRefused(click.ClickException):
    """Ends the command with the status that sysexits(3) has for a wrong configuration."""

    exit_code = os.EX_CONFIG

    def show(self, file: object = None) -> None:
        click.echo(f"Configuration error: {self.message}", err=True)


def configuration_options(verb: F) -> F:
    """Give a verb the arguments `config` (a path or None) and `options` (name=value texts)."""
    verb = click.option(
        "-o",
        "--option",
        "options",
        multiple=True,
        metavar="NAME=VALUE",
        help="Overrule one setting; may be given again.",
    )(verb)
    return click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path),
        envvar="DIRECTOR_CONFIG",
        help=f"Configuration file, by default {USUAL_PATH} if it exists.",
    )(verb)


def load_settings(config: Path | None, options: Sequence[str]) -> Settings:
    """Return the settings that the command's options, the environment and the file give.

    Raises:
        ConfigRefused: the configuration cannot be used.
        click.UsageError: an option is not NAME=VALUE.
    """
    if config is None and USUAL_PATH.exists():
        config = USUAL_PATH
    try:
        return load(config, parse_options(options), os.environ)
    except ConfigError as error:
        raise ConfigRefused(str(error)) from None


def parse_options(options: Sequence[str]) -> dict[str, str]:
    """Return name=value texts as a mapping; the last of several wins."""
    overrides = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals or not name.strip():
            raise click.UsageError(f"-o: got {option!r}, expected NAME=VALUE")
        overrides[name.strip()] = text
    return overrides
