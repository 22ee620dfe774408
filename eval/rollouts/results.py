"""What came of an episode, as data that reports read: a line per episode, of one policy or of several.

`python -m eval rollout` writes `results.jsonl` beside the trajectories. Paired intervals need these, since two models
are compared task by task.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from common import jsonl
from common.agents.environments.tool_world import read_tasks
from common.agents.episodes import SetAside
from common.agents.trajectories import TrajectoryStore
from common.agents.types import Status, StopReason, Trajectory
from common.errors import UserError
from common.settings import load
from common.toolbench.fields import BadRecord
from common.toolbench.system_prompt import offered_functions
from common.toolbench.tools import tools_of
from eval.metrics.bootstrap import DIFFERENCES, Difference, Measured, difference
from eval.rollouts.settings import EnvironmentSettings, RolloutSettings, WorldEnvironmentSettings

RESULTS = "results.jsonl"
CONFIG = "config.yaml"
SET_ASIDE = "set_aside.jsonl"
WELL = (Status.OK, Status.FINISHED)
"""Statuses of a step that did something."""


class EpisodeResult(BaseModel):
    """One episode. Tokens, queries and seconds are of all that was written, abandoned branches included."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model: str
    group: str
    task: str
    episode: str
    """The task's id and the number of its sample."""
    tool: str
    """The tool that most functions on offer are of; tasks of one tool are one cluster."""
    steps_needed: int | None
    """Steps of the task's own solution, Finish included, where the environment's tasks tell."""
    solved: bool | None
    """None where the environment can't tell whether an episode that finished solved its task."""
    stop: StopReason
    steps: int
    """Of the path that it answered with."""
    steps_well: int
    """Of these, calls that were answered without an error, and Finish with an answer."""
    queries: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    price: float
    """0 where the policy has none."""


@dataclass(frozen=True)
class Prices:
    """What a million tokens cost."""

    prompt: float = 0.0
    completion: float = 0.0

    def of(self, trajectory: Trajectory) -> float:
        """What an episode cost."""
        tokens = self.prompt * trajectory.prompt_tokens + self.completion * trajectory.completion_tokens
        return tokens / 1e6


@dataclass(frozen=True)
class RolloutResults:
    """The episodes of one policy, and those that infrastructure broke, which count nowhere else."""

    episodes: list[EpisodeResult]
    set_aside: list[str] = field(default_factory=list)


def results_of(
    model: str, trajectories: Iterable[Trajectory], set_aside: Iterable[SetAside], settings: RolloutSettings
) -> RolloutResults:
    """The results of `model`, each episode once: one that was set aside and then ended isn't set aside."""
    prices, needed = _prices(settings), _steps_needed(settings.environment)
    episodes = {each.episode: result_of(model, each, prices, needed) for each in trajectories}
    return RolloutResults(list(episodes.values()), sorted({each.episode for each in set_aside} - set(episodes)))


def read_results(folder: Path, model: str) -> RolloutResults:
    """The results of the rollout in `folder`, which reports call `model`. Raises UserError where there is none."""
    if not (folder / CONFIG).is_file():
        raise UserError(f"there is no rollout in {folder}: it has no {CONFIG}; `python -m eval rollout` makes them")
    settings = load(RolloutSettings, folder / CONFIG)
    broken = [SetAside(**json.loads(line)) for line in jsonl.whole_lines(folder / SET_ASIDE)]
    return results_of(model, TrajectoryStore(folder).read(), broken, settings)


def _prices(settings: RolloutSettings) -> Prices:
    """What the policy's tokens cost."""
    policy = settings.policy
    return Prices(policy.prompt_price, policy.completion_price) if policy.kind == "endpoint" else Prices()


def _steps_needed(environment: EnvironmentSettings) -> dict[str, int]:
    """How many steps each task's own solution has; nothing where tasks have none, or their folder is gone."""
    if not isinstance(environment, WorldEnvironmentSettings) or not environment.folder.is_dir():
        return {}
    tasks = (task for split in environment.splits for task in read_tasks(environment.folder, split))
    return {task.id: len(task.data["solution"]) for task in tasks}


def sample(episodes: Iterable[EpisodeResult], world: str = "") -> list[Measured]:
    """Whether each episode's task is solved, clustered by tool; what nobody can tell has no weight."""
    return [
        Measured(each.task, each.tool, float(bool(each.solved)), float(each.solved is not None), world)
        for each in episodes
    ]


def compare_episodes(first: Sequence[EpisodeResult], second: Sequence[EpisodeResult]) -> Difference | None:
    """By how much the first policy's task success is above the second one's, on the tasks of both."""
    return difference(sample(first), sample(second), DIFFERENCES)


def result_of(model: str, trajectory: Trajectory, prices: Prices, needed: Mapping[str, int]) -> EpisodeResult:
    """What came of one episode; `needed` goes from a task to the steps of its own solution."""
    judged = trajectory.solved if trajectory.stop == "finished" else bool(trajectory.solved)
    return EpisodeResult(
        model=model,
        group=trajectory.group,
        task=trajectory.task,
        episode=trajectory.episode,
        tool=_tool(trajectory.opening[0].content) if trajectory.opening else "",
        steps_needed=needed.get(trajectory.task),
        solved=judged,
        stop=trajectory.stop,
        steps=len(trajectory.steps),
        steps_well=sum(step.action is not None and step.observation.status in WELL for step in trajectory.steps),
        queries=trajectory.queries,
        prompt_tokens=trajectory.prompt_tokens,
        completion_tokens=trajectory.completion_tokens,
        seconds=trajectory.seconds,
        price=prices.of(trajectory),
    )


@lru_cache(maxsize=4096)
def _tool(system_prompt: str) -> str:
    try:
        return next(iter(tools_of(offered_functions(system_prompt))), "")
    except BadRecord:
        return ""
