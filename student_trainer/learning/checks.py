"""Checks before time is lost: every parameter learns, every number is finite.

All workers find the same and raise the same, so none is left waiting for the others.
"""

import logging
import math
from pathlib import Path

from common.errors import UserError
from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.learning.measure import listed
from student_trainer.learning.nonfinite_dump import StepPart, folder_of, write_failed
from student_trainer.learning.student import Student
from student_trainer.settings import TrainSettings

log = logging.getLogger(__name__)


def check_gradients(student: Student, settings: TrainSettings) -> None:
    """Raise UserError naming parameters that should learn and have no gradient; a gradient of zeros is one."""
    idle = [name for name, each in student.named_parameters() if each.requires_grad and each.grad is None]
    if idle:
        fix = "set student.lora" if settings.student.lora is None else "check student.lora.target_modules"
        raise UserError(f"no gradient reaches {listed(idle)}: the loss doesn't depend on them; {fix}")


def check_finite(
    loss: float, grad_norm: float, student: Student, part: StepPart, run_folder: Path, world: ProcessGroup
) -> None:
    """Raise UserError naming the step and its sequences when `loss` or `grad_norm`, those of all workers, isn't finite.

    Before it raises, it writes what is needed to see the step again (`nonfinite_dump.py`): the student and each
    worker's `part`. Call it before the update.
    """
    if math.isfinite(loss) and math.isfinite(grad_norm):
        return
    folder = folder_of(run_folder, part.step)
    write_failed(folder, student, part, world)
    raise UserError(
        f"step {part.step}: loss {loss}, gradient norm {grad_norm}, expected finite numbers; its sequences: "
        f"{', '.join(world.joined(part.ids))}. `python -m student_trainer replay {folder}` shows which. Leave those "
        "out, lower optimizer.learning_rate, or set student.dtype: float32"
    )


def warn_of_approximation(settings: TrainSettings, vocabulary_size: int) -> None:
    """Say in the log where the loss leaves out, or only estimates, what the teacher gives outside its k best."""
    if settings.teacher is None or settings.teacher.top_k >= vocabulary_size:
        return
    if settings.loss.tail == "renormalise":
        log.warning(
            "loss.tail renormalise with top_k %d of %d ids: what the student puts outside them costs nothing",
            settings.teacher.top_k, vocabulary_size,
        )  # fmt: skip
    elif settings.loss.temperature != 1:
        log.warning(
            "loss.temperature %g with top_k %d of %d ids: the tempered tail is an approximation, T = 1 is exact",
            settings.loss.temperature, settings.teacher.top_k, vocabulary_size,
        )  # fmt: skip
