"""The teacher's qualification: who writes calls may teach, who doesn't is refused with figures, and nobody is asked
twice."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.api import DistillRequest
from common.errors import UserError
from common.wire import TeacherAnswer
from student_trainer import loop
from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.loop import train
from student_trainer.persistence import run_folder
from student_trainer.persistence.run_folder import read_metrics
from student_trainer.settings import TrainSettings
from tests.unit.student_trainer.interruptions import interrupted_at
from tests.unit.student_trainer.pair import run_pair
from tests.unit.student_trainer.stand_in import TOKENIZER, TOP_K, StandInTeacher, connect_to
from tests.unit.student_trainer.students import ALONE, WORKERS, short_run
from tests.unit.student_trainer.watchdog.offering import GOOD, LONGEST, offering_row

NOT_MEASURED_BY = {"max_perplexity": 1e9, "max_calibration_error": 1.0}
"""Its distributions are drawn by chance, whatever it writes."""


class Writing(StandInTeacher):
    """Writes `text` for whoever lets it end; probes of its alignment see what it finds likeliest."""

    def __init__(self, text: str, **changes: Any) -> None:
        super().__init__(**changes)
        self.text = text

    async def distill(self, request: DistillRequest) -> list[TeacherAnswer]:
        answers = await super().distill(request)
        (sequence,) = request.sequences
        if not (sequence.generate and sequence.generate.stop_token_ids):
            return answers
        ids = np.array([*TOKENIZER.encode(self.text), TOKENIZER.eos_token_id], np.int32)
        rows = np.resize(np.arange(len(answers[0])), len(ids))
        arrays = ("token_logprobs", "topk_ids", "topk_logprobs", "tail_logprob")
        written = {name: getattr(answers[0], name)[rows] for name in arrays}
        return [replace(answers[0], token_ids=ids, finish_reason="stop", **written)]

    @property
    def examined(self) -> int:
        """How many completions it was asked to write as an examination does."""
        return sum(
            bool(each.sequences[0].generate and each.sequences[0].generate.stop_token_ids) for each in self.requests
        )


def live_run(tmp_path: Path, **changes: Any) -> TrainSettings:
    """A run on 20 rows, whose teacher is examined on 6 of them."""
    data = {"train": tmp_path / "data", "validation": tmp_path / "data", "validation_rows": 2, "max_length": LONGEST}
    teacher = {"url": "http://stand-in", "model": "teacher", "top_k": TOP_K, "window": 4, "max_window": 4}
    values = {
        "data": data,
        "teacher": teacher,
        "qualification": {"rows": 6, "max_new_tokens": 60, "thresholds": NOT_MEASURED_BY},
        "allow_unqualified_teacher": False,
        "rows": [offering_row(number) for number in range(20)],
    }
    return short_run(tmp_path, **(values | changes))


def run(settings: TrainSettings, teacher: StandInTeacher, world: ProcessGroup = ALONE) -> None:
    run_folder.prepare(settings)
    train(settings, world, connect_to(teacher))


def test_who_writes_calls_may_teach(tmp_path: Path):
    settings, teacher = live_run(tmp_path), Writing(GOOD)
    run(settings, teacher)
    assert teacher.examined == 6
    assert len([line for line in read_metrics(settings.run_folder) if "train/loss" in line]) == 5
    kept = json.loads(settings.files.qualification.read_text())
    assert (kept["revision"], kept["figures"]["rows"], kept["figures"]["arguments"]) == ("r1", 6, 1.0)
    assert "the teacher teacher is qualified, by 6 rows" in settings.files.log.read_text()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"name": "go"}', "form 0.000, expected at least 0.8; known_api 0.000"),
        (GOOD.replace("Action: go", "Action: gone"), "qualified: known_api 0.000, expected at least 0.7; arguments 0"),
        (GOOD.replace("{}", "none"), "qualified: arguments 0.000, expected at least 0.6, on 6 rows"),
    ],
)
def test_who_does_not_is_refused_before_the_first_step(tmp_path: Path, text: str, why: str):
    settings = live_run(tmp_path)
    with pytest.raises(UserError, match=f"the teacher teacher is not .*{why}.*allow_unqualified_teacher: true"):
        run(settings, Writing(text))
    assert read_metrics(settings.run_folder) == []
    assert json.loads(settings.files.qualification.read_text())["figures"]["rows"] == 6
    run(settings, Writing(GOOD))  # a better one is welcome


def test_recorded_tokens_that_surprise_it_are_a_reason_too(tmp_path: Path):
    settings = live_run(tmp_path, qualification={"rows": 6, "max_new_tokens": 60})
    with pytest.raises(
        UserError, match=r"not qualified: perplexity \d+\.\d+, expected at most [\d.]+; calibration_error 0"
    ):
        run(settings, Writing(GOOD))


def test_it_may_be_allowed_and_is_warned_of(tmp_path: Path):
    settings = live_run(tmp_path, allow_unqualified_teacher=True)
    run(settings, Writing("{}"))
    assert "WARNING the teacher teacher is not qualified: form 0.000" in settings.files.log.read_text()
    assert read_metrics(settings.run_folder)[-1]["progress/step"] == 5


def test_a_resumed_run_does_not_ask_again(tmp_path: Path):
    settings, teacher = live_run(tmp_path, checkpoint_every=1), Writing(GOOD)
    with interrupted_at(loop, "train_step", 3):
        run(settings, teacher)
    run(settings, teacher)
    assert teacher.examined == 6


def test_other_weights_are_examined_anew(tmp_path: Path):
    """The run takes them in by its policy, but not unexamined."""
    teacher = live_run(tmp_path).teacher
    assert teacher
    changes: dict[str, Any] = {"teacher": teacher.model_dump() | {"on_new_revision": "accept"}, "checkpoint_every": 1}
    with interrupted_at(loop, "train_step", 3):
        run(live_run(tmp_path, **changes), Writing(GOOD))
    with pytest.raises(UserError, match="not qualified: form"):
        run(live_run(tmp_path, **changes), Writing("{}", revision="r2"))


def test_rows_that_cannot_be_judged_qualify_nobody(tmp_path: Path):
    teacher = Writing(
        GOOD, refuse=lambda sequence: 422 if sequence.id in ("row-0", "row-1", "row-2", "row-3") else None
    )
    with pytest.raises(UserError, match=r"not qualified: judged 0\.333, expected at least 0\.5, on 6 rows"):
        run(live_run(tmp_path), teacher)


def test_without_held_out_rows_it_says_that_nobody_was_examined(tmp_path: Path):
    settings = live_run(tmp_path, data={"train": tmp_path / "data", "max_length": LONGEST})
    run(settings, StandInTeacher())
    assert "the teacher isn't examined: set data.validation" in settings.files.log.read_text()


def refused_together(world: ProcessGroup, settings: TrainSettings) -> None:
    teacher = Writing("{}")
    with pytest.raises(UserError, match="not qualified: form"):
        train(settings, world, connect_to(teacher))
    assert teacher.examined == (6 if world.leads else 0)


def test_all_workers_hear_the_verdict_of_one(tmp_path: Path):
    settings = live_run(tmp_path, workers=WORKERS | {"parallelism": "fsdp"})
    run_folder.prepare(settings)
    run_pair(refused_together, settings)
