"""Episodes as a report counts them: what came of each task, without what was said."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from common.agents.trajectories import EPISODES, TrajectoryStore
from common.agents.types import Trajectory
from common.errors import UserError
from common.toolbench.fields import BadRecord
from common.toolbench.system_prompt import is_finish, offered_functions


@dataclass(frozen=True)
class Episode:
    """One episode; `solved` is None where nobody can tell."""

    task: str
    split: str
    tool: str
    solved: bool | None
    steps: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Rollout:
    """The episodes of one folder, and how many infrastructure broke, which count nowhere."""

    episodes: list[Episode]
    set_aside: int = 0
    prices: dict[str, float] = field(default_factory=dict)
    """What all episodes of a split cost."""


def read_rollout(folder: Path, split: str = "") -> Rollout:
    """The rollout in `folder`; its episodes are of their own split, or of `split` where they name none.

    Raises UserError where there are no episodes, or a line of them can't be read.
    """
    episodes = [_episode(trajectory, split) for trajectory in read_trajectories(folder)]
    return Rollout(episodes, *_summary(folder, split))


def read_trajectories(folder: Path) -> list[Trajectory]:
    """All episodes in `folder`, whole. Raises UserError as `read_rollout`."""
    if not (folder / EPISODES).is_file():
        raise UserError(f"there is no {EPISODES} in {folder.name}")
    return TrajectoryStore(folder).read()


def _episode(trajectory: Trajectory, split: str) -> Episode:
    finished = trajectory.stop == "finished"
    return Episode(
        task=trajectory.task,
        split=trajectory.group or split,
        tool=_tool(trajectory.opening[0].content if trajectory.opening else ""),
        solved=trajectory.solved if finished else bool(trajectory.solved),
        steps=len(trajectory.steps),
        tokens=trajectory.completion_tokens,
        seconds=trajectory.seconds,
    )


@lru_cache(maxsize=4096)
def _tool(system_prompt: str) -> str:
    """The tool that the task is on: of those on offer the one with most functions, named "FUNCTION_for_TOOL"."""
    try:
        functions = offered_functions(system_prompt)
    except BadRecord:
        return ""
    tools = Counter(_tools(function["name"] for function in functions if not is_finish(function)))
    return min(tools, key=lambda tool: (-tools[tool], tool), default="")


def _tools(names: Iterable[str]) -> Iterator[str]:
    return (name.rpartition("_for_")[2] for name in names)


def _summary(folder: Path, split: str) -> tuple[int, dict[str, float]]:
    """How many episodes the rollout's summary sets aside, and what those of each split cost."""
    try:
        summary = json.loads((folder / "summary.json").read_bytes())
        prices = {group["group"] or split: float(group["price"]) for group in summary["groups"]}
        return int(summary["set_aside"]), prices
    except (OSError, ValueError, KeyError, TypeError):
        return 0, {}
