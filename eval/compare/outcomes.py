"""What is compared, task by task or row by row: the outcomes of cells on a split."""

from statistics import mean

from eval.compare.inputs import Experiment, Result
from eval.metrics.bootstrap import DIFFERENCES, SHARES, Bounds, Interval, Measured, interval
from eval.metrics.measures import EXCESS, LOSS, MEASURES, sample
from eval.rollouts.results import sample as episode_sample

TASK_SUCCESS = "task_success"
LESS_IS_BETTER = {LOSS, EXCESS, "hallucinates", "finishes_early", "gives_up", "is_raw_json", "repetition", "cut_off"}


def is_share(measure: str) -> bool:
    """Whether a measure lies between 0 and 1; the others are nats."""
    return measure not in (LOSS, EXCESS)


def difference_bounds(measure: str) -> Bounds | None:
    """What differences of a measure lie between."""
    return DIFFERENCES if is_share(measure) else None


def outcomes(result: Result, split: str, measure: str = TASK_SUCCESS) -> list[Measured]:
    """A cell's episodes, or its scored rows, its seed being their world; none for a measure that it doesn't have.

    Episodes that nobody can judge have no outcome.
    """
    known = measure in (LOSS, EXCESS, *MEASURES)
    found = _rows(result, split, measure) if known else _episodes(result, split, measure)
    seed = str(result.cell.seed)
    return [each._replace(task=f"{seed}/{each.task}", world=seed) for each in found]


def outcomes_of(experiment: Experiment, title: str, split: str, measure: str = TASK_SUCCESS) -> list[Measured]:
    """Those of all cells that tables call `title`."""
    return [each for result in experiment.of(title) for each in outcomes(result, split, measure)]


def estimate(experiment: Experiment, title: str, split: str, measure: str = TASK_SUCCESS) -> Interval | None:
    """The measure of all cells that tables call `title`, with its interval; None where nothing measured it.

    Of scores whose rows are missing it is the mean of the cells' own figures, without an interval.
    """
    found = interval(outcomes_of(experiment, title, split, measure), SHARES if is_share(measure) else None)
    if found is not None:
        return found
    judgements = [result.scores.judgements.get(split) for result in experiment.of(title)]
    figures = [judgement.measures.get(measure) for judgement in judgements if judgement is not None]
    values = [figure.value for figure in figures if figure is not None and figure.value is not None]
    rows = sum(figure.rows for figure in figures if figure is not None)
    return Interval(mean(values), None, None, rows, 0) if values else None


def _rows(result: Result, split: str, measure: str) -> list[Measured]:
    return sample((row for row in result.scores.rows if row.group == split), measure)


def _episodes(result: Result, split: str, measure: str) -> list[Measured]:
    if measure != TASK_SUCCESS:
        return []
    judged = (each for each in result.episodes if each.group == split and each.solved is not None)
    return episode_sample(judged)
