"""A step whose loss or gradient was not finite, kept so that it can be seen again.

run_folder/not_finite/step-N/
  student/           what the student had learnt before the step, as a checkpoint holds it
  worker-R.pt        torch.save of one worker's part, tensors and numbers only: step, rank, what a unit of each sum
                     adds to the loss (`scale`), the sequences' ids, and `batches`: token ids, masks, weights, the
                     teacher's arrays
"""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from common.run_folder import RunFolder
from student_trainer.batching.batch import Batch
from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.learning.sharding import gathered
from student_trainer.learning.student import Student
from student_trainer.loss.targets import LossScale, Targets, TeacherTopK


@dataclass(frozen=True)
class StepPart:
    """One worker's part of a step: what it takes, beside the student, to compute it again."""

    step: int
    rank: int
    scale: LossScale
    ids: list[str]
    batches: list[Batch]


def folder_of(run_folder: Path, step: int) -> Path:
    return RunFolder(run_folder).not_finite / f"step-{step}"


def write_failed(folder: Path, student: Student, part: StepPart, world: ProcessGroup) -> None:
    """Write the student and this worker's part; every worker must call it, and all is there when it returns."""
    weights = gathered(student.weights(), world)
    if world.leads:
        shutil.rmtree(folder, ignore_errors=True)  # the same step, failed before with other workers
        folder.mkdir(parents=True)
        student.save(folder / "student", weights)
    world.wait_for_all()
    torch.save(asdict(part), folder / f"worker-{part.rank}.pt")
    world.wait_for_all()


def read_failed(file: Path, device: torch.device) -> StepPart:
    """One worker's part, its tensors on `device`."""
    values = torch.load(file, weights_only=True, map_location=device)
    batches = [_batch(each) for each in values["batches"]]
    return StepPart(**values | {"scale": LossScale(**values["scale"]), "batches": batches})


def _batch(values: dict[str, Any]) -> Batch:
    targets = values["targets"]
    teacher = targets["teacher"] and TeacherTopK(**targets["teacher"])
    return Batch(**values | {"targets": Targets(**targets | {"teacher": teacher})})
