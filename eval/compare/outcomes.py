"""What is compared, unit by unit: an arm's outcomes on a split."""

from collections import defaultdict
from collections.abc import Iterable
from statistics import mean

from eval.compare.inputs import Experiment, Result
from eval.compare.statistics import Unit

TASK_SUCCESS = "task_success"


def outcomes(results: Iterable[Result], split: str, measure: str = TASK_SUCCESS) -> dict[Unit, float]:
    """The mean of each unit's episodes, over all `results`, one per seed; empty for a measure that no unit has.

    Episodes that nobody can judge count in no mean.
    """
    found: dict[Unit, list[float]] = defaultdict(list)
    for result in results if measure == TASK_SUCCESS else ():
        for episode in result.episodes:
            if episode.split == split and episode.solved is not None:
                found[Unit(result.cell.seed, episode.task, episode.tool)].append(float(episode.solved))
    return {unit: mean(values) for unit, values in found.items()}


def arm_outcomes(experiment: Experiment, title: str, split: str, measure: str = TASK_SUCCESS) -> dict[Unit, float]:
    """The outcomes of all cells that tables call `title`."""
    return outcomes(experiment.of(title), split, measure)
