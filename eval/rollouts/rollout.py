"""A rollout: every task's episodes are run and written, and one that was cut off goes on where it stopped."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import yaml
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from common import jsonl
from common.agents.episodes import Episode, EpisodeRunner, SetAside
from common.agents.policy import Policy
from common.agents.trajectories import TrajectoryStore, check_ids
from common.agents.types import Task, Trajectory
from common.errors import UserError
from common.files import write_atomically
from eval.output_folder import locked
from eval.rollouts.environments import Environments, open_environments
from eval.rollouts.policies import open_policy
from eval.rollouts.results import CONFIG, SET_ASIDE
from eval.rollouts.search_settings import EarlyExitSettings
from eval.rollouts.searches import search_maker
from eval.rollouts.settings import RolloutSettings

FREE = (
    "in_flight",
    "policy.url",
    "policy.token_file",
    "policy.timeout_s",
    "policy.patience_s",
    "policy.retries",
    "tasks",
    "samples",
)
"""Settings that may change when a rollout goes on: they move how fast and how many, not what an episode is."""


def roll_out(settings: RolloutSettings) -> tuple[list[Trajectory], list[SetAside]]:
    """Run what is not done yet, and return all trajectories, and the episodes that infrastructure broke this time.

    Raises UserError: the output folder holds another rollout or is in use, or nothing can go on.
    """
    with locked(settings.output, "rollout"):
        store = TrajectoryStore(settings.output)
        done = store.read()
        _write_config(settings, begun=bool(done))
        set_aside = asyncio.run(_run(settings, store, done))
        store.finish()
        return store.read(), set_aside


async def _run(settings: RolloutSettings, store: TrajectoryStore, done: list[Trajectory]) -> list[SetAside]:
    ids = {trajectory.episode for trajectory in done}
    async with open_environments(settings.environment) as environments:
        episodes = _episodes(settings, environments.tasks)
        _check_same_tasks(environments.tasks, done)
        left = [episode for episode in episodes if episode.id not in ids]
        revision = _revision(settings, done)
        return await _run_left(settings, environments, store, left, len(episodes), revision) if left else []


async def _run_left(
    settings: RolloutSettings,
    environments: Environments,
    store: TrajectoryStore,
    left: list[Episode],
    total: int,
    revision: str | None,
) -> list[SetAside]:
    tasks = [episode.task for episode in left]
    opened = open_policy(settings.policy, environments, tasks, revision)
    async with opened as policy, _helper(settings, environments) as helper:
        search = search_maker(settings, helper)
        runner = EpisodeRunner(policy, environments.make, search, settings.sampling.sampling, settings.bounds)
        return await _watch(settings, runner, store, left, total)


@asynccontextmanager
async def _helper(settings: RolloutSettings, environments: Environments) -> AsyncIterator[Policy | None]:
    """The policy to which a search may hand an episode over, where it names one."""
    named = settings.search.helper if isinstance(settings.search, EarlyExitSettings) else None
    if named is None:
        yield None
    else:
        async with open_policy(named, environments, environments.tasks) as policy:
            yield policy


async def _watch(
    settings: RolloutSettings, runner: EpisodeRunner, store: TrajectoryStore, left: list[Episode], total: int
) -> list[SetAside]:
    """Run the episodes that are `left`, write each as it ends, and show how far it is."""
    set_aside: list[SetAside] = []
    file = settings.output / SET_ASIDE
    file.unlink(missing_ok=True)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("episodes", total=total, completed=total - len(left))
        async with aclosing(runner.run_all(left, settings.in_flight)) as ends:
            async for ended in ends:
                if isinstance(ended, SetAside):
                    set_aside.append(ended)
                    jsonl.append(file, [asdict(ended)])
                else:
                    store.add(ended)
                progress.advance(bar)
    return set_aside


def _episodes(settings: RolloutSettings, tasks: Sequence[Task]) -> list[Episode]:
    """The first tasks of each group, each with its samples. Raises UserError for two tasks of one id."""
    check_ids((task.id for task in tasks), "tasks")
    groups = dict.fromkeys(task.group for task in tasks)
    chosen = [
        task for group in groups for task in islice((task for task in tasks if task.group == group), settings.tasks)
    ]
    return [Episode(task, sample) for sample in range(settings.samples) for task in chosen]


def _revision(settings: RolloutSettings, done: Sequence[Trajectory]) -> str | None:
    """The weights that wrote the episodes so far; None where there are none yet, or a helper may have written them."""
    if isinstance(settings.search, EarlyExitSettings) and settings.search.helper:
        return None
    return next((step.written.revision for each in done for step in each.steps), None)


def _check_same_tasks(tasks: Sequence[Task], done: Sequence[Trajectory]) -> None:
    """Raises UserError where a task isn't what it was when an episode of it was run."""
    asked = {task.id: (task.query, task.group) for task in tasks}
    for each in done:
        if asked.get(each.task, (each.query, each.group)) != (each.query, each.group):
            raise UserError(
                f"the task {each.task} asks {asked[each.task][0]!r}, but asked {each.query!r} when its episode "
                f"{each.episode} was run; restore the tasks, or give another output folder"
            )


def _write_config(settings: RolloutSettings, begun: bool) -> None:
    """Keep the settings beside the trajectories. Raises UserError where others were made by different ones."""
    file, values = settings.output / CONFIG, settings.model_dump(mode="json")
    if begun and file.exists():
        before, now = _flat(_read_config(file)), _flat(values)
        changed = sorted(key for key in before | now if not _is_free(key) and before.get(key) != now.get(key))
        if changed:
            raise UserError(
                f"{settings.output} holds a rollout with other settings ({', '.join(changed)}); give another output "
                "folder, or the same settings to go on"
            )
    write_atomically(file, yaml.safe_dump(values, sort_keys=False))


def _read_config(file: Path) -> object:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{file} is damaged ({error}); restore it, or give another output folder") from None


def _is_free(key: str) -> bool:
    return key.replace("search.helper.", "policy.") in FREE


def _flat(values: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(values, dict):
        return {prefix: values}
    return {
        name: leaf
        for key, value in values.items()
        for name, leaf in _flat(value, f"{prefix}.{key}".lstrip(".")).items()
    }
