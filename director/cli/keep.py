"""`director keep`: the keeper as a service of its own, for service managers.

Below systemd every process that the daemon has started ends with it, and so would the keeper that
it starts for itself when there is none. As a unit of its own it stays, whatever happens there.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from director import keeper
from director.cli.configured import configuration_options, load_settings
from director.sessions import keeping
from director.systemd import Notifier


@click.command()
@configuration_options
def keep(config: Path | None, options: tuple[str, ...]) -> int:
    """Hold the connections of a director that is away, until its successor is there.

    For conf/systemd/ringdirector-keeper.service; to be run as the director's own user. A director
    that finds no keeper starts one itself. The exit status is 69 if there is one already.
    """
    settings = load_settings(config, options)
    try:
        listener = keeping.listen(keeping.name_of(settings.base_dir))
    except OSError as error:
        click.echo(f"director keep: there is a keeper for {settings.base_dir}: {error}", err=True)
        return os.EX_UNAVAILABLE
    Notifier(os.environ).ready("keeping connections")
    keeper.keep(listener, 0.0)
    return os.EX_OK
