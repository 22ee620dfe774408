"""What `python -m eval score` writes, as data that reports read.

- `OUTPUT` is one JSON object, an `Evaluation`: a `Judgement` for each model on each group, with its figures.
- `OUTPUT` with the suffix `.rows.jsonl` has a `RowResult` on each line: a row of a group as one model scored and
  wrote it. Paired intervals need these, since two models are compared row by row.

A measure is a name in `Judgement.measures` and, but for `loss` and `excess`, in `RowResult.measures`. `loss` is in nats
per token, `excess` in nats per row; the others are shares, see `eval.metrics.measures`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from common import jsonl
from common.errors import UserError
from common.files import write_atomically
from common.toolbench.react import Part

SCHEMA_VERSION: Literal[1] = 1


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


class Figure(_Result):
    """A measure over rows, with its 95 % interval, clustered by tool: see `eval.metrics.bootstrap`."""

    value: float | None
    """None where it applies to no row: nothing is no perfect score."""
    low: float | None = None
    high: float | None = None
    """None where the rows are of fewer than two tools."""
    rows: int = 0
    """Rows that it applies to."""


class Loss(_Result):
    """Negative log-likelihood of recorded tokens."""

    rows: int
    tokens: int
    loss: float
    """Nats per token."""
    perplexity: float


class Judgement(_Result):
    """What one model is worth on one group."""

    model: str
    group: str
    rows: int
    """Judged rows; none of the figures counts those that were left out."""
    tokens: int
    """Of their recorded completions."""
    perplexity: float
    written_tokens: float
    """Mean length of the written completions."""
    measures: dict[str, Figure]
    """`loss`; `excess`, where the world of the rows is given; and the shares of written completions."""
    parts: dict[Part, Loss]
    """Of Thought, Action and Action Input: each token in one of them, so that tokens and nats add up to the whole."""
    steps: dict[int, Loss]
    """By number of the step in its trace, from 1."""
    left_out: dict[str, str]
    """Rows that could not be judged, by id, and why."""

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self._known("loss")

    @property
    def valid(self) -> float:
        """Share of written completions that a tool environment can run."""
        return self._known("valid")

    def _known(self, measure: str) -> float:
        value = self.measures[measure].value
        if value is None:
            raise ValueError(f"{self.model} on {self.group} has no {measure}")
        return value


class Evaluation(_Result):
    """A whole evaluation."""

    schema_version: Literal[1] = SCHEMA_VERSION
    judgements: list[Judgement]
    splits: dict[str, str] = {}
    """Groups whose rows were checked against what the models were trained on: by which split's rule."""


class PartLoss(_Result):
    """The tokens of one part of a recorded completion."""

    tokens: int
    nats: float


class RowResult(_Result):
    """A row as one model scored and wrote it."""

    model: str
    group: str
    row: str
    trace: str
    step: int
    tool: str
    """The tool that most functions on offer are of; rows of one tool are one cluster."""
    tools: list[str]
    """All tools on offer, that one first."""
    category: str | None = None
    """The tool's, where a world or query records tell it."""
    tokens: int
    nats: float
    """Negative log-likelihood of the recorded completion."""
    floor_nats: float | None = None
    """How much of it is the world's own wording, where the world of the rows is given."""
    parts: dict[Part, PartLoss]
    written_tokens: int
    measures: dict[str, float | None]
    """What holds of the written completion, 1 or 0, and None where the question doesn't arise."""


_ROW = TypeAdapter(RowResult)


def rows_file(output: Path) -> Path:
    """Where the rows of an evaluation stand whose figures are in `output`."""
    return output.with_suffix(".rows.jsonl")


def write_evaluation(output: Path, evaluation: Evaluation, rows: Iterable[RowResult]) -> None:
    """Write the figures and, before them, the rows that they are of."""
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(rows_file(output), "".join(row.model_dump_json() + "\n" for row in rows))
    write_atomically(output, evaluation.model_dump_json(indent=1) + "\n")


def read_evaluation(output: Path) -> Evaluation:
    """The figures in `output`. Raises UserError where there are none of this version."""
    try:
        return Evaluation.model_validate_json(output.read_bytes())
    except OSError as error:
        raise UserError(
            f"can't read the evaluation {output}: {error.strerror}; `python -m eval score` writes it"
        ) from None
    except ValidationError as error:
        raise UserError(
            f"{output} is no evaluation of this version ({_first(error)}); score the models again"
        ) from None


def read_row_results(output: Path) -> list[RowResult]:
    """The rows beside the figures in `output`. Raises UserError where a line is none, or there is no such file."""
    file = rows_file(output)
    if not file.exists():
        raise UserError(f"there is no {file}, which `python -m eval score` writes beside {output.name}; score again")
    found = []
    for number, line in enumerate(jsonl.whole_lines(file), 1):
        try:
            found.append(_ROW.validate_json(line))
        except ValidationError as error:
            raise UserError(
                f"line {number} of {file} is no row of an evaluation ({_first(error)}); score again"
            ) from None
    return found


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'as a whole'}: {problem['msg']}"
