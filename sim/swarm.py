"""Draws a plan from a seed: which faults may happen in this run, how strong, and when.

Swarm testing: each run enables a random subset of the kinds of faults, so that some runs are calm
enough for the strict promises and others concentrate on one combination. Each kind and each action
draws from streams of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import attrs

from ring.lifetime import expiry_margin_s
from sim import actions
from sim.actions import Action
from sim.plan import Plan, changed
from sim.randomness import Stream

PACES = ("rush", "daily")
"""What a run is like. `rush`: a minute in which sessions last seconds and several faults of each
kind overlap, to meet races. `daily`: hours of a small installation, with Dovecot's default expiry,
sessions of minutes, and a few faults of each kind an hour, to meet what needs time."""

KIND_PROBABILITY = 0.22
CALM_PROBABILITY = 0.08
BUSY_PROBABILITY = 0.25
BUSY_KIND_PROBABILITY = 0.5
"""In so many runs nothing fails and administrators are busy, so that what is promised of their work
holds without any excuse."""

POLLING_PROBABILITY = 0.25
ACTIONS_MAX = 5

START_S = 4.0
"""Actions begin when all directors have been started."""

ADMINISTRATION = (
    "weight",
    "down",
    "up",
    "move-users",
    "move-user",
    "contradict",
    "kick-user",
    "burst",
)
"""What administrators do without making the ring forget users, and logins in a burst."""

_STAY_UP = 2
"""So many mail hosts are never taken down or removed, so that users have somewhere to go."""


def draw_plan(
    seed: int,
    *,
    directors: int | None = None,
    users: int | None = None,
    hours: float | None = None,
    faults: Iterable[str] | None = None,
    codec: str | None = None,
    pace: str = "rush",
    settings: Mapping[str, object] | None = None,
) -> Plan:
    """Return the plan of a seed; what is given is not drawn.

    `settings` are any others of a plan, by name.
    """
    stream = Stream(seed, "swarm")
    drawn_directors = stream.choice((1, 2, 2, 3, 3, 3, 4, 4, 5, 6))
    drawn_codec = stream.choice(("native", "native", "native", "classic", "mixed"))
    drawn_users = stream.choice((10, 25, 40))
    directors = directors or drawn_directors
    expire_s = stream.choice((20, 30, 40))
    margin_s = max(3, expire_s // 10)
    drawn_faults_s = stream.uniform(30.0, 60.0)
    habits = Stream(seed, "habits")
    plan = Plan(
        seed=seed,
        directors=directors,
        codec=drawn_codec,
        users=drawn_users,
        devices=stream.choice((1, 2, 2, 3)),
        hosts=stream.choice((3, 4, 6)),
        tags=stream.choice((1, 1, 1, 2)),
        faults_s=round(drawn_faults_s, 3),
        expire_s=expire_s,
        kick_delay_s=stream.choice((0.5, 2.0)),
        kick_s=habits.choice((0.02, 0.02, 0.02, 3.0)),
        session_s=stream.choice((4.0, 8.0, 20.0)),
        pause_s=stream.choice((4.0, 10.0, 25.0)),
        latency_s=stream.choice((0.0005, 0.002, 0.02)),
        jitter_s=stream.choice((0.0, 0.002, 0.05)),
        chunk=stream.choice((0, 0, 1, 7, 100)),
        window_bytes=stream.choice((262144, 262144, 4096)),
        skew_s=stream.choice((0.0, 0.0, max(0.0, (margin_s - 2.2) / 2))),
        has_flush_program=stream.chance(0.3),
        missing=stream.choice((0, 0, 0, 1)) if directors > 3 else 0,
        abandon=stream.choice((0.0, 0.0, 0.3)),
        batch_s=stream.choice((0.0, 0.0, 0.0, 0.02)),
    )
    if pace == "daily":
        plan = _daily(plan)
    elif habits.chance(POLLING_PROBABILITY):
        plan = _polling(plan)
    given = {"users": users, "faults_s": hours and round(hours * 3600.0, 3), "codec": codec}
    given = {name: value for name, value in given.items() if value}
    plan = changed(plan, {**given, **(settings or {})})
    enabled = set(faults) if faults is not None else _enabled(plan, stream)
    if plan.missing:
        enabled.discard("remove-director")  # the rest might not know each other
    return _with_actions(plan, enabled, span_s=3600.0 if pace == "daily" else 60.0)


def _daily(plan: Plan) -> Plan:
    """Return the plan at the pace of every day."""
    stream = Stream(plan.seed, "daily")
    expire_s = 900
    return attrs.evolve(
        plan,
        chunk=0,  # what pieces can do is seen in a rush, at a fraction of the events
        users=stream.choice((40, 100, 200)),
        faults_s=round(stream.uniform(3600.0, 4 * 3600.0), 3),
        expire_s=expire_s,
        kick_delay_s=2.0,
        session_s=stream.choice((60.0, 600.0, 1800.0)),
        pause_s=stream.choice((300.0, 1200.0, 3600.0)),
        skew_s=(expiry_margin_s(expire_s) - 2.2) / 2 if plan.skew_s else 0.0,
    )


def _polling(plan: Plan) -> Plan:
    """Return the plan with users who come back when clocks disagree on whether they expired."""
    expire_s = 60
    skew_s = (expiry_margin_s(expire_s) - 2.2) / 2
    return attrs.evolve(
        plan,
        is_polling=True,
        devices=max(2, plan.devices),
        expire_s=expire_s,
        skew_s=skew_s,
        faults_s=150.0,
    )


def _enabled(plan: Plan, stream: Stream) -> set[str]:
    if stream.chance(CALM_PROBABILITY):
        return set()
    temper = Stream(plan.seed, "temper")
    if temper.chance(BUSY_PROBABILITY):
        enabled = {verb for verb in ADMINISTRATION if temper.chance(BUSY_KIND_PROBABILITY)}
    else:
        enabled = {verb for verb in DRAWERS if stream.chance(KIND_PROBABILITY)}
    if plan.is_polling:
        enabled.add("weight")  # so that users do not belong any more where they are
    return enabled


def _with_actions(plan: Plan, enabled: set[str], span_s: float) -> Plan:
    """Draw up to ACTIONS_MAX of each kind for each `span_s`."""
    drawn: list[Action] = []
    for verb in DRAWERS:
        if verb not in enabled:
            continue
        stream = Stream(plan.seed, "kind", verb)
        count = max(1, round(plan.faults_s / span_s * stream.integer(1, ACTIONS_MAX)))
        for index in range(count):
            action = _draw(verb, plan, Stream(plan.seed, "action", verb, index))
            if action is not None:
                drawn.append(action)
    drawn.sort(key=lambda action: (action.at, actions.verb_of(action)))
    return attrs.evolve(plan, actions=tuple(drawn))


def _draw(verb: str, plan: Plan, stream: Stream) -> Action | None:
    at = round(stream.uniform(START_S, plan.faults_s - 1.0), 3)
    return DRAWERS[verb](plan, stream, at)


# --- one drawer per kind ------------------------------------------------------------------------


def _director(plan: Plan, stream: Stream) -> int:
    return stream.integer(1, plan.directors)


def _pair(plan: Plan, stream: Stream) -> tuple[int, int] | None:
    """Two directors, mostly neighbours."""
    if plan.directors < 2:
        return None
    one = _director(plan, stream)
    step = 1 if stream.chance(0.7) else stream.integer(1, plan.directors - 1)
    return one, (one - 1 + step) % plan.directors + 1


def _side(plan: Plan, stream: Stream) -> tuple[int, ...] | None:
    if plan.directors < 2:
        return None
    numbers = list(range(1, plan.directors + 1))
    return tuple(sorted(stream.sample(numbers, stream.integer(1, plan.directors // 2))))


def _seconds(stream: Stream) -> float:
    return round(stream.choice((0.3, 2.0, 6.0, 15.0, 30.0)) * stream.uniform(0.5, 1.5), 3)


def _partition(plan: Plan, stream: Stream, at: float) -> Action | None:
    side = _side(plan, stream)
    return (side and actions.Partition(at=at, side=side, seconds=_seconds(stream))) or None


def _deafen(plan: Plan, stream: Stream, at: float) -> Action | None:
    side = _side(plan, stream)
    return (side and actions.Deafen(at=at, side=side, seconds=_seconds(stream))) or None


def _cut(plan: Plan, stream: Stream, at: float) -> Action | None:
    pair = _pair(plan, stream)
    if pair is None:
        return None
    return actions.Cut(at=at, one=pair[0], other=pair[1], seconds=_seconds(stream))


def _flap(plan: Plan, stream: Stream, at: float) -> Action | None:
    pair = _pair(plan, stream)
    if pair is None:
        return None
    period_s = round(stream.choice((0.2, 1.0, 4.0)), 3)
    return actions.Flap(
        at=at, one=pair[0], other=pair[1], period_s=period_s, seconds=_seconds(stream)
    )


def _clog(plan: Plan, stream: Stream, at: float) -> Action | None:
    pair = _pair(plan, stream)
    if pair is None:
        return None
    return actions.Clog(
        at=at,
        one=pair[0],
        other=pair[1],
        extra_s=stream.choice((0.05, 0.3, 0.9, 3.0, 12.0)),
        seconds=_seconds(stream),
    )


def _reset(plan: Plan, stream: Stream, at: float) -> Action | None:
    pair = _pair(plan, stream)
    return (pair and actions.Reset(at=at, one=pair[0], other=pair[1])) or None


def _silence(plan: Plan, stream: Stream, at: float) -> Action | None:
    pair = _pair(plan, stream)
    return (pair and actions.Silence(at=at, one=pair[0], other=pair[1])) or None


def _refuse(plan: Plan, stream: Stream, at: float) -> Action:
    return actions.Refuse(at=at, director=_director(plan, stream), seconds=_seconds(stream))


def _slow(plan: Plan, stream: Stream, at: float) -> Action:
    return actions.Slow(
        at=at,
        director=_director(plan, stream),
        bytes_per_s=stream.choice((2000, 20000, 200000)),
        seconds=_seconds(stream),
    )


def _stray(plan: Plan, stream: Stream, at: float) -> Action | None:
    pair = _pair(plan, stream)
    if pair is None:
        return None
    return actions.Stray(
        at=at,
        director=pair[0],
        source=pair[1],
        kind=stream.choice(("mute", "garbage", "cut")),
        seconds=_seconds(stream),
    )


def _crash(plan: Plan, stream: Stream, at: float) -> Action:
    return actions.Crash(
        at=at,
        director=_director(plan, stream),
        snapshot=stream.choice(("none", "none", "new", "old")),
        seconds=_seconds(stream),
    )


def _power_loss(plan: Plan, stream: Stream, at: float) -> Action:
    return actions.PowerLoss(at=at, director=_director(plan, stream), seconds=_seconds(stream))


def _leave(plan: Plan, stream: Stream, at: float) -> Action:
    return actions.Leave(at=at, director=_director(plan, stream), seconds=_seconds(stream))


def _reconfigure(plan: Plan, stream: Stream, at: float) -> Action:
    return actions.Reconfigure(
        at=at,
        director=_director(plan, stream),
        host=stream.integer(1, plan.hosts + 1),
        seconds=_seconds(stream),
    )


def _pause(plan: Plan, stream: Stream, at: float) -> Action:
    return actions.Pause(at=at, director=_director(plan, stream), seconds=_seconds(stream))


def _jump(plan: Plan, stream: Stream, at: float) -> Action:
    by_s = stream.choice((-100.0, -8.0, 8.0, 100.0)) * stream.uniform(0.2, 1.0)
    return actions.Jump(at=at, director=_director(plan, stream), by_s=round(by_s, 3))


def _auth_away(plan: Plan, stream: Stream, at: float) -> Action:
    return actions.AuthAway(at=at, director=_director(plan, stream), seconds=_seconds(stream))


def _kick_trouble(plan: Plan, stream: Stream, at: float) -> Action:
    kind = stream.choice(("fail", "hang"))
    return actions.KickTrouble(
        at=at, director=_director(plan, stream), kind=kind, seconds=_seconds(stream)
    )


def _flush_trouble(plan: Plan, stream: Stream, at: float) -> Action:
    kind = stream.choice(("fail", "hang"))
    return actions.FlushTrouble(
        at=at, director=_director(plan, stream), kind=kind, seconds=_seconds(stream)
    )


def _host(plan: Plan, stream: Stream) -> int:
    """A mail host that may be taken away."""
    return stream.integer(min(plan.hosts, _STAY_UP * plan.tags + 1), plan.hosts)


def _set_weight(plan: Plan, stream: Stream, at: float) -> Action:
    return actions.SetWeight(
        at=at,
        director=_director(plan, stream),
        host=stream.integer(1, plan.hosts + 1),
        weight=stream.choice((20, 50, 100, 300)),
    )


def _set_down(plan: Plan, stream: Stream, at: float) -> Action:
    return actions.SetDown(at=at, director=_director(plan, stream), host=_host(plan, stream))


def _set_up(plan: Plan, stream: Stream, at: float) -> Action:
    return actions.SetUp(at=at, director=_director(plan, stream), host=_host(plan, stream))


def _remove_host(plan: Plan, stream: Stream, at: float) -> Action:
    return actions.RemoveHost(at=at, director=_director(plan, stream), host=_host(plan, stream))


def _forget_users(plan: Plan, stream: Stream, at: float) -> Action:
    return actions.ForgetUsers(at=at, director=_director(plan, stream), host=_host(plan, stream))


def _move_users(plan: Plan, stream: Stream, at: float) -> Action:
    host = _host(plan, stream) if stream.chance(0.7) else 0
    return actions.MoveUsers(at=at, director=_director(plan, stream), host=host)


def _hosts_of(plan: Plan, user: int) -> list[int]:
    """Return the mail hosts that a user may be moved to: those of its tag."""
    return [host for host in range(1, plan.hosts + 1) if plan.tag_of(host) == plan.tag_of(user)]


def _move_user(plan: Plan, stream: Stream, at: float) -> Action:
    user = stream.integer(1, plan.users)
    hosts = _hosts_of(plan, user)
    return actions.MoveUser(
        at=at, director=_director(plan, stream), user=user, host=stream.choice(hosts)
    )


def _contradict(plan: Plan, stream: Stream, at: float) -> Action | None:
    pair = _pair(plan, stream)
    if pair is None:
        return None
    user = stream.integer(1, plan.users)
    hosts = _hosts_of(plan, user)
    if len(hosts) < 2:
        return None
    kind = stream.choice(("move", "weight", "updown", "remove"))
    host, other_host = stream.sample(hosts, 2)
    return actions.Contradict(
        at=at,
        director=pair[0],
        other=pair[1],
        kind=kind,
        user=user,
        host=_host(plan, stream) if kind in ("updown", "remove") else host,
        other_host=other_host,
        apart_s=stream.choice((0.0, 0.001, 0.02, 0.5)),
    )


def _kick_user(plan: Plan, stream: Stream, at: float) -> Action:
    return actions.KickUser(
        at=at, director=_director(plan, stream), user=stream.integer(1, plan.users)
    )


def _remove_director(plan: Plan, stream: Stream, at: float) -> Action | None:
    pair = _pair(plan, stream)
    if pair is None or stream.chance(0.5):
        return None
    return actions.RemoveDirector(at=at, director=pair[0], removed=pair[1])


def _burst(plan: Plan, stream: Stream, at: float) -> Action:
    return actions.Burst(
        at=at, director=_director(plan, stream), logins=stream.choice((20, 60, 200))
    )


Drawer = Callable[[Plan, Stream, float], Action | None]

DRAWERS: dict[str, Drawer] = {
    "partition": _partition,
    "deafen": _deafen,
    "cut": _cut,
    "flap": _flap,
    "clog": _clog,
    "reset": _reset,
    "silence": _silence,
    "refuse": _refuse,
    "slow": _slow,
    "stray": _stray,
    "crash": _crash,
    "power-loss": _power_loss,
    "leave": _leave,
    "pause": _pause,
    "jump": _jump,
    "auth-away": _auth_away,
    "kick-trouble": _kick_trouble,
    "flush-trouble": _flush_trouble,
    "weight": _set_weight,
    "down": _set_down,
    "up": _set_up,
    "remove-host": _remove_host,
    "forget-users": _forget_users,
    "move-users": _move_users,
    "move-user": _move_user,
    "contradict": _contradict,
    "kick-user": _kick_user,
    "remove-director": _remove_director,
    "burst": _burst,
    "reconfigure": _reconfigure,
}
