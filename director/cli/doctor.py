"""`director doctor`: what is wrong with the set-up of this machine, and the line to change."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import click

from director import doctor as examination
from director.cli.admin_client import HANDSHAKE_TIMEOUT_S, AdminClient, Disconnected
from director.cli.configured import configuration_options, load_settings
from director.cli.failures import Fatal
from director.facts import (
    DoveconfFailed,
    Finding,
    Level,
    LocalMachine,
    doveconf,
    read_dovecot,
)
from director.settings import Settings

EXIT_WRONG = 1


@click.command()
@configuration_options
@click.option(
    "--doveconf",
    "program",
    default="doveconf",
    help="Dovecot's program that shows its configuration, if it is not on the PATH.",
)
@click.option(
    "--dovecot-config",
    type=click.Path(path_type=Path),
    help="Dovecot's configuration file, by default the one that the running Dovecot uses.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print only what is wrong.")
def doctor(
    config: Path | None,
    options: tuple[str, ...],
    program: str,
    dovecot_config: Path | None,
    quiet: bool,
) -> int:
    """Compare our settings, Dovecot's and what is really there; print what is wrong.

    Nothing is changed. Run it as root, or it sees only what you may see. The exit status is 0 if
    nothing is wrong, 1 if something is, 78 if our own configuration cannot be used.
    """
    settings = load_settings(config, options)
    findings = examine_here(settings, program, dovecot_config)
    if os.geteuid() != 0:
        text = "not run as root: what only root may see looks as if it were missing"
        findings.insert(0, Finding(Level.NOTE, text, ""))
    wrong_count = sum(finding.level is Level.WRONG for finding in findings)
    shown = [f for f in findings if f.level is Level.WRONG] if quiet else findings
    click.echo(report(shown), nl=False)
    if not quiet:
        click.echo(f"\n{wrong_count or 'Nothing'} wrong.")
    return EXIT_WRONG if wrong_count else os.EX_OK


def examine_here(settings: Settings, program: str, file: Path | None) -> list[Finding]:
    """Examine this machine; a Dovecot that cannot be asked is a finding too."""
    running = settings.base_dir / "dovecot.conf"
    if file is None and running.exists():
        file = running.resolve()  # it is a link, and its includes are beside what it leads to
    try:
        facts = read_dovecot(doveconf(program, file))
    except DoveconfFailed as error:
        return [Finding(Level.WRONG, f"Dovecot's configuration: {error}", _advice(str(error)))]
    status = ring_status(settings.base_dir / "director-admin")
    return examination.examine(settings, facts, LocalMachine(), status)


def ring_status(path: Path) -> str | None:
    """Return what the director says about its ring; empty: has no neighbours; None: no answer."""
    try:
        client = AdminClient(str(path))
    except Fatal:
        return None
    try:
        client.send((b"DIRECTOR-LIST",))
        if not client.has_line(HANDSHAKE_TIMEOUT_S):
            return None
        rows = [[field.decode(errors="replace") for field in row] for row in client.rows()]
    except Disconnected:
        return None
    finally:
        client.close()
    statuses = {row[2]: row[4] for row in rows if len(row) > 4}
    return statuses.get("self", "") if statuses.keys() & {"left", "right"} else ""


def report(findings: Iterable[Finding]) -> str:
    """Return the findings, one line each, with the fix below what is wrong."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.level.value:<6} {finding.text}\n")
        if finding.fix:
            lines.append(f"       -> {finding.fix}\n")
    return "".join(lines)


def _advice(error: str) -> str:
    if "director_" in error:
        return (
            "take the director_* settings out of Dovecot's configuration; they belong to "
            "/etc/ringdirector/director.conf (director migrate moves them)"
        )
    return "correct it; doveconf -n must succeed before Dovecot starts"
