"""The environments of a rollout: how each episode's is made, and the tasks that it can be given."""

from collections.abc import Callable
from dataclasses import dataclass

from common.agents.environment import ForkableEnvironment
from common.agents.environments.tool_world import ToolWorldEnvironment, read_tasks
from common.agents.types import Task
from common.world.saved import read_world
from eval.rollouts.settings import WorldEnvironmentSettings


@dataclass(frozen=True)
class Environments:
    """What makes an environment for an episode, and all tasks."""

    make: Callable[[], ForkableEnvironment]
    tasks: list[Task]


def environments_of(settings: WorldEnvironmentSettings) -> Environments:
    """The environments that `settings` name. Raises UserError where they can't be had."""
    world = read_world(settings.folder)
    tasks = [task for split in settings.splits for task in read_tasks(settings.folder, split)]
    return Environments(lambda: ToolWorldEnvironment(world), tasks)
