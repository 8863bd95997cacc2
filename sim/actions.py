"""What may happen to a ring: faults, and administrators at work; one frozen value each.

A plan (`plan.py`) is settings plus actions; the swarm draws them, a scenario file spells them, one
a line: `12.500 pause director=2 seconds=8.000`. Directors, mail hosts and users are named by their
number from 1. A fault that lasts says for how many `seconds`; healing ends all of them.

What an action does is in `faults.py`. To add one: a class here, a line in ACTIONS, a method there,
and in `swarm.py` how it is drawn. `login` is not: it is for scenarios in which nobody else comes.
"""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Action:
    at: float


# --- the network ------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Partition(Action):
    """These directors and the rest do not hear each other."""

    side: tuple[int, ...]
    seconds: float


@attrs.frozen(kw_only=True)
class Deafen(Action):
    """A partition in one direction: the rest does not hear these directors, they hear it."""

    side: tuple[int, ...]
    seconds: float


@attrs.frozen(kw_only=True)
class Cut(Action):
    """Two directors do not hear each other, everybody else hears both."""

    one: int
    other: int
    seconds: float


@attrs.frozen(kw_only=True)
class Flap(Action):
    """The path between two directors is cut and mended every `period_s`."""

    one: int
    other: int
    period_s: float
    seconds: float


@attrs.frozen(kw_only=True)
class Clog(Action):
    """Everything from one director to another takes `extra_s` longer."""

    one: int
    other: int
    extra_s: float
    seconds: float


@attrs.frozen(kw_only=True)
class Reset(Action):
    """All connections between two directors break; both ends are told."""

    one: int
    other: int


@attrs.frozen(kw_only=True)
class Silence(Action):
    """All connections between two directors are dead, and nobody is told."""

    one: int
    other: int


@attrs.frozen(kw_only=True)
class Refuse(Action):
    """New connections to a director are refused."""

    director: int
    seconds: float


@attrs.frozen(kw_only=True)
class Slow(Action):
    """A director reads only so many bytes a second from each connection."""

    director: int
    bytes_per_s: int
    seconds: float


@attrs.frozen(kw_only=True)
class Stray(Action):
    """A second connection arrives from a director's address: `mute`, `garbage` or `cut`."""

    director: int
    source: int
    kind: str
    seconds: float


# --- machines and processes -------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Crash(Action):
    """The director process dies and is started again; its proxies and their sessions live on.

    `snapshot` is what it finds: `none`, `new` (of the last seconds) or `old`.
    """

    director: int
    snapshot: str
    seconds: float


@attrs.frozen(kw_only=True)
class PowerLoss(Action):
    """The whole machine is gone, its sessions too, and nobody is told; it comes back empty."""

    director: int
    seconds: float


@attrs.frozen(kw_only=True)
class Leave(Action):
    """The director is stopped cleanly and started again."""

    director: int
    seconds: float


@attrs.frozen(kw_only=True)
class Reconfigure(Action):
    """A director is restarted with an edited configuration: the host is taken out, or put in.

    The others are not, so that their lists differ.
    """

    director: int
    host: int
    seconds: float


@attrs.frozen(kw_only=True)
class Pause(Action):
    """The process stands still (SIGSTOP, a hung disk); its kernel goes on accepting."""

    director: int
    seconds: float


@attrs.frozen(kw_only=True)
class Jump(Action):
    """The wall clock of a machine jumps."""

    director: int
    by_s: float


@attrs.frozen(kw_only=True)
class AuthAway(Action):
    """The auth service of a machine does not answer; its logins come in a burst afterwards."""

    director: int
    seconds: float


@attrs.frozen(kw_only=True)
class KickTrouble(Action):
    """Kicks on a machine `fail` at once, or `hang` until the shell gives them up, undone."""

    director: int
    kind: str
    seconds: float


@attrs.frozen(kw_only=True)
class FlushTrouble(Action):
    """Flush programs started by a director `fail`, or `hang` until they are aborted."""

    director: int
    kind: str
    seconds: float


# --- administrators ---------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class SetWeight(Action):
    """Also adds a host that is not there."""

    director: int
    host: int
    weight: int


@attrs.frozen(kw_only=True)
class SetDown(Action):
    director: int
    host: int


@attrs.frozen(kw_only=True)
class SetUp(Action):
    director: int
    host: int


@attrs.frozen(kw_only=True)
class RemoveHost(Action):
    director: int
    host: int


@attrs.frozen(kw_only=True)
class ForgetUsers(Action):
    """`flush -F`: forget a host's users without kicking them."""

    director: int
    host: int


@attrs.frozen(kw_only=True)
class MoveUsers(Action):
    """`flush`: move a host's users to where they belong (0: of all hosts)."""

    director: int
    host: int


@attrs.frozen(kw_only=True)
class MoveUser(Action):
    director: int
    user: int
    host: int


@attrs.frozen(kw_only=True)
class Contradict(Action):
    """Two administrators disagree on two directors, `apart_s` after each other.

    `kind` is `move` (the user to the one host and to the other), or `weight`, `updown` or `remove`
    (the host; `remove`: the second changes what the first takes away).
    """

    director: int
    other: int
    kind: str
    user: int
    host: int
    other_host: int
    apart_s: float


@attrs.frozen(kw_only=True)
class KickUser(Action):
    director: int
    user: int


@attrs.frozen(kw_only=True)
class RemoveDirector(Action):
    """A director is stopped for good, then taken out of the ring by an administrator of another."""

    director: int
    removed: int


@attrs.frozen(kw_only=True)
class Burst(Action):
    """This many users log in within a tenth of a second."""

    director: int
    logins: int


@attrs.frozen(kw_only=True)
class Login(Action):
    """A user logs in through a director's proxy and stays for so long; never drawn."""

    director: int
    user: int
    seconds: float


ACTIONS: dict[str, type[Action]] = {
    "partition": Partition,
    "deafen": Deafen,
    "cut": Cut,
    "flap": Flap,
    "clog": Clog,
    "reset": Reset,
    "silence": Silence,
    "refuse": Refuse,
    "slow": Slow,
    "stray": Stray,
    "crash": Crash,
    "power-loss": PowerLoss,
    "leave": Leave,
    "pause": Pause,
    "jump": Jump,
    "auth-away": AuthAway,
    "kick-trouble": KickTrouble,
    "flush-trouble": FlushTrouble,
    "weight": SetWeight,
    "down": SetDown,
    "up": SetUp,
    "remove-host": RemoveHost,
    "forget-users": ForgetUsers,
    "move-users": MoveUsers,
    "move-user": MoveUser,
    "contradict": Contradict,
    "kick-user": KickUser,
    "remove-director": RemoveDirector,
    "burst": Burst,
    "reconfigure": Reconfigure,
    "login": Login,
}

VERBS: dict[type[Action], str] = {kind: verb for verb, kind in ACTIONS.items()}


def verb_of(action: Action) -> str:
    return VERBS[type(action)]


def format_action(action: Action) -> str:
    """Return the action as one line of a scenario file."""
    words = [f"{action.at:.3f}", verb_of(action)]
    for field in attrs.fields(type(action)):
        if field.name != "at":
            words.append(f"{field.name}={_format(getattr(action, field.name))}")
    return " ".join(words)


def parse_action(line: str) -> Action:
    """Return the action that a line of a scenario file spells.

    Raises:
        ValueError: it is none; the message says what was expected.
    """
    at, verb, *words = line.split()
    kind = ACTIONS.get(verb)
    if kind is None:
        raise ValueError(f"{line!r}: {verb!r} is no action, expected one of {', '.join(ACTIONS)}")
    given = dict(word.split("=", 1) for word in words if "=" in word)
    fields = {field.name: str(field.type) for field in attrs.fields(kind) if field.name != "at"}
    if len(given) != len(words) or set(given) != set(fields):
        raise ValueError(f"{line!r}: {verb} takes {' '.join(f'{name}=...' for name in fields)}")
    values = {name: _parse(given[name], fields[name]) for name in fields}
    return kind(at=float(at), **values)


def _format(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _parse(text: str, kind: str) -> object:
    if kind.startswith("tuple"):
        return tuple(int(number) for number in text.split(","))
    if kind == "float":
        return float(text)
    return int(text) if kind == "int" else text
