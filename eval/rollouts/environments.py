"""The environments of a rollout: how each episode's is made, and the tasks that it can be given."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass

from common.agents.environment import ForkableEnvironment
from common.agents.environments.functions import FunctionTools
from common.agents.environments.mcp_servers import McpServers
from common.agents.environments.settings import FunctionEnvironmentSettings, McpEnvironmentSettings
from common.agents.environments.tool_world import ToolWorldEnvironment, read_tasks
from common.agents.types import Task
from common.world.saved import read_world
from eval.rollouts.settings import EnvironmentSettings


@dataclass(frozen=True)
class Environments:
    """What makes an environment for an episode, and all tasks."""

    make: Callable[[], ForkableEnvironment]
    tasks: list[Task]


@asynccontextmanager
async def open_environments(settings: EnvironmentSettings) -> AsyncIterator[Environments]:
    """The environments that `settings` name. Raises UserError where they can't be had."""
    if isinstance(settings, FunctionEnvironmentSettings):
        with closing(FunctionTools.of_module(settings.module)) as tools:
            yield Environments(tools.environment, settings.read_tasks())
    elif isinstance(settings, McpEnvironmentSettings):
        servers = McpServers(settings.servers)
        try:
            yield Environments(servers.environment, settings.read_tasks())
        finally:
            await servers.close()
    else:
        world = read_world(settings.folder)
        tasks = [task for split in settings.splits for task in read_tasks(settings.folder, split)]
        yield Environments(lambda: ToolWorldEnvironment(world, settings.shuffled_descriptions), tasks)
