"""`director serve`: the daemon, in the foreground; whoever wants it elsewhere has a supervisor."""

from __future__ import annotations

import os
from pathlib import Path

import click

from director import daemon
from director.cli.configured import ConfigRefused, configuration_options, load_settings
from director.settings import Settings


@click.command()
@configuration_options
@click.option("--debug", "is_debugging", is_flag=True, help="Log more, user names included.")
def serve(config: Path | None, options: tuple[str, ...], is_debugging: bool) -> int:
    """Run the director in the foreground, logging to stderr.

    SIGHUP reads the configuration again, SIGTERM ends the director. Sockets are inherited from
    systemd or from Dovecot's master if one of them started us, and made by us otherwise. Started
    as root, we become default_internal_user once the sockets are open.

    The exit status is 78 for a wrong configuration, 69 if a socket or an account is not there.
    """

    def reread() -> Settings | str:
        try:
            return load_settings(config, options)
        except ConfigRefused as error:
            return error.message

    settings = load_settings(config, options)
    return daemon.serve(settings, reread, os.environ, is_debugging=is_debugging)
