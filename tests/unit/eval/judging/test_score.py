"""The whole evaluation, models behind a stand-in: figures and rows on disk, and leakage refused before any is asked."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml
from rich.console import Console

from common.errors import UserError
from common.render import Renderer
from common.settings import load, validate
from common.teacher_client.settings import TeacherClientSettings
from common.toolbench.convert import convert
from common.toolbench.rows import read_rows
from common.world.build import build_world
from common.world.settings import WorldSettings
from eval.judging.score import score
from eval.judging.tables import tables
from eval.results import read_evaluation, read_row_results
from eval.settings import EvalSettings
from tests.models import save_tiny_tokenizer
from tests.unit.eval.judging import test_judge

LONGEST = 8192


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world, its rows, a tokenizer, and the run folder of a model that was trained on its training rows."""
    folder = tmp_path_factory.mktemp("score")
    sizes = {"train_tasks": 8, "query_tasks": 0, "evaluation_tasks": 3, "corpus_documents": 0}
    build_world(WorldSettings.model_validate(sizes), folder / "world")
    for split in ("train", "seen", "unseen_tool"):
        convert(folder / f"world/{split}.json", folder / split)
    save_tiny_tokenizer(folder / "tokenizer")
    (folder / "run").mkdir()
    (folder / "run/config.yaml").write_text(yaml.safe_dump({"data": {"train": str(folder / "train")}}))
    return folder


def settings(folder: Path, output: Path, **changes: object) -> EvalSettings:
    values = {
        "models": {
            "base": {"url": "http://127.0.0.1:1/student", "model": "base"},
            "kd": {"url": "http://127.0.0.1:1/student", "model": "kd", "trained_by": str(folder / "run")},
        },
        "groups": {
            "known": str(folder / "seen"),
            "new": {"rows": str(folder / "unseen_tool"), "split": "unseen_tool"},
        },
        "world": str(folder / "world"),
        "tokenizer": str(folder / "tokenizer"),
        "output": str(output),
        "max_length": LONGEST,
    }
    return validate(EvalSettings, values | changes, "test")


@asynccontextmanager
async def stand_in(
    asked: TeacherClientSettings, renderer: Renderer, max_length: int, prompts: list[list[int]]
) -> AsyncIterator[test_judge.StandIn]:
    yield test_judge.StandIn(renderer, -0.5, max_length)


def scored(asked: EvalSettings) -> None:
    written = dict.fromkeys(_ids(asked), test_judge.GOOD)
    with patch("eval.judging.score.met", stand_in), patch.object(test_judge, "WRITTEN", written):
        score(asked)


def _ids(asked: EvalSettings) -> list[str]:
    return [row.id for group in asked.groups.values() for row in read_rows(group.rows)]


def test_figures_rows_and_tables(folder: Path, tmp_path: Path) -> None:
    asked = settings(folder, tmp_path / "evaluation.json")
    scored(asked)
    evaluation, rows = read_evaluation(asked.output), read_row_results(asked.output)
    assert [(each.model, each.group) for each in evaluation.judgements] == [
        ("base", "known"),
        ("base", "new"),
        ("kd", "known"),
        ("kd", "new"),
    ]
    assert sum(each.rows for each in evaluation.judgements) == len(rows) == len({(r.model, r.row) for r in rows})
    assert evaluation.splits == {"new": "unseen_tool"}
    assert all(row.floor_nats and row.category for row in rows)
    for judgement in evaluation.judgements:
        own = [row for row in rows if (row.model, row.group) == (judgement.model, judgement.group)]
        assert judgement.loss == pytest.approx(sum(row.nats for row in own) / sum(row.tokens for row in own))
        assert sum(loss.tokens for loss in judgement.steps.values()) == judgement.tokens
        assert judgement.measures["parses"].value == 1.0
        assert judgement.measures["hallucinates"].value == 1.0
    out = StringIO()
    Console(file=out, width=120).print(*tables(evaluation))
    assert "above floor" in out.getvalue()
    assert "made up" in out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= 120


def test_without_a_world_the_tables_say_so(folder: Path, tmp_path: Path) -> None:
    asked = settings(folder, tmp_path / "evaluation.json", world=None)
    scored(asked)
    [first, *_] = read_evaluation(asked.output).judgements
    assert "excess" not in first.measures
    out = StringIO()
    Console(file=out, width=120).print(*tables(read_evaluation(asked.output)))
    assert "–" in out.getvalue()


def test_leakage_is_refused_before_a_model_is_asked(folder: Path, tmp_path: Path) -> None:
    leaking = {"new": {"rows": str(folder / "seen"), "split": "unseen_tool"}}
    with patch("eval.judging.score.met", side_effect=AssertionError), pytest.raises(UserError, match="each tool of"):
        score(settings(folder, tmp_path / "e.json", groups=leaking))


def test_a_split_that_nothing_can_be_checked_against_is_refused(folder: Path, tmp_path: Path) -> None:
    models = {"base": {"url": "http://127.0.0.1:1/student", "model": "base"}}
    with pytest.raises(UserError, match=r"'new' names a split, but no model says .* give trained_by"):
        score(settings(folder, tmp_path / "e.json", models=models))


def test_groups_are_folders_or_say_more(folder: Path, tmp_path: Path) -> None:
    asked = settings(folder, tmp_path / "e.json")
    assert (asked.groups["known"].rows, asked.groups["known"].split) == (folder / "seen", None)
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(asked.model_dump(mode="json")))
    assert load(EvalSettings, tmp_path / "again.yaml") == asked
    with pytest.raises(UserError, match=r"groups\.new\.split"):
        settings(folder, tmp_path / "e.json", groups={"new": {"rows": "x", "split": "G4_tool"}})
