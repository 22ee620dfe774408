"""Two workers, with DDP, FSDP or one after the other, match one in loss and gradient, also where one has no tokens."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from student_trainer import loop
from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.loop import train
from student_trainer.persistence import run_folder
from student_trainer.persistence.run_folder import read_metrics
from student_trainer.settings import TrainSettings
from tests.unit.student_trainer.interruptions import interrupted_at
from tests.unit.student_trainer.pair import run_pair
from tests.unit.student_trainer.stand_in import StandInTeacher, connect_to, make_row
from tests.unit.student_trainer.students import ALONE, WORKERS, save_student, short_run, student_settings

ROWS = 9
"""With batches of 4 the third step has a single row: one worker has nothing. Of three held-out rows one has two."""


def train_in_turns(world: ProcessGroup, turns: list[TrainSettings]) -> None:
    """A step with each of `turns`, the last of which goes on to the end."""
    for settings in turns[:-1]:
        with interrupted_at(loop, "train_step", 2):
            train(settings, world, connect_to(StandInTeacher()))
    train(turns[-1], world, connect_to(StandInTeacher()))


ADAPTERS: dict[str, Any] = {"rank": 3}
ONE_BY_ONE = {"micro_batch_size": 1}
PACKED = {"micro_batch_size": None, "micro_batch_tokens": 90}


@pytest.mark.parametrize(
    ("ways", "lora", "cut"),
    [
        ("ddp", ADAPTERS, ONE_BY_ONE),
        ("ddp", ADAPTERS, PACKED),
        ("fsdp", ADAPTERS | {"use_dora": True}, ONE_BY_ONE),
        ("fsdp-ddp-fsdp", ADAPTERS, ONE_BY_ONE),
        ("fsdp-ddp-fsdp", None, PACKED),
    ],
)
def test_two_workers_match_one(tmp_path: Path, ways: str, lora: dict[str, Any] | None, cut: dict[str, int | None]):
    """One worker takes sequence by sequence; two may pack them. A whole student has embeddings and head tied."""
    save_student(tmp_path / "student", tied=lora is None)
    rows = [make_row(number, completion="yes" * (1 + number % 3)) for number in range(ROWS)]
    student = student_settings(tmp_path / "student", gradient_checkpointing=True, lora=lora).model_dump()
    data = {"train": tmp_path / "data", "validation": tmp_path / "data", "validation_rows": 3, "max_length": 128}
    changes = {"data": data, "student": student, "validate_every": 1, "checkpoint_every": 1}
    one = short_run(tmp_path, rows=rows, run_folder=tmp_path / "one", **changes, **ONE_BY_ONE)
    turns = [
        short_run(tmp_path, run_folder=tmp_path / "two", workers=WORKERS | {"parallelism": way}, **changes, **cut)
        for way in ways.split("-")
    ]
    run_folder.prepare(turns[0])
    run_pair(train_in_turns, turns)
    run_folder.prepare(one)
    train(one, ALONE, connect_to(StandInTeacher()))

    alone, together = read_metrics(one.run_folder), read_metrics(tmp_path / "two")
    assert [line["progress/step"] for line in together] == [0, 1, 2, 3]
    assert together[-1]["progress/used"] == 1
    for a, b in zip(alone, together, strict=True):
        assert a.keys() == b.keys()
        for name in a.keys() - {name for name in a if name.startswith(("time/", "pipeline/"))}:
            assert a[name] == pytest.approx(b[name], rel=1e-5, abs=1e-7), name
    assert all(0 <= line["time/waited_s"] <= line["time/step_s"] for line in together[1:])
    file = "adapter/adapter_model.safetensors" if lora else "model/model.safetensors"
    learnt, learnt_alone = (load_file(tmp_path / run / file) for run in ("two", "one"))
    torch.testing.assert_close(learnt, learnt_alone, rtol=0, atol=1e-5)
