"""`director demo`: see the main job done, on this machine, in some seconds, without any set-up."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import click
import trio
from rich.console import Console

from director.demo.dovecot import play_with_dovecot
from director.demo.embedded import play_embedded
from director.demo.process import LoginFailed, StoryFailed
from director.demo.show import show_outcome
from director.demo.story import Outcome

DEMO_S = 18.0
"""The demo ends by itself within 20 s, whatever happens."""


@click.command()
@click.option(
    "--dovecot",
    "is_real",
    is_flag=True,
    help="With real Dovecot 2.3 proxies and backends, and a ring of two; needs root.",
)
def demo(is_real: bool) -> int:
    """Show the director at work: logins, a second login, a backend that dies and comes back.

    Everything runs on loopback addresses and in a temporary directory, and is gone afterwards. The
    exit status is 0 only if every user was where the director promises.
    """
    console = Console(highlight=False)
    started_at = time.monotonic()
    outcome: Outcome | None = None
    with tempfile.TemporaryDirectory(prefix="director-demo-") as directory:
        try:
            outcome = trio.run(_play_in_time, Path(directory), console, is_real)
        except* (StoryFailed, LoginFailed, OSError) as errors:
            for line in _messages(errors):
                click.echo(f"The demo could not go on: {line}", err=True)
        except* trio.TooSlowError:
            click.echo(f"The demo did not end within {DEMO_S:g} s.", err=True)
    if outcome is None:
        return os.EX_UNAVAILABLE
    show_outcome(console, outcome)
    console.print(f"{time.monotonic() - started_at:.1f} s; nothing is left behind.")
    return os.EX_OK if outcome.is_good else os.EX_SOFTWARE


async def _play_in_time(directory: Path, console: Console, is_real: bool) -> Outcome:
    play = play_with_dovecot if is_real else play_embedded
    with trio.fail_after(DEMO_S):
        return await play(directory, console.print)


def _messages(errors: BaseExceptionGroup[BaseException]) -> list[str]:
    texts: list[str] = []
    for error in errors.exceptions:
        texts += _messages(error) if isinstance(error, BaseExceptionGroup) else [str(error)]
    return texts
