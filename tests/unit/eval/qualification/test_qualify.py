"""The command: it writes figures down, shows them beside the thresholds, and says by its exit code who may teach."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.errors import UserError
from common.teacher_client.settings import TeacherClientSettings
from common.toolbench.rows import write_rows
from eval.__main__ import main
from eval.qualification import qualify
from tests.unit.common.quality.scripted import LONGEST, Scripted, make_row
from tests.unit.student_trainer.stand_in import TOKENIZER

LENIENT = ["--thresholds.max_calibration_error", "1", "--thresholds.max_perplexity", "3"]
"""A scripted model is right each time, and says that it is half sure."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    TOKENIZER.save_pretrained(tmp_path / "tokenizer")
    write_rows(tmp_path / "data", [make_row(f"row-{number}") for number in range(5)])
    settings = {
        "teacher": {"url": "http://teacher", "model": "expert"},
        "data": str(tmp_path / "data"),
        "tokenizer": str(tmp_path / "tokenizer"),
        "output": str(tmp_path / "out/figures.json"),
        "rows": 4,
        "top_k": 4,
        "max_length": LONGEST,
    }
    (tmp_path / "out").mkdir()
    (tmp_path / "qualify.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path / "qualify.yaml"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[TeacherClientSettings]]:
    """Serves models by their names; returns what asks for them."""

    def serve(**models: Scripted) -> list[TeacherClientSettings]:
        asked: list[TeacherClientSettings] = []

        @asynccontextmanager
        async def met(settings: TeacherClientSettings, *_: Any) -> AsyncIterator[Scripted]:
            asked.append(settings)
            yield models[settings.model]

        monkeypatch.setattr(qualify, "met", met)
        return asked

    return serve


def test_a_qualified_teacher(config: Path, served: Callable[..., Any], capsys: pytest.CaptureFixture[str]):
    asked = served(expert=Scripted(), base=Scripted())
    student = ["--student.url", "http://student", "--student.model", "base"]
    assert main(["qualify", str(config), *student, *LENIENT]) == 0
    assert [(each.url, each.model, each.top_k) for each in asked] == [
        ("http://teacher", "expert", 4), ("http://student", "base", 4),
    ]  # fmt: skip
    shown = capsys.readouterr().out
    assert "expert is qualified (4 rows)" in shown
    assert "perplexity" in shown
    assert "at most 1" in shown
    written = json.loads((config.parent / "out/figures.json").read_text())
    assert (written["model"], written["qualified"], written["figures"]["rows"]) == ("expert", True, 4)
    assert written["figures"]["overlap"] == pytest.approx(0.5, abs=0.01)
    assert written["thresholds"]["max_calibration_error"] == 1


def test_an_unqualified_one_is_exit_code_1(
    config: Path, served: Callable[..., Any], capsys: pytest.CaptureFixture[str]
):
    served(expert=Scripted(text='{"name": "go"}'))
    assert main(["qualify", str(config), *LENIENT]) == 1
    assert "expert is not qualified (4 rows)" in (shown := capsys.readouterr().out)
    assert shown.count("fails") == 3
    assert not json.loads((config.parent / "out/figures.json").read_text())["qualified"]


def test_nothing_to_examine_it_on_is_one_line(config: Path, served: Callable[..., Any]):
    served(expert=Scripted())
    write_rows(config.parent / "empty", [])
    with pytest.raises(UserError, match=r"no Parquet rows at .*empty"):
        main(["qualify", str(config), "--data", str(config.parent / "empty")])
