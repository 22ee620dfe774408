"""A policy that writes the tool world's recorded solutions, and a rollout of it in a process of its own."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from unittest.mock import patch

from common.agents.policy import Policy, Sampling
from common.agents.types import Task, WrittenTurn
from common.sequences import Provenance
from common.settings import load
from common.toolbench.rows import Turn
from eval.rollouts.environments import Environments
from eval.rollouts.policy_settings import PolicySettings
from eval.rollouts.rollout import roll_out
from eval.rollouts.settings import RolloutSettings

REVISION = "recorded"


class RecordedPolicy:
    """Solves each task as it was recorded, a turn in `seconds`."""

    provenance: Provenance = "teacher"

    def __init__(self, tasks: Iterable[Task], seconds: float = 0) -> None:
        self._solutions = {f"\n{task.query}\nBegin!\n": task.data["solution"] for task in tasks}
        self._seconds = seconds

    async def write(self, turns: Sequence[Turn], sampling: Sampling) -> list[WrittenTurn]:
        await asyncio.sleep(self._seconds)
        done = sum(turn.role == "function" for turn in turns)
        text: str = self._solutions[turns[1].content][done]
        return [WrittenTurn(text, "stop", REVISION, (), "", 10, 5)] * sampling.n


@contextmanager
def recorded_policy(seconds: float = 0) -> Iterator[None]:
    """Rollouts in this context are the recorded policy's, whatever their settings name."""

    @asynccontextmanager
    async def opened(
        settings: PolicySettings, environments: Environments, tasks: Iterable[Task], revision: str | None = None
    ) -> AsyncIterator[Policy]:
        assert revision in (None, REVISION)
        yield RecordedPolicy(environments.tasks, seconds)

    with patch("eval.rollouts.rollout.open_policy", opened):
        yield


if __name__ == "__main__":
    with recorded_policy(seconds=0.02):
        roll_out(load(RolloutSettings, sys.argv[1]))
