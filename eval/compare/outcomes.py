"""What is compared, task by task: the outcomes of an arm on a split."""

from eval.compare.inputs import Experiment
from eval.metrics.bootstrap import Measured

TASK_SUCCESS = "task_success"


def outcomes(experiment: Experiment, title: str, split: str, measure: str = TASK_SUCCESS) -> list[Measured]:
    """The episodes of all cells that tables call `title`, each seed a world; none for a measure that they don't have.

    Episodes that nobody can judge have no outcome.
    """
    if measure != TASK_SUCCESS:
        return []
    return [
        Measured(f"{result.cell.seed}/{each.task}", each.tool, float(each.solved), world=str(result.cell.seed))
        for result in experiment.of(title)
        for each in result.episodes
        if each.split == split and each.solved is not None
    ]
