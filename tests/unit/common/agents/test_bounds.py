"""An environment's forks are in the bounds of the episode that makes them."""

import asyncio
from typing import Any

import pytest

from common.agents.bounds import BoundedEnvironment, BoundSettings, Deadline
from common.agents.environment import Environment
from common.agents.policy import BoundReached
from common.agents.types import Action, Observation, Status, Task
from common.errors import UserError
from common.toolbench.rows import Turn
from tests.unit.common.agents.scripted import ScriptedEnvironment
from tests.virtual_time import run

LOOK = Action("look", "{}")


def bounded(environment: Environment, **bounds: Any) -> BoundedEnvironment:
    settings = BoundSettings(**bounds)
    return BoundedEnvironment(environment, settings, Deadline(settings.episode_s))


class Slow(ScriptedEnvironment):
    async def fork(self) -> "Slow":
        await asyncio.sleep(5)
        return self


class Whole:
    """An environment whose state can't be split."""

    async def reset(self, task: Task) -> list[Turn]:
        return []

    async def step(self, action: Action) -> tuple[Observation, bool]:
        return Observation("", Status.OK), False

    async def close(self) -> None:
        pass


def test_a_fork_goes_on_from_the_same_state_in_the_same_bounds():
    async def work() -> None:
        environment = bounded(ScriptedEnvironment(seconds=3), observation_characters=4, episode_s=8)
        await environment.step(LOOK)
        fork = await environment.fork()
        assert (await fork.step(LOOK))[0].text == "look..."
        with pytest.raises(BoundReached, match="timeout"):
            await fork.step(LOOK)

    run(work())


def test_a_fork_that_takes_the_episodes_time_ends_it():
    async def work() -> None:
        with pytest.raises(BoundReached, match="timeout"):
            await bounded(Slow(), episode_s=4).fork()

    run(work())


def test_an_environment_that_cannot_be_forked_is_named():
    async def work() -> None:
        with pytest.raises(UserError, match="in Whole, which can't be forked; use one chain"):
            await bounded(Whole()).fork()

    run(work())
