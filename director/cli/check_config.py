"""`director check-config`: is the configuration good, and what does it come to?"""

from __future__ import annotations

import textwrap
from pathlib import Path

import click

from director.cli.configured import configuration_options, load_settings
from director.definitions import BY_NAME, Definition
from director.effective import format_effective


@click.command()
@configuration_options
@click.option(
    "--explain",
    metavar="SETTING",
    help="Say what a setting means instead; `all` for every one.",
)
def check_config(config: Path | None, options: tuple[str, ...], explain: str | None) -> None:
    """Print the effective settings, or what is wrong with the configuration.

    The output is a configuration itself. The exit status is 78 if the configuration is refused.
    """
    if explain is not None:
        click.echo("\n\n".join(map(explanation, _chosen(explain))))
        return
    text = format_effective(load_settings(config, options))
    click.echo(text.encode("utf-8", "surrogateescape"), nl=False)


def explanation(definition: Definition) -> str:
    """Describe one setting for a terminal."""
    assignment = f"{definition.name} = {definition.default}".rstrip()
    return f"{assignment}\n{_described(definition, '  ')}"


def comment(definition: Definition) -> str:
    """Describe one setting as it stands in `conf/standalone/director.conf`."""
    return _described(definition, "# ")


def _described(definition: Definition, indent: str) -> str:
    parts = [("", definition.meaning), ("Range: ", f"{definition.range}.")]
    if definition.trade_off:
        parts.append(("Trade-off: ", definition.trade_off))
    parts.append(("When in doubt: ", definition.in_doubt))
    return "\n".join(
        textwrap.fill(
            label + text,
            78,
            initial_indent=indent,
            subsequent_indent=indent,
            break_on_hyphens=False,
        )
        for label, text in parts
    )


def _chosen(name: str) -> list[Definition]:
    if name == "all":
        return list(BY_NAME.values())
    if name not in BY_NAME:
        raise click.UsageError(f"--explain: got {name!r}, expected `all` or one of {[*BY_NAME]}")
    return [BY_NAME[name]]
