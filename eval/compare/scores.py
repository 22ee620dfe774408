"""What `python -m eval score` wrote of one model: its figures on each split, and the rows that they are of."""

from dataclasses import dataclass, field
from pathlib import Path

from common.errors import UserError
from eval.results import Judgement, RowResult, read_evaluation, read_row_results


@dataclass(frozen=True)
class Scores:
    """One model's figures and rows; without the rows, which stand in a file of their own, nothing can be compared."""

    judgements: dict[str, Judgement] = field(default_factory=dict)
    """By split."""
    rows: list[RowResult] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_scores(file: Path, name: str) -> Scores:
    """The scores in `file` of the model `name`; of the only one, where the file is about one model alone."""
    try:
        judgements = read_evaluation(file).judgements
    except UserError as error:
        return Scores(problems=[str(error)])
    models = {judgement.model for judgement in judgements}
    model = name if name in models or len(models) != 1 else next(iter(models))
    own = {judgement.group: judgement for judgement in judgements if judgement.model == model}
    if not own:
        return Scores(problems=[f"{file.name} has no score of the model {name}"])
    try:
        return Scores(own, [row for row in read_row_results(file) if row.model == model])
    except UserError as error:
        return Scores(own, problems=[str(error)])


def scored_models(file: Path) -> list[str]:
    """The models that `file` has scores of. Raises UserError where it holds something else."""
    return list(dict.fromkeys(judgement.model for judgement in read_evaluation(file).judgements))
