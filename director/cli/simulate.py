"""`director simulate`: what a change of the mail hosts would do, without doing it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Literal

import click
from rich.console import Console
from rich.table import Table

from director import settings as configuration
from director.addresses import resolve_name
from director.cli.configured import USUAL_PATH, ConfigRefused, configuration_options, parse_options
from director.config import ConfigError
from director.login_log import Login, LogUnreadable, read_logins
from director.settings import Settings
from director.whatif import (
    Change,
    HostLoad,
    Load,
    Outcome,
    Population,
    apply,
    compare,
    even_population,
    mail_hosts,
)
from ring.address import IpAddress, ip_text, parse_ip
from ring.errors import ValueRefused
from ring.hashing import UserHasher
from ring.hosts import MailHost, MailHosts, parse_mail_servers

HOST_TITLES = (
    "mail host",
    "tag",
    "weight",
    "state",
    "users",
    "users then",
    "sessions",
    "sessions then",
    "percent of share",
)
MOVE_TITLES = ("from", "to", "users", "sessions")
SUM_TITLES = ("users", "sessions")
NO_HOST = "-"


@click.command()
@configuration_options
@click.option(
    "--log",
    "logs",
    multiple=True,
    type=click.File("rb"),
    help="Log of Dovecot's login processes, plain or gzip, - for stdin; may be given again.",
)
@click.option("--remove", metavar="HOST", multiple=True, help="Without this mail host.")
@click.option("--add", metavar="HOST[@TAG]", multiple=True, help="With one more, or a range.")
@click.option("--weight", metavar="HOST=N", multiple=True, help="With this vhost count.")
@click.option("--down", metavar="HOST", multiple=True, help="With this mail host down.")
@click.option(
    "--users",
    "users_count",
    type=click.IntRange(1, 10_000_000),
    default=100_000,
    show_default=True,
    help="Without a log: so many invented users of each tag, evenly spread.",
)
@click.option(
    "-f",
    "style",
    type=click.Choice(("table", "tab", "json")),
    help="How to print; by default a table on a terminal, tab elsewhere.",
)
def simulate(
    config: Path | None,
    options: tuple[str, ...],
    logs: tuple[BufferedReader, ...],
    users_count: int,
    style: str | None,
    **texts: tuple[str, ...],
) -> int:
    """Count who would belong elsewhere if mail hosts came, went or changed, and how even it gets.

    The hosts are those of the configuration, up and of weight 100; nothing is asked of a running
    director and nothing is changed. Each login of the log counts as one session. Users with a host
    keep it until they expire or are moved (`director flush`), unless it is removed or down.
    """
    settings = _load(config, options)
    before, after = mail_hosts(settings.hosts), mail_hosts(settings.hosts)
    try:
        apply(after, _change(after, texts))
    except ValueRefused as error:
        raise click.UsageError(str(error)) from None
    if logs:
        population = _population(logs, settings, before)
    else:
        population = even_population(dict.fromkeys(h.tag for h in before), users_count)
        click.echo(f"No log: {users_count} invented users of each tag, evenly spread.", err=True)
    outcome = compare(population, before, after)
    if style == "table" or (style is None and sys.stdout.isatty()):
        show(Console(), outcome)
    else:
        lines = [_json(outcome)] if style == "json" else _lines(outcome)
        click.echo("".join(lines).encode("utf-8", "surrogateescape"), nl=False)
    return os.EX_OK


def _load(config: Path | None, options: Sequence[str]) -> Settings:
    """Read the configuration of any director, not only of the one on this machine."""
    if config is None and USUAL_PATH.exists():
        config = USUAL_PATH
    try:
        return configuration.load(
            config, parse_options(options), os.environ, can_bind=lambda ip: True
        )
    except ConfigError as error:
        raise ConfigRefused(str(error)) from None


# --- the change -------------------------------------------------------------------------------


def _change(hosts: MailHosts, texts: dict[str, tuple[str, ...]]) -> Change:
    """Read the texts of --remove, --add, --weight and --down."""
    added = parse_mail_servers(" ".join(texts["add"]), resolve_name) if texts["add"] else ()
    return Change(
        removed=tuple(_address(hosts, text) for text in texts["remove"]),
        added=added,
        weights=tuple(_weight(hosts, text) for text in texts["weight"]),
        down=tuple(_address(hosts, text) for text in texts["down"]),
    )


def _weight(hosts: MailHosts, text: str) -> tuple[IpAddress, int]:
    host, _, number = text.rpartition("=")
    if not host or not number.isdecimal():
        raise ValueRefused(f"--weight: got {text!r}, expected HOST=N")
    return _address(hosts, host), int(number)


def _address(hosts: MailHosts, text: str) -> IpAddress:
    """Return the address of a host that is named as in the configuration, or by address."""
    name = text.encode("utf-8", "surrogateescape")
    named = [host.ip for host in hosts if host.hostname == name]
    if len(named) > 1:
        addresses = ", ".join(map(str, named))
        raise ValueRefused(f"{text!r} has several addresses, expected one of them: {addresses}")
    return named[0] if named else parse_ip(text)


# --- the log ----------------------------------------------------------------------------------


def _population(logs: Iterable[BufferedReader], settings: Settings, hosts: MailHosts) -> Population:
    """Return the users of all logs: those that were proxied, or if none was, all who logged in."""
    hash_user = UserHasher(settings.username_hash, settings.director_hash).hash
    tag_of = {ip_text(host.ip).encode(): host.tag for host in hosts}
    tag_of_strangers = hosts.tags[0] if len(hosts.tags) == 1 else b""
    separator = settings.master_user_separator
    proxied, direct = Population(), Population()
    for login in _logins(logs):
        user = login.user.partition(separator)[0] if separator else login.user
        tag = tag_of.get(login.backend, tag_of_strangers)
        (proxied if login.is_proxied else direct).add(tag, hash_user(user))
    if not proxied and not direct:
        raise click.ClickException("no login was found in the log")
    return proxied or direct


def _logins(logs: Iterable[BufferedReader]) -> Iterable[Login]:
    for log in logs:
        try:
            yield from read_logins(log)
        except LogUnreadable as error:
            raise click.ClickException(f"{log.name}: {error}") from None


# --- the answer -------------------------------------------------------------------------------


def _lines(outcome: Outcome) -> Iterable[str]:
    """Yield what scripts read: the first field says what a line is."""
    yield "\t".join(("#host", *HOST_TITLES)) + "\n"
    for load in outcome.hosts:
        yield "\t".join(("host", *_host_cells(load))) + "\n"
    yield "\t".join(("#move", *MOVE_TITLES)) + "\n"
    for old, new, moved in outcome.moves:
        yield "\t".join(("move", _name(old), _name(new), *_counts(moved))) + "\n"
    yield "\t".join(("#total", *SUM_TITLES)) + "\n"
    for title, counted in _sums(outcome).items():
        yield "\t".join((title, *_counts(counted))) + "\n"


def _json(outcome: Outcome) -> str:
    """Return the same in one line; all values are strings, as in the json of the other verbs."""
    answer: dict[str, object] = {
        "hosts": [_object(HOST_TITLES, _host_cells(load)) for load in outcome.hosts],
        "moves": [
            _object(MOVE_TITLES, (_name(old), _name(new), *_counts(moved)))
            for old, new, moved in outcome.moves
        ],
    }
    answer |= {
        title: _object(SUM_TITLES, _counts(counted)) for title, counted in _sums(outcome).items()
    }
    return json.dumps(answer, ensure_ascii=False) + "\n"


def _object(titles: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    return dict(zip((title.replace(" ", "_") for title in titles), cells, strict=True))


def show(console: Console, outcome: Outcome) -> None:
    """Print what a person reads."""
    console.print(
        _table("Mail hosts, now and then", HOST_TITLES, 4, map(_host_cells, outcome.hosts))
    )
    if outcome.moves:
        rows = [(_name(old), _name(new), *_counts(load)) for old, new, load in outcome.moves]
        console.print(_table("Who would belong elsewhere", MOVE_TITLES, 2, rows))
    total, moved, homeless = outcome.total, outcome.moved, outcome.homeless
    console.print(
        f"{moved.users} of {total.users} users ({_percent(moved.users, total.users)}) and "
        f"{moved.sessions} of {total.sessions} sessions "
        f"({_percent(moved.sessions, total.sessions)}) would belong elsewhere."
    )
    if homeless.users:
        console.print(
            f"{homeless.users} users ({homeless.sessions} sessions) would have no mail host.",
            style="bold red",
        )


def _table(
    title: str, titles: Sequence[str], names_count: int, rows: Iterable[Sequence[str]]
) -> Table:
    table = Table(title=title, title_justify="left")
    for index, heading in enumerate(titles):
        justify: Literal["left", "right"] = "left" if index < names_count else "right"
        table.add_column(heading, justify=justify)
    for row in rows:
        table.add_row(*row)
    return table


def _host_cells(load: HostLoad) -> tuple[str, ...]:
    percent = load.percent_of_fair
    tag = load.host.tag.decode("utf-8", "surrogateescape")
    return (
        _name(load.host),
        tag,
        str(load.host.weight),
        load.state,
        str(load.before.users),
        str(load.after.users),
        str(load.before.sessions),
        str(load.after.sessions),
        NO_HOST if percent is None else f"{percent:.0f}",
    )


def _name(host: MailHost | None) -> str:
    return NO_HOST if host is None else host.ip_text.decode()


def _sums(outcome: Outcome) -> dict[str, Load]:
    return {"total": outcome.total, "moved": outcome.moved, "homeless": outcome.homeless}


def _counts(load: Load) -> tuple[str, str]:
    return str(load.users), str(load.sessions)


def _percent(part: int, whole: int) -> str:
    return f"{100.0 * part / whole:.1f} %" if whole else "0 %"
