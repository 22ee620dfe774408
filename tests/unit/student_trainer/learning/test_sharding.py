"""FSDP's student: what each worker holds, checkpoints that any kind of run goes on from to the bit, what is refused."""

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch.distributed.tensor import DTensor

from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.learning.step import Learner, make_learner
from student_trainer.persistence import checkpoint
from student_trainer.persistence.checkpoint import State
from student_trainer.settings import TrainSettings
from tests.unit.student_trainer.pair import run_pair
from tests.unit.student_trainer.students import ALONE, SFT, WORKERS, save, short_run, storage_at, student_settings

FSDP = WORKERS | {"parallelism": "fsdp"}


def check_parts(world: ProcessGroup, settings: TrainSettings) -> None:
    student = make_learner(settings, 10, world).student
    parameters = list(student.parameters())
    assert all(isinstance(parameter, DTensor) for parameter in parameters)
    held = sum(parameter.to_local().numel() for parameter in parameters)
    assert held == pytest.approx(sum(parameter.numel() for parameter in parameters) / 2, rel=0.05)
    whole = make_learner(settings, 10, ALONE).student.state_dict()
    for name, part in student.state_dict().items():
        assert torch.equal(part.full_tensor(), whole[name]), name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_each_worker_holds_its_part_of_the_same_student(tmp_path: Path, dtype: str):
    student = student_settings(tmp_path / "student", dtype=dtype).model_dump()
    run_pair(check_parts, short_run(tmp_path, student=student, workers=FSDP, **SFT))


def move(learner: Learner) -> None:
    """A step along the same gradient everywhere."""
    for number, parameter in enumerate(learner.student.trainable()):
        parameter.grad = torch.full_like(parameter, 0.1 * number)
    learner.optimizer.step()
    learner.schedule.step()


def pass_on(world: ProcessGroup, settings: TrainSettings, source: Path | None, folder: Path) -> None:
    """Go on from `source`, if any; write the checkpoint of step 1, as found, and of step 2, a step later."""
    learner = make_learner(settings, 10, world)
    if source:
        assert checkpoint.load(source, learner) == State(2, 0, 2, 20)
    for step in (1, 2):
        save(storage_at(folder), learner, State(step, 0, step, 20), world)
        move(learner)


def hashes(folder: Path, step: int) -> dict[str, str]:
    """Of all files but the step's own number."""
    found: dict[str, str] = json.loads((folder / "checkpoints" / f"step-{step}" / "manifest.json").read_text())
    return {name: each for name, each in found.items() if name != "state.json"}


@pytest.mark.parametrize("lora", [{"rank": 1}, {"rank": 3}, None])
def test_each_kind_of_run_goes_on_from_the_others_checkpoints_to_the_bit(tmp_path: Path, lora: dict[str, int] | None):
    """One worker, then DDP, FSDP, DDP and one again; each also takes a step, which must come out alike."""
    student = student_settings(tmp_path / "student", lora=lora).model_dump()
    ddp, fsdp = (short_run(tmp_path, student=student, workers=workers, **SFT) for workers in (WORKERS, FSDP))
    pass_on(ALONE, ddp, None, tmp_path / "0")
    for number, settings in enumerate((ddp, fsdp, ddp), start=1):
        run_pair(pass_on, settings, tmp_path / str(number - 1) / "checkpoints" / "step-2", tmp_path / str(number))
    pass_on(ALONE, ddp, tmp_path / "3" / "checkpoints" / "step-2", tmp_path / "4")
    for number in range(4):
        assert hashes(tmp_path / str(number), 2) == hashes(tmp_path / str(number + 1), 1), number
    assert hashes(tmp_path / "4", 2) != hashes(tmp_path / "4", 1)


def test_what_cannot_be_sharded_is_refused_by_name(tmp_path: Path):
    student = student_settings(tmp_path / "student", quantization="nf4").model_dump()
    with pytest.raises(
        ValidationError, match=r"fsdp can't shard student\.quantization nf4; set student\.quantization: none, or"
    ):
        short_run(tmp_path, workers=FSDP, student=student, **SFT)
    with pytest.raises(ValidationError, match=r"fsdp can't shard optimizer\.name paged_adamw_8bit"):
        short_run(tmp_path, workers=FSDP, optimizer={"name": "paged_adamw_8bit"}, **SFT)
