"""What searches share: seeds, prompts, forks that are closed, and how an episode ends."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from itertools import chain

from common.agents.environment import ForkableEnvironment
from common.agents.policy import BoundReached
from common.agents.types import Outcome, Status, Step, StopReason
from common.api import SEEDS
from common.toolbench.finish import said_to_user
from common.toolbench.react import Step as ReactStep
from common.toolbench.rows import Turn

SPENT: tuple[StopReason, ...] = ("max_queries", "max_tokens", "timeout")
"""Bounds of a whole episode: behind them nothing more can be tried."""


def child_seed(seed: int, *path: int) -> int:
    """A seed for the place `path` in a search that began with `seed`, whatever was tried elsewhere."""
    digest = sha256(repr((seed, *path)).encode()).digest()
    return int.from_bytes(digest[:8], "big") % SEEDS


def prompt(opening: Sequence[Turn], steps: Sequence[Step], said: Sequence[Turn] = ()) -> tuple[Turn, ...]:
    """What is before the turn behind `steps`; `said` is what this turn alone is told."""
    return (*opening, *chain.from_iterable(step.turns for step in steps), *said)


@asynccontextmanager
async def forked(environment: ForkableEnvironment) -> AsyncIterator[ForkableEnvironment]:
    """A fork of `environment`, closed behind the block."""
    fork = await environment.fork()
    try:
        yield fork
    finally:
        await fork.close()


async def run_steps(
    next_step: Callable[[Sequence[Step]], Awaitable[tuple[Step, bool]]], max_steps: int, begun: Sequence[Step] = ()
) -> Outcome:
    """Steps, `begun` the first of `max_steps`, until one ends the episode, or BoundReached does.

    `next_step` takes the step behind those so far, and says whether the episode is done with it.
    """
    steps = list(begun)
    try:
        while len(steps) < max_steps:
            step, done = await next_step(steps)
            steps.append(step)
            if stop := ending(step, done):
                return Outcome(tuple(steps), stop)
    except BoundReached as reached:
        return Outcome(tuple(steps), reached.stop)
    return Outcome(tuple(steps), "max_steps")


def ending(step: Step, done: bool) -> StopReason | None:
    """How `step` ends its episode; None where it doesn't."""
    if step.observation.status is Status.GAVE_UP:
        return "gave_up"
    return "finished" if done else None


def final_answer(step: Step) -> str | None:
    """What `step` tells the user by calling Finish; None where it is another call, or none."""
    return None if step.action is None else said_to_user(ReactStep("", step.action.name, step.action.arguments))


def question(opening: Sequence[Turn]) -> str:
    """What the user asks for in `opening`, without ToolBench's words around it; "" where nobody asks."""
    asked = next((turn.content for turn in reversed(opening) if turn.role == "user"), "")
    return asked.strip().removesuffix("Begin!").strip()
