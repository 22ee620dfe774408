"""Environments: a task is reset into opening turns, and each action is answered by an observation."""

from typing import Protocol, Self, runtime_checkable

from common.agents.types import Action, Observation, Task
from common.toolbench.rows import Turn


class Environment(Protocol):
    """One environment serves one episode at a time. Methods raise InfrastructureFailure where the agent isn't at fault.

    Anything else that may go wrong with an action is an observation with its status.
    """

    async def reset(self, task: Task) -> list[Turn]:
        """Begin an episode: the turns that it opens with, the system prompt first."""

    async def step(self, action: Action) -> tuple[Observation, bool]:
        """What `action` brings, and whether the episode is done."""

    async def close(self) -> None:
        """Give back what the episode holds. May be called at any time, and more than once."""


@runtime_checkable
class ForkableEnvironment(Environment, Protocol):
    """An environment whose state can be split, so that a search can try several actions from one place."""

    async def fork(self) -> Self:
        """Another environment in this one's state. What happens in either isn't seen in the other; close both."""


class InfrastructureFailure(Exception):
    """What broke is neither the agent nor its task: the episode counts for nothing and is tried again."""
