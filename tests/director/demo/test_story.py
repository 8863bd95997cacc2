"""The checks of the story hold in a world that behaves, and each fails in one that does not."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest
import trio

from director.demo.story import USERS, Outcome, Play

NAMES = ("backend-1", "backend-2", "backend-3", "backend-4")


@attrs.define(eq=False)
class World:
    """Users go where `place` says: by user, and by how often they have logged in."""

    place: Callable[[str, int], str]
    logins: dict[str, int] = attrs.field(factory=dict)
    commands: list[str] = attrs.field(factory=list)
    downs: list[str] = attrs.field(factory=list)
    status: str = "Current: 10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4"

    async def command(self, *words: str) -> str:
        self.commands.append(" ".join(words))
        await trio.lowlevel.checkpoint()
        return self.status


@attrs.define(eq=False, kw_only=True)
class Backend:
    world: World
    name: str
    ip: str

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await trio.lowlevel.checkpoint()
        task_status.started()

    def stop(self) -> None:
        self.world.downs.append(self.name)


@attrs.define(eq=False, kw_only=True)
class Session:
    world: World
    user: str
    backend_name: str

    async def is_alive(self) -> bool:
        await trio.lowlevel.checkpoint()
        return self.backend_name not in self.world.downs


@attrs.define(eq=False)
class Proxy:
    world: World
    name: str

    async def log_in(self, user: str) -> Session:
        await trio.lowlevel.checkpoint()
        count = self.world.logins[user] = self.world.logins.get(user, 0) + 1
        return Session(world=self.world, user=user, backend_name=self.world.place(user, count))


def home(user: str) -> str:
    return NAMES[USERS.index(user) % 4]


def well_behaved(user: str, count: int) -> str:
    """Home, except at the third login if that is on the backend that is down then."""
    return "backend-1" if count == 3 and home(user) == "backend-2" else home(user)


async def tell(world: World) -> Outcome:
    backends = [
        Backend(world=world, name=name, ip=f"10.0.0.{n}") for n, name in enumerate(NAMES, 1)
    ]
    proxies = (Proxy(world, "proxy 1"), Proxy(world, "proxy 2"))
    play = Play(director=world, backends=backends, proxies=proxies, say=lambda line: None)
    async with trio.open_nursery() as nursery:
        return await play.run(nursery)


def broken(outcome: Outcome) -> list[str]:
    return [check.sentence for check in outcome.checks if not check.is_held]


async def test_a_world_that_behaves_passes() -> None:
    world = World(well_behaved)
    outcome = await tell(world)

    assert broken(outcome) == []
    assert outcome.is_good
    assert [step.title for step in outcome.steps] == [
        "first login",
        "second login",
        "backend-2 down",
        "backend-2 up again",
    ]
    assert world.commands == [
        "status alice",
        "down 10.0.0.2",
        "flush 10.0.0.2",
        "up 10.0.0.2",
        "flush all",
    ]
    assert outcome.steps[2].changed == {user for user in USERS if home(user) == "backend-2"}


def wandering(user: str, count: int) -> str:
    return NAMES[(NAMES.index(well_behaved(user, count)) + (count == 2)) % 4]


def stubborn(user: str, count: int) -> str:
    return home(user)


def restless(user: str, count: int) -> str:
    return "backend-3" if count == 3 else home(user)


def homeless(user: str, count: int) -> str:
    return "backend-1" if count == 4 else well_behaved(user, count)


def crowded(user: str, count: int) -> str:
    return "backend-1"


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        (crowded, "36 users are spread over 4 backends"),
        (wandering, "the second login, through proxy 2, went to the same backend"),
        (stubborn, "while backend-2 was down, nobody was sent there"),
        (restless, "the users of the other backends stayed where they were, sessions and all"),
        (homeless, "when backend-2 was back, its users went home"),
    ],
)
async def test_a_world_that_does_not_behave_is_found_out(
    place: Callable[[str, int], str], sentence: str
) -> None:
    outcome = await tell(World(place))

    assert sentence in broken(outcome)
    assert not outcome.is_good


async def test_a_status_that_names_another_backend_is_found_out() -> None:
    outcome = await tell(World(well_behaved, status="Current: 10.9.9.9"))

    assert broken(outcome) == ["`director status alice` names the backend that alice is on"]
