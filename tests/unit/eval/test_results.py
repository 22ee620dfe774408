"""Evaluations on disk: they come back as they were, and what isn't one is named."""

from pathlib import Path

import pytest

from common.errors import UserError
from eval.results import (
    Evaluation,
    Figure,
    Judgement,
    Loss,
    PartLoss,
    RowResult,
    read_evaluation,
    read_row_results,
    rows_file,
    write_evaluation,
)

ROW = RowResult(
    model="kd",
    group="seen",
    row="a/1",
    trace="a",
    step=1,
    tool="jam",
    tools=["jam", "ham"],
    tokens=10,
    nats=5.0,
    parts={"thought": PartLoss(tokens=10, nats=5.0)},
    written_tokens=7,
    measures={"valid": 1.0, "abstains": None},
)
JUDGEMENT = Judgement(
    model="kd",
    group="seen",
    rows=1,
    tokens=10,
    perplexity=1.6,
    written_tokens=7.0,
    measures={"loss": Figure(value=0.5, low=0.4, high=0.6, rows=1), "abstains": Figure(value=None)},
    parts={"thought": Loss(rows=1, tokens=10, loss=0.5, perplexity=1.6)},
    steps={1: Loss(rows=1, tokens=10, loss=0.5, perplexity=1.6)},
    left_out={"a/2": "too long"},
)


def test_round_trip(tmp_path: Path) -> None:
    output = tmp_path / "made/evaluation.json"
    evaluation = Evaluation(judgements=[JUDGEMENT], splits={"seen": "seen"})
    write_evaluation(output, evaluation, [ROW, ROW.model_copy(update={"row": "a/2"})])
    assert read_evaluation(output) == evaluation
    assert [row.row for row in read_row_results(output)] == ["a/1", "a/2"]
    assert read_row_results(output)[0] == ROW
    assert rows_file(output).name == "evaluation.rows.jsonl"


def test_what_is_no_evaluation_is_named(tmp_path: Path) -> None:
    output = tmp_path / "evaluation.json"
    with pytest.raises(UserError, match=r"can't read .*evaluation\.json"):
        read_evaluation(output)
    output.write_text('[{"model": "kd", "loss": 0.1}]')
    with pytest.raises(UserError, match="no evaluation of this version"):
        read_evaluation(output)
    with pytest.raises(UserError, match=r"there is no .*evaluation\.rows\.jsonl"):
        read_row_results(output)
    rows_file(output).write_text(ROW.model_dump_json() + "\n{}\n")
    with pytest.raises(UserError, match=r"line 2 of .* is no row of an evaluation \(model: Field required"):
        read_row_results(output)


def test_a_figure_that_is_not_known_is_never_read_as_a_number() -> None:
    unknown = JUDGEMENT.model_copy(update={"measures": {"valid": Figure(value=None), "loss": Figure(value=None)}})
    for name in ("valid", "loss"):
        with pytest.raises(ValueError, match=f"has no {name}"):
            getattr(unknown, name)
    assert JUDGEMENT.loss == 0.5
