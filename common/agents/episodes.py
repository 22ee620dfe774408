"""Episodes: each task is reset, searched and recorded, many of them in flight over one policy.

What infrastructure broke is not the agent's failure: such an episode is run once more from its beginning, and set aside
by name where it breaks again.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from common.agents.bounds import BoundedEnvironment, BoundedPolicy, BoundSettings, Deadline, Spent
from common.agents.environment import ForkableEnvironment, InfrastructureFailure
from common.agents.policy import BoundReached, Policy, Sampling
from common.agents.search.protocol import Search
from common.agents.search.steps import final_answer
from common.agents.types import Outcome, Task, Trajectory
from common.errors import UserError
from common.toolbench.rows import Turn

ATTEMPTS = 2
"""Times that an episode is begun before it is set aside."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Episode:
    """One run to be made: the task, and which of its samples this is."""

    task: Task
    sample: int = 0

    @property
    def id(self) -> str:
        """Unique where its task's id is."""
        return f"{self.task.id}/{self.sample}"


@dataclass(frozen=True)
class SetAside:
    """An episode that infrastructure broke each time, or a defect once; it counts neither for nor against the agent."""

    episode: str
    reason: str


Bound = Callable[[Policy], Policy]
"""Puts a policy that helps in an episode into the bounds of that episode, its costs counted there."""


@dataclass(frozen=True)
class EpisodeRunner:
    """Runs episodes of `policy`, each in an environment of its own that `environment` makes, by what `search` makes.

    Every episode's seed follows from `sampling.seed` and its id.
    """

    policy: Policy
    environment: Callable[[], ForkableEnvironment]
    search: Callable[[Bound], Search]
    sampling: Sampling
    bounds: BoundSettings

    async def run_all(self, episodes: Iterable[Episode], in_flight: int) -> AsyncGenerator[Trajectory | SetAside]:
        """What comes of each, as it ends, with at most `in_flight` begun.

        Raises what `run` raises; the others are then cancelled.
        """
        waiting, running = iter(episodes), set[asyncio.Task[Trajectory | SetAside]]()
        try:
            while True:
                while len(running) < in_flight and (episode := next(waiting, None)) is not None:
                    running.add(asyncio.create_task(self.run(episode)))
                if not running:
                    return
                ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in sorted(ended, key=lambda task: task.exception() is not None):  # what ended well isn't lost
                    yield task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def run(self, episode: Episode) -> Trajectory | SetAside:
        """One episode, begun again where infrastructure broke it. Raises UserError where nothing can go on.

        One that a defect breaks, such as of a user's own environment, is logged with its traceback and set aside.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._run_once(episode)
            except InfrastructureFailure as failure:
                reason = str(failure)
                log.warning("episode %s, attempt %d of %d: %s", episode.id, attempt, ATTEMPTS, reason)
            except UserError:
                raise
            except Exception as defect:  # hundreds of episodes are in flight, and this one alone met it
                log.exception("episode %s", episode.id)
                return SetAside(episode.id, f"{type(defect).__name__}: {defect}")
        return SetAside(episode.id, reason)

    async def _run_once(self, episode: Episode) -> Trajectory:
        deadline, spent = Deadline(self.bounds.episode_s), Spent()

        def bound(policy: Policy) -> Policy:
            return BoundedPolicy(policy, self.bounds, deadline, spent)

        environment = BoundedEnvironment(self.environment(), self.bounds, deadline)
        opening: Sequence[Turn] = ()
        try:
            opening = await environment.reset(episode.task)
            sampling = replace(self.sampling, seed=seed_of(self.sampling.seed, episode.id))
            outcome = await self.search(bound)(bound(self.policy), environment, opening, sampling)
        except BoundReached as reached:
            outcome = Outcome((), reached.stop)
        finally:
            await _close(environment, episode)
        return self._trajectory(episode, tuple(opening), outcome, spent, deadline.seconds)

    def _trajectory(
        self, episode: Episode, opening: tuple[Turn, ...], outcome: Outcome, spent: Spent, seconds: float
    ) -> Trajectory:
        last = outcome.steps[-1] if outcome.steps else None
        return Trajectory(
            episode=episode.id,
            task=episode.task.id,
            query=episode.task.query,
            group=episode.task.group,
            opening=opening,
            steps=outcome.steps,
            stop=outcome.stop,
            solved=last.observation.solved if last else None,
            final_answer=final_answer(last) if last and outcome.stop == "finished" else None,
            provenance=self.policy.provenance,
            seconds=seconds,
            queries=spent.queries,
            prompt_tokens=spent.prompt_tokens,
            completion_tokens=spent.completion_tokens,
            tree=outcome.tree,
        )


def seed_of(*parts: object) -> int:
    """A seed that follows from `parts` alone, the same on every machine."""
    digest = hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).digest()
    return int.from_bytes(digest[:7], "big")


async def _close(environment: BoundedEnvironment, episode: Episode) -> None:
    try:
        await environment.close()
    except InfrastructureFailure as failure:
        log.warning("episode %s: its environment didn't close: %s", episode.id, failure)
