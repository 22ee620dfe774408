"""What `python -m eval score` wrote: figures of each model on each split."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError


@dataclass(frozen=True)
class Score:
    """One model on one split."""

    model: str
    split: str
    rows: int
    measures: dict[str, float]
    """loss in nats per token, perplexity, shares of the form's checks, …"""
    left_out: int = 0
    """Rows that could not be judged."""


def read_scores(file: Path) -> list[Score]:
    """All scores in `file`. Raises UserError where it holds something else."""
    try:
        records = json.loads(file.read_bytes())
    except OSError as error:
        raise UserError(f"can't read the scores {file.name}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file.name} is no JSON ({error}); score again") from None
    try:
        return [_score(record) for record in records]
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{file.name} holds no scores; expected what `python -m eval score` writes") from None


def of_model(scores: list[Score], name: str) -> list[Score]:
    """Those of the model `name`; all, where the file is about one model alone."""
    named = [score for score in scores if score.model == name]
    return named or (scores if len({score.model for score in scores}) == 1 else [])


def _score(record: dict[str, Any]) -> Score:
    measures = {key: float(value) for key, value in record.items() if isinstance(value, int | float)}
    rows = int(measures.pop("rows"))
    return Score(record["model"], record["group"], rows, measures, len(record.get("left_out", ())))
