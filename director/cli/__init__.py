"""The `director` command: one group, every verb loaded only when it is asked for.

A verb is a click command in a module of its own; this file only knows where. To add one, add one
line to `VERBS`. The administrative verbs (`verbs.py`) are not click's: they are found first and
parse their words as doveadm does. Loading lazily keeps the verbs that scripts call every second
(`director status`) free of the daemon's imports: `director --version` takes 60 ms, importing trio
alone 150 ms.

Exit statuses are sysexits(3)'s, as doveadm's are, so that scripts written for `doveadm director`
go on working: 64 wrong usage (click alone would say 2), 78 wrong configuration, 75 try again.
"""

from __future__ import annotations

import importlib
import os
import sys

import click

from director import __version__
from director.cli import administration, verbs
from director.cli.failures import reader_left

VERBS = {
    "completion": "director.cli.completion:completion",
    "demo": "director.cli.demo:demo",
    "serve": "director.cli.serve:serve",
    "check-config": "director.cli.check_config:check_config",
    "doctor": "director.cli.doctor:doctor",
    "keep": "director.cli.keep:keep",
    "migrate": "director.cli.migrate:migrate",
    "simulate": "director.cli.simulate:simulate",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are named (or listed by `--help`)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*VERBS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = VERBS.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = place.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command), f"{place} is not a click command"
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # which click would take for a failure
            return reader_left()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"As in `doveadm director`: {', '.join(verbs.BY_WORDS)}. Each knows --help.",
)
@click.version_option(__version__, prog_name="ringdirector")
def director() -> None:
    """Send every session of a user to one backend, and agree on it with the other directors."""


def main() -> None:
    """Run the command line and exit with a status of sysexits(3)."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; return its exit status."""
    status = administration.run(arguments, VERBS)
    if status is not None:
        return status
    try:
        outcome = director.main(_verb_first(arguments), prog_name="director", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return os.EX_USAGE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("Aborted.", err=True)
        return os.EX_TEMPFAIL
    return outcome if isinstance(outcome, int) else os.EX_OK


def _verb_first(words: list[str]) -> list[str]:
    """Move `-c FILE` and `-o NAME=VALUE` behind the verb, where click looks for them."""
    rest, options = list(words), []
    while rest and rest[0].startswith(("-c", "-o")):
        is_complete = len(rest[0]) > 2
        options += rest[:1] if is_complete else rest[:2]
        rest = rest[1:] if is_complete else rest[2:]
    return [*rest[:1], *options, *rest[1:]]
