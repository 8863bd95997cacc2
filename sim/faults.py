"""What each action of a plan does to the world.

A fault that no protocol can hide opens a window (`windows.py`); trouble that only slows things
down is noted as such. Whatever lasts leaves behind what ends it; `heal` ends all of it and starts
every director again that is not there.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from ring import commands
from ring.settings import HostSetting
from sim import actions
from sim.machine import Machine, Snapshot
from sim.network import Connection, Mark
from sim.randomness import Stream
from sim.workload import Device

if TYPE_CHECKING:
    from sim.world import World

CLOG_WINDOW_S = 1.0
"""A path that is slower than this is taken for dead by its ends."""

LEAVE_S = 0.5
STRAY_BYTES = {
    "mute": b"",
    "garbage": b"\x00\xff\xff\xff\xffGET / HTTP/1.0\r\n\r\n",
    "cut": b"VERSION\tdirector\t1\t9\nME\t10.",
}

Performer = Callable[..., None]  # each takes the type it is registered for


class Faults:
    def __init__(self, world: World) -> None:
        self._world = world
        self.counts: Counter[str] = Counter()
        self._active: dict[int, Callable[[], None]] = {}
        self._removed: set[int] = set()
        self._ids = 0
        self._performers: dict[type[actions.Action], Performer] = {
            actions.Partition: self._partition,
            actions.Deafen: self._deafen,
            actions.Cut: self._cut,
            actions.Flap: self._flap,
            actions.Clog: self._clog,
            actions.Reset: self._reset,
            actions.Silence: self._silence,
            actions.Refuse: self._refuse,
            actions.Slow: self._slow,
            actions.Stray: self._stray,
            actions.Crash: self._crash,
            actions.PowerLoss: self._power_loss,
            actions.Leave: self._leave,
            actions.Reconfigure: self._reconfigure,
            actions.Pause: self._pause,
            actions.Jump: self._jump,
            actions.AuthAway: self._auth_away,
            actions.KickTrouble: self._kick_trouble,
            actions.FlushTrouble: self._flush_trouble,
            actions.SetWeight: self._set_weight,
            actions.SetDown: self._set_down,
            actions.SetUp: self._set_up,
            actions.RemoveHost: self._remove_host,
            actions.ForgetUsers: self._forget_users,
            actions.MoveUsers: self._move_users,
            actions.MoveUser: self._move_user,
            actions.Contradict: self._contradict,
            actions.KickUser: self._kick_user,
            actions.RemoveDirector: self._remove_director,
            actions.Burst: self._burst,
            actions.Login: self._login,
        }

    def perform(self, action: actions.Action) -> None:
        world = self._world
        verb = actions.verb_of(action)
        self.counts[verb] += 1
        world.promises.faults.disturbed_at = world.now
        words = actions.format_action(action).split()[2:]
        world.trace.add(world.now, "-----", f"! {verb}", " ".join(words))
        self._performers[type(action)](action)

    def heal(self) -> None:
        """End everything that is wrong."""
        world = self._world
        world.trace.add(world.now, "-----", "! heal")
        world.promises.faults.disturbed_at = world.now
        for end in list(self._active.values()):
            end()
        self._active.clear()
        for machine in world.machines:
            if machine.is_off and machine.number not in self._removed:
                machine.start()

    @property
    def removed(self) -> set[int]:
        return self._removed

    def _lasts(self, seconds: float, *ends: Callable[[], None]) -> None:
        """Call `ends` after some seconds, or when the world is healed."""
        self._ids += 1
        fault_id = self._ids

        def end() -> None:
            if self._active.pop(fault_id, None) is not None:
                for one in ends:
                    one()

        self._active[fault_id] = end
        self._world.at(self._world.now + seconds, end)

    def _machine(self, number: int) -> Machine:
        return self._world.machines[number - 1]

    def _window(self, name: str, *directors: int) -> Callable[[], None]:
        return self._world.promises.faults.open(name, *directors)

    # --- network ----------------------------------------------------------------------------------

    def _partition(self, action: actions.Partition) -> None:
        inside, outside = self._sides(action.side)
        paths = [(a, b) for a in inside for b in outside]
        mend = self._world.network.cut(paths + [(b, a) for a, b in paths])
        self._lasts(action.seconds, mend, self._window("partition"))

    def _deafen(self, action: actions.Deafen) -> None:
        inside, outside = self._sides(action.side)
        mend = self._world.network.cut([(a, b) for a in inside for b in outside])
        self._lasts(action.seconds, mend, self._window("one-way partition"))

    def _sides(self, side: tuple[int, ...]) -> tuple[list[int], list[int]]:
        numbers = [machine.number for machine in self._world.machines]
        return [n for n in numbers if n in side], [n for n in numbers if n not in side]

    def _cut(self, action: actions.Cut) -> None:
        one, other = action.one, action.other
        mend = self._world.network.cut([(one, other), (other, one)])
        self._lasts(action.seconds, mend, self._window("cut path", one, other))

    def _flap(self, action: actions.Flap) -> None:
        world = self._world
        end_at = world.now + action.seconds
        period_s = action.period_s

        def down() -> None:
            if world.now < end_at and self._is_faulty:
                one, other = action.one, action.other
                mend = world.network.cut([(one, other), (other, one)])
                self._lasts(period_s, mend)
                world.at(world.now + 2 * period_s, down)

        self._lasts(action.seconds, self._window("flapping path", action.one, action.other))
        down()

    @property
    def _is_faulty(self) -> bool:
        return self._world.now < self._world.plan.faults_s

    def _clog(self, action: actions.Clog) -> None:
        ends = [self._world.network.clog(action.one, action.other, action.extra_s)]
        if action.extra_s >= CLOG_WINDOW_S:
            ends.append(self._window("clogged path", action.one, action.other))
        self._lasts(action.seconds, *ends, self._world.trouble_begins("clog"))

    def _reset(self, action: actions.Reset) -> None:
        self._world.trouble_begins("reset")()
        for connection in self._world.network.between(action.one, action.other):
            self._world.network.reset(connection)

    def _silence(self, action: actions.Silence) -> None:
        for connection in self._world.network.between(action.one, action.other):
            self._world.network.silence(connection)
        self._lasts(5.0, self._window("half-open connection", action.one, action.other))

    def _refuse(self, action: actions.Refuse) -> None:
        end = self._world.network.refuse(action.director)
        self._lasts(action.seconds, end, self._world.trouble_begins("refuse"))

    def _slow(self, action: actions.Slow) -> None:
        machine = self._machine(action.director)
        machine.bytes_per_s = action.bytes_per_s

        def end() -> None:
            machine.bytes_per_s = 0

        self._lasts(action.seconds, end, self._world.trouble_begins("slow"))

    def _stray(self, action: actions.Stray) -> None:
        world = self._world
        source, target = self._machine(action.source), self._machine(action.director)
        if target.is_off or source is target:
            return
        world.has_strays = True
        connection = Connection(source, target)
        near, far = connection.ends
        near.link_id = -1  # no node knows of this end
        far.incarnation = target.incarnation
        world.network.connections.append(connection)
        target.post(target.accepted, far)
        if STRAY_BYTES[action.kind]:
            near.outgoing.send(STRAY_BYTES[action.kind])
        self._lasts(action.seconds, lambda: near.vanish(Mark.END))

    # --- machines ---------------------------------------------------------------------------------

    def _crash(self, action: actions.Crash) -> None:
        machine = self._machine(action.director)
        if machine.is_off:
            return
        snapshot = self._snapshot(machine, action.snapshot)
        self._memory_lost(machine)
        machine.stop(has_power=True)
        window = self._window("crash", machine.number)
        self._lasts(action.seconds, lambda: self._start(machine, snapshot), window)

    def _snapshot(self, machine: Machine, kind: str) -> Snapshot | None:
        if kind == "none" or not machine.snapshots:
            return None
        return machine.snapshots[0 if kind == "old" else -1]

    def _memory_lost(self, machine: Machine) -> None:
        """What only this director knew is gone; sessions through it live on unknown."""
        world = self._world
        is_last = len(world.live()) == 1
        if is_last or world.promises.window():
            for user in world.workload.users:
                for session in user.sessions:
                    if session.machine is machine or is_last:
                        session.forgive("memory lost", world.now)

    def _start(self, machine: Machine, snapshot: Snapshot | None = None) -> None:
        if machine.is_off and machine.number not in self._removed:
            machine.start(snapshot)

    def _power_loss(self, action: actions.PowerLoss) -> None:
        machine = self._machine(action.director)
        if machine.is_off:
            return
        self._memory_lost(machine)
        machine.stop(has_power=False)
        window = self._window("power loss", machine.number)
        self._lasts(action.seconds, lambda: self._start(machine), window)

    def _leave(self, action: actions.Leave) -> None:
        machine = self._machine(action.director)
        if machine.is_off or machine.is_paused:
            return
        self._memory_lost(machine)
        machine.shut_down()
        self._world.trouble_begins("leave")()
        self._lasts(action.seconds, lambda: self._start(machine))

    def _reconfigure(self, action: actions.Reconfigure) -> None:
        """What a lone director forgets so, the ring of others remembers."""
        machine = self._machine(action.director)
        if machine.is_off or machine.is_paused:
            return
        world = self._world
        ip = world.host_ip(action.host)
        settings = machine.settings
        hosts = tuple(host for host in settings.hosts if host.ip != ip)
        if len(hosts) == len(settings.hosts):
            hosts = (*hosts, HostSetting(ip=ip, tag=world.plan.tag_of(action.host)))
        machine.settings = attrs.evolve(settings, hosts=hosts)
        if len(world.live()) == 1:
            world.promises.one_host.forgotten(ip)
        self._memory_lost(machine)
        machine.shut_down()
        world.trouble_begins("leave")()
        self._lasts(action.seconds, lambda: self._start(machine))

    def _pause(self, action: actions.Pause) -> None:
        machine = self._machine(action.director)
        if machine.is_off or machine.is_paused:
            return
        machine.pause()
        self._lasts(action.seconds, machine.resume, self._window("pause", machine.number))

    def _jump(self, action: actions.Jump) -> None:
        machine = self._machine(action.director)
        promises = self._world.promises
        machine.set_skew(machine.skew_s + action.by_s)
        promises.worst_jump_s = max(promises.worst_jump_s, machine.skew_s)
        if abs(machine.skew_s) + self._world.plan.skew_s > promises.margin_s():
            promises.has_clock_window = True
            back = functools.partial(machine.set_skew, machine.first_skew_s)
            window = promises.faults.open("clock skew", is_of_clocks=True)
            self._lasts(1e9, back, window)

    def _auth_away(self, action: actions.AuthAway) -> None:
        machine = self._machine(action.director)
        workload = self._world.workload
        workload.auth_away(machine)
        self._lasts(action.seconds, lambda: workload.auth_back(machine))

    def _kick_trouble(self, action: actions.KickTrouble) -> None:
        machine = self._machine(action.director)
        machine.kick_trouble = action.kind

        def end() -> None:
            machine.kick_trouble = ""

        self._lasts(action.seconds, end, self._world.trouble_begins("kick-trouble"))

    def _flush_trouble(self, action: actions.FlushTrouble) -> None:
        machine = self._machine(action.director)
        machine.flush_trouble = action.kind

        def end() -> None:
            machine.flush_trouble = ""

        self._lasts(action.seconds, end, self._world.trouble_begins("kick-trouble"))

    # --- administrators ---------------------------------------------------------------------------

    def _command(self, number: int, command: commands.Command) -> None:
        self._world.administrators.command(number, command)

    def _set_weight(self, action: actions.SetWeight) -> None:
        tag = self._world.plan.tag_of(action.host)
        ip = self._world.host_ip(action.host)
        self._command(action.director, commands.HostSet(ip=ip, tag=tag, weight=action.weight))

    def _set_down(self, action: actions.SetDown) -> None:
        self._command(action.director, commands.HostDown(self._world.host_ip(action.host)))

    def _set_up(self, action: actions.SetUp) -> None:
        self._command(action.director, commands.HostUp(self._world.host_ip(action.host)))

    def _remove_host(self, action: actions.RemoveHost) -> None:
        ip = self._world.host_ip(action.host)
        self._world.promises.one_host.forgotten(ip)
        self._command(action.director, commands.HostRemove(ip))

    def _forget_users(self, action: actions.ForgetUsers) -> None:
        ip = self._world.host_ip(action.host)
        self._world.promises.one_host.forgotten(ip)
        self._command(action.director, commands.HostFlush(ip))

    def _move_users(self, action: actions.MoveUsers) -> None:
        ip = self._world.host_ip(action.host) if action.host else None
        self._command(action.director, commands.HostResetUsers(ip=ip, parallel_max=None))

    def _move_user(self, action: actions.MoveUser) -> None:
        user = self._world.workload.users[action.user - 1]
        ip = self._world.host_ip(action.host)
        self._command(action.director, commands.UserMove(user_hash=user.user_hash, ip=ip))

    def _contradict(self, action: actions.Contradict) -> None:
        world = self._world
        ip = world.host_ip(action.host)
        first: commands.Command
        second: commands.Command
        if action.kind == "move":
            user_hash = world.workload.users[action.user - 1].user_hash
            first = commands.UserMove(user_hash=user_hash, ip=ip)
            other_ip = world.host_ip(action.other_host)
            second = commands.UserMove(user_hash=user_hash, ip=other_ip)
        elif action.kind == "weight":
            first = commands.HostUpdate(ip=ip, tag=b"", weight=30)
            second = commands.HostUpdate(ip=ip, tag=b"", weight=200)
        elif action.kind == "remove":
            world.promises.one_host.forgotten(ip)
            first = commands.HostRemove(ip)
            second = commands.HostUpdate(ip=ip, tag=b"", weight=200)
        else:
            first, second = commands.HostDown(ip), commands.HostUp(ip)
        self._command(action.director, first)
        world.at(world.now + action.apart_s, self._command, action.other, second)

    def _kick_user(self, action: actions.KickUser) -> None:
        user = self._world.workload.users[action.user - 1]
        self._command(action.director, commands.UserKick(user=user.name, is_waiting=True))

    def _remove_director(self, action: actions.RemoveDirector) -> None:
        world = self._world
        machine = self._machine(action.removed)
        if machine.is_off or len(world.live()) < 3 or action.director == action.removed:
            return
        self._memory_lost(machine)
        self._removed.add(machine.number)
        machine.shut_down()
        self._window("director removed", machine.number)()
        world.at(world.now + LEAVE_S, self._command, action.director, _removal(machine))

    def _burst(self, action: actions.Burst) -> None:
        stream = Stream(self._world.plan.seed, "burst", f"{action.at:.3f}")
        self._world.workload.burst(action.logins, stream)

    def _login(self, action: actions.Login) -> None:
        workload = self._world.workload
        stream = Stream(self._world.plan.seed, "login", f"{action.at:.3f}", action.user)
        device = Device(workload.users[action.user - 1], stream, session_s=action.seconds)
        workload.log_in(device, self._machine(action.director))


def _removal(machine: Machine) -> commands.DirectorRemove:
    return commands.DirectorRemove(ip=machine.address.ip, port=machine.address.port)
