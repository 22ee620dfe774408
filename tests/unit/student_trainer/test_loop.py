"""A worker's whole training without Ray: learning, validation, resuming to the bit."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from common.teacher_client.failures import TeacherUnavailable
from common.teacher_client.settings import TeacherClientSettings
from common.toolbench.rows import write_rows
from common.wire import TeacherAnswer
from student_trainer import loop
from student_trainer.loop import train
from student_trainer.persistence import run_folder
from student_trainer.persistence.run_folder import Metrics, read_metrics
from student_trainer.persistence.summary import is_finished
from student_trainer.settings import TrainSettings
from tests.unit.student_trainer.interruptions import interrupted_at
from tests.unit.student_trainer.stand_in import VOCABULARY_SIZE, StandInTeacher, connect_to, make_row
from tests.unit.student_trainer.students import ALONE, SFT, save_student, short_run, storage_at


def run(settings: TrainSettings, revision: str = "r1") -> list[Metrics]:
    """Train on the stand-in teacher."""
    run_folder.prepare(settings)
    train(settings, ALONE, connect_to(StandInTeacher(revision=revision)))
    return read_metrics(settings.run_folder)


def student_hash(settings: TrainSettings) -> str:
    (weights,) = settings.files.student(settings.student.is_whole).glob("*.safetensors")
    return hashlib.sha256(weights.read_bytes()).hexdigest()


@pytest.mark.parametrize("mode", [{}, SFT])
def test_training_lowers_the_validation_loss(tmp_path: Path, mode: dict[str, Any]):
    data = {"train": tmp_path / "data", "validation": tmp_path / "data", "validation_rows": 7, "max_length": 128}
    settings = short_run(tmp_path, data=data, epochs=3, validate_every=4, **mode)
    lines = run(settings)
    measured = {line["progress/step"]: line["validation/loss"] for line in lines if "validation/loss" in line}
    assert sorted(measured) == [0, 4, 8, 12, 15]
    assert measured[15] < measured[0] - 0.1
    assert ("validation/kl" in lines[0]) == (settings.mode == "kd")
    summary = json.loads((settings.run_folder / "summary.json").read_text())
    assert summary["used"] == 60
    assert summary["validation_before"]["loss"] == measured[0]
    assert summary["validation_after"]["loss"] == measured[15]


def test_interrupted_and_resumed_ends_bit_equal(tmp_path: Path):
    """From recorded answers, every weight learning, cut inside an epoch, twice."""
    student = short_run(tmp_path).student.model_dump() | {"lora": None}
    changes: dict[str, Any] = {"student": student, "checkpoint_every": 2, "epochs": 2}
    whole = short_run(tmp_path, run_folder=tmp_path / "whole", **changes)
    undisturbed = run(whole)
    replay = whole.teacher.model_dump() | {"source": "record", "record_folder": tmp_path / "whole" / "record"}
    broken = short_run(tmp_path, run_folder=tmp_path / "broken", teacher=replay, **changes)
    for steps in (3, 5):  # the second time beginning with the third
        with interrupted_at(loop, "train_step", steps):
            run(broken)
    resumed = run(broken)
    assert [line["train/loss"] for line in resumed if "train/loss" in line] == [
        line["train/loss"] for line in undisturbed if "train/loss" in line
    ]
    assert student_hash(broken) == student_hash(whole)


def test_micro_batches_change_nothing(tmp_path: Path):
    lines = []
    for size, tokens in ((1, None), (4, None), (None, 80)):
        cut = {"micro_batch_size": size, "micro_batch_tokens": tokens}
        lines.append(run(short_run(tmp_path, run_folder=tmp_path / f"run{size}", **cut)))
    for one, four, packed in zip(*lines, strict=True):
        for name in ("train/loss", "train/kl", "train/ce", "optim/grad_norm"):
            assert one[name] == pytest.approx(four[name], rel=1e-5)
            assert one[name] == pytest.approx(packed[name], rel=1e-5)


def test_a_run_whose_prompts_were_all_set_aside_exports_no_student(tmp_path: Path):
    data = {"train": tmp_path / "data", "validation": tmp_path / "data", "max_length": 128}
    settings = short_run(tmp_path, data=data, checkpoint_every=2)
    run_folder.prepare(settings)
    teacher = StandInTeacher(refuse=lambda sequence: 422 if sequence.id.startswith("row-") else None)
    for _ in range(2):  # the second start has a checkpoint of the fourth step to go on from
        with pytest.raises(UserError, match=r"none of 20 prompts could be used, so nothing was learnt: \d+ times"):
            train(settings, ALONE, connect_to(teacher))
    lines = read_metrics(settings.run_folder)
    assert [line["progress/quarantined"] for line in lines if "progress/used" in line] == [4] * 5
    assert not any("train/loss" in line or "validation/loss" in line for line in lines)
    assert "is left to validate on" in (settings.run_folder / "log.txt").read_text()
    assert not (settings.run_folder / "adapter").exists()
    assert not list((settings.run_folder / "checkpoints").glob("step-5"))


def beyond(answer: TeacherAnswer) -> TeacherAnswer:
    """The third likeliest id is one of the rows that only the teacher's output layer has."""
    ids = answer.topk_ids.copy()
    ids[:, 2] = VOCABULARY_SIZE + 7
    return replace(answer, topk_ids=ids)


@pytest.mark.parametrize(("student", "teacher"), [(64, 0), (0, 64)])
def test_output_layers_may_be_padded_to_different_sizes(tmp_path: Path, student: int, teacher: int):
    save_student(tmp_path / "student", padding=student)
    settings = short_run(tmp_path)
    run_folder.prepare(settings)
    spoil = beyond if teacher else lambda answer: answer
    train(settings, ALONE, connect_to(StandInTeacher(spoil, vocabulary_size=VOCABULARY_SIZE + teacher)))
    lines = [line for line in read_metrics(settings.run_folder) if "train/loss" in line]
    assert sum(line["progress/used"] for line in lines) == 20
    assert lines[-1]["train/kl"] < lines[0]["train/kl"]


def test_a_student_is_not_taught_a_token_that_it_has_no_row_for(tmp_path: Path):
    def write_beyond(answer: TeacherAnswer) -> TeacherAnswer:
        ids = answer.token_ids.copy()
        ids[0] = VOCABULARY_SIZE + 7
        return replace(answer, token_ids=ids) if answer.id == "row-3" else answer

    settings = short_run(
        tmp_path, completion={"writer": {"teacher": 1.0}, "max_new_tokens": 6, "keep_length_cut": True}
    )
    run_folder.prepare(settings)
    train(settings, ALONE, connect_to(StandInTeacher(write_beyond, vocabulary_size=VOCABULARY_SIZE + 64)))
    (line,) = settings.files.quarantine.read_text().splitlines()
    assert json.loads(line)["id"] == "row-3"
    assert (json.loads(line)["kind"], json.loads(line)["reason"]) == (
        "unknown_token", "the teacher wrote token 264, the student has rows for 257",
    )  # fmt: skip


def test_a_finished_run_is_left_as_it_is(tmp_path: Path):
    settings = short_run(tmp_path)
    first = run(settings)
    assert run(settings) == first


def test_a_run_after_its_last_step_needs_no_teacher(tmp_path: Path):
    settings = short_run(tmp_path, max_steps=1)
    run(settings)

    def refuse(teacher: TeacherClientSettings, url: str) -> Any:
        raise TeacherUnavailable("down")

    train(settings, ALONE, refuse)
    shutil.rmtree(settings.run_folder / "adapter")
    in_the_way = settings.run_folder / ".adapter.partial"
    in_the_way.touch()
    with pytest.raises(UserError, match=r"can't write the finished student to .*: .*; its checkpoint is whole"):
        train(settings, ALONE, refuse)
    in_the_way.unlink()
    train(settings, ALONE, refuse)
    assert is_finished(settings.run_folder, settings.student)
    written = settings.files.summary.read_text()
    settings.files.summary.write_text(written[:-20])  # torn
    assert not is_finished(settings.run_folder, settings.student)
    train(settings, ALONE, refuse)
    assert settings.files.summary.read_text() == written


def test_other_data_behind_the_same_path_are_refused(tmp_path: Path):
    changes = SFT | {"checkpoint_every": 2}
    with interrupted_at(loop, "train_step", 3):
        run(short_run(tmp_path, **changes))
    shutil.rmtree(tmp_path / "data")
    write_rows(tmp_path / "data", [make_row(number) for number in range(21)], rows_per_file=8, row_group=3)
    with pytest.raises(UserError, match=r"data\.train changed: .*data has 21 rows, .*after step 2 was made with 20"):
        run(short_run(tmp_path, **changes))


def test_a_teacher_replaced_between_two_starts_is_noticed(tmp_path: Path):
    changes: dict[str, Any] = {"checkpoint_every": 2, "max_steps": 4}
    with interrupted_at(loop, "train_step", 3):
        run(short_run(tmp_path, **changes))
    with pytest.raises(UserError, match="got revision r2 of teacher, the run began with r1"):
        run(short_run(tmp_path, **changes), revision="r2")
    teacher = short_run(tmp_path).teacher.model_dump() | {"on_new_revision": "accept"}
    lines = run(short_run(tmp_path, teacher=teacher, **changes), revision="r2")
    assert [line["teacher/asked"] for line in lines if "progress/used" in line] == [4] * 4


def test_a_teacher_that_refuses_too_much_ends_the_run(tmp_path: Path):
    settings = short_run(tmp_path, epochs=4)
    run_folder.prepare(settings)
    teacher = StandInTeacher(refuse=lambda sequence: 422 if sequence.id in ("row-3", "row-5") else None)
    with pytest.raises(UserError, match=r"left \d of \d\d prompts without an answer, .*: \d times: .*no to …;"):
        train(settings, ALONE, connect_to(teacher))
    assert len(read_metrics(settings.run_folder)) >= 50 / 4
    assert not storage_at(settings.run_folder).steps()  # they are asked again when it is resumed


def test_alpha_zero_is_supervised_fine_tuning(tmp_path: Path):
    """On recorded completions, what the teacher says then changes nothing."""
    kd = short_run(tmp_path, run_folder=tmp_path / "kd", loss={"alpha": 0.0})
    sft = short_run(tmp_path, run_folder=tmp_path / "sft", **SFT)
    for one, other in zip(run(kd), run(sft), strict=True):
        assert one["train/loss"] == pytest.approx(other["train/loss"], rel=1e-5)


def test_other_settings_are_refused_by_name_but_speed_is_free(tmp_path: Path):
    run(short_run(tmp_path, **SFT))
    run_folder.prepare(short_run(tmp_path, keep_checkpoints=9, workers={"count": 2, "gpus": 0}, **SFT))
    with pytest.raises(UserError, match=r"batch_size was 4, now 8.*shuffle_seed was 0, now 1"):
        run_folder.prepare(short_run(tmp_path, batch_size=8, shuffle_seed=1, **SFT))


def test_an_inexact_temperature_is_said_in_the_log(tmp_path: Path):
    run(short_run(tmp_path, max_steps=1, loss={"temperature": 2.0}))
    assert "approximation" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.parametrize(
    "loss",
    [
        {"divergence": "reverse_kl", "temperature": 2.0},
        {"divergence": "jsd", "beta": 0.5},
        {"divergence": "skewed_kl", "skew": 0.1, "tail": "renormalise"},
    ],
    ids=lambda loss: loss["divergence"],
)
def test_every_divergence_trains_and_the_size_of_micro_batches_changes_nothing(tmp_path: Path, loss: dict[str, Any]):
    data = {"train": tmp_path / "data", "validation": tmp_path / "data", "validation_rows": 7, "max_length": 128}
    fixed = {"loss": loss | {"alpha": 1.0}, "data": data}
    one, two = (
        run(short_run(tmp_path, run_folder=tmp_path / str(size), micro_batch_size=size, **fixed)) for size in (1, 4)
    )
    for name in ("train/loss", "train/distill", "train/kl", "validation/loss", "optim/grad_norm"):
        values = [[line[name] for line in lines if name in line] for lines in (one, two)]
        assert values[0] == pytest.approx(values[1], rel=1e-4)
    assert two[-1]["validation/distill"] < two[0]["validation/distill"]
    assert ("costs nothing" in (tmp_path / "1" / "log.txt").read_text()) == ("tail" in loss)
