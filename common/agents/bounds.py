"""Bounds of one episode, kept around its policy and its environment, so that searches need not think of them."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Self

from pydantic import Field

from common.agents.environment import Environment, ForkableEnvironment
from common.agents.policy import BoundReached, Policy, Sampling
from common.agents.types import Action, Observation, Status, Task, WrittenTurn
from common.errors import UserError
from common.sequences import Provenance
from common.settings import Settings
from common.toolbench.rows import Turn


class BoundSettings(Settings):
    """How much one episode may take. Steps are bounded by its search."""

    queries: int = Field(default=200, ge=1)
    """Turns that the policy is asked for, all branches together."""
    written_tokens: int = Field(default=65_536, ge=1)
    """Tokens that it writes."""
    call_s: float = Field(default=30, gt=0)
    """Seconds that one action may take; then its observation is a timeout."""
    episode_s: float = Field(default=1800, gt=0)
    """Seconds in all."""
    observation_characters: int = Field(default=1024, ge=1)
    """Characters of an observation; the rest is cut off and three dots say so, as in ToolBench."""


class Deadline:
    """The end of an episode's time, which begins when this is made."""

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._began, self._ends = self._loop.time(), self._loop.time() + seconds

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self._loop.time() - self._began

    @property
    def passed(self) -> bool:
        """Whether nothing more may begin."""
        return self._loop.time() >= self._ends

    def within(self, seconds: float | None = None) -> AbstractAsyncContextManager[asyncio.Timeout]:
        """Ends the block by TimeoutError at the deadline, or after `seconds` where that is sooner."""
        ends = self._ends if seconds is None else min(self._ends, self._loop.time() + seconds)
        return asyncio.timeout_at(ends)


@dataclass
class Spent:
    """What an episode's policies were asked for, and what they read and wrote, in tokens."""

    queries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class BoundedPolicy:
    """A policy that counts what it is asked, in `spent`, and raises BoundReached where the bounds allow no more."""

    def __init__(self, policy: Policy, bounds: BoundSettings, deadline: Deadline, spent: Spent) -> None:
        self._policy, self._bounds, self._deadline, self._spent = policy, bounds, deadline, spent

    @property
    def provenance(self) -> Provenance:
        """Its policy's."""
        return self._policy.provenance

    async def write(self, turns: Sequence[Turn], sampling: Sampling) -> list[WrittenTurn]:
        """As `Policy.write`. A query counts when it is asked."""
        if self._spent.queries + sampling.n > self._bounds.queries:
            raise BoundReached("max_queries")
        if self._spent.completion_tokens >= self._bounds.written_tokens:
            raise BoundReached("max_tokens")
        self._spent.queries += sampling.n
        try:
            async with self._deadline.within():
                written = await self._policy.write(turns, sampling)
        except TimeoutError:
            raise BoundReached("timeout") from None
        self._spent.prompt_tokens += sum(turn.prompt_tokens for turn in written)
        self._spent.completion_tokens += sum(turn.completion_tokens for turn in written)
        return written


class BoundedEnvironment:
    """An environment whose calls end in time, and whose observations are as short as a prompt needs them."""

    def __init__(self, environment: Environment, bounds: BoundSettings, deadline: Deadline) -> None:
        self._environment, self._bounds, self._deadline = environment, bounds, deadline

    async def reset(self, task: Task) -> list[Turn]:
        """As `Environment.reset`. Raises BoundReached where it takes all of the episode's time."""
        try:
            async with self._deadline.within():
                return await self._environment.reset(task)
        except TimeoutError:
            raise BoundReached("timeout") from None

    async def step(self, action: Action) -> tuple[Observation, bool]:
        """As `Environment.step`; a call that takes too long is observed as a timeout.

        Raises BoundReached where the episode's own time is over.
        """
        try:
            async with self._deadline.within(self._bounds.call_s):
                observation, done = await self._environment.step(action)
        except TimeoutError:
            if self._deadline.passed:
                raise BoundReached("timeout") from None
            return Observation('{"error": "Timeout error...", "response": ""}', Status.TIMEOUT), False
        return self._cut(observation), done

    async def fork(self) -> Self:
        """As `ForkableEnvironment.fork`, in the same bounds.

        Raises BoundReached where the episode's time is over, UserError where this environment's state can't be split.
        """
        if not isinstance(self._environment, ForkableEnvironment):
            name = type(self._environment).__name__
            raise UserError(f"got a search that tries several ways in {name}, which can't be forked; use one chain")
        try:
            async with self._deadline.within():
                return type(self)(await self._environment.fork(), self._bounds, self._deadline)
        except TimeoutError:
            raise BoundReached("timeout") from None

    async def close(self) -> None:
        """As `Environment.close`."""
        await self._environment.close()

    def _cut(self, observation: Observation) -> Observation:
        most = self._bounds.observation_characters
        if len(observation.text) <= most:
            return observation
        return Observation(observation.text[:most] + "...", observation.status, observation.solved)
