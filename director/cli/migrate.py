"""`director migrate`: what replaces a Dovecot 2.3 director."""

from __future__ import annotations

from typing import BinaryIO

import click

from director import migrate as migration
from director.cli.configured import ConfigRefused
from director.config import ConfigError

PARTS = ("all", "director", "proxy", "findings")


@click.command()
@click.argument("doveconf", type=click.File("rb"), default="-")
@click.option(
    "--part",
    type=click.Choice(PARTS),
    default="all",
    help="Print only our configuration, that of Dovecot 2.4's proxy, or what to look after.",
)
def migrate(doveconf: BinaryIO, part: str) -> None:
    """Read `doveconf -n` of a Dovecot 2.3 director; print what replaces it.

    Nothing is changed. The parts are our configuration, the lines for a Dovecot 2.4 proxy, and
    what was found that 2.4 no longer has.
    """
    try:
        report = migration.migrate(doveconf.read().decode("utf-8", "surrogateescape"))
    except ConfigError as error:
        raise ConfigRefused(str(error)) from None
    findings = "".join(f"# {finding}\n" for finding in report.findings)
    parts = {
        "director": report.configuration,
        "proxy": report.proxy,
        "findings": findings or "# Nothing to look after.\n",
    }
    text = "\n".join(parts.values()) if part == "all" else parts[part]
    click.echo(text.encode("utf-8", "surrogateescape"), nl=False)
