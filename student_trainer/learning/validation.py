"""Validation: KL and cross-entropy of the student on a fixed held-out slice, in nats per position, at temperature 1."""

import logging
from collections.abc import Iterable, Iterator
from itertools import islice

import torch

from common.toolbench.rows import PromptRow, read_rows
from student_trainer.data.plan import Example
from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.learning.measure import alpha_of, batches_of, means, shared_weights
from student_trainer.learning.student import Student
from student_trainer.loss.targets import loss_scale
from student_trainer.settings import TrainSettings

log = logging.getLogger(__name__)


def held_out_rows(settings: TrainSettings, world: ProcessGroup) -> Iterator[tuple[int, PromptRow]]:
    """This worker's share of the slice, as (index, row)."""
    if settings.data.validation is None:
        return iter(())
    rows: Iterable[PromptRow] = islice(read_rows(settings.data.validation), settings.data.validation_rows)
    return islice(enumerate(rows), world.rank, None, world.size)


@torch.no_grad()
def validate(
    student: Student, examples: list[Example], settings: TrainSettings, world: ProcessGroup
) -> dict[str, float]:
    """Measure the student on all workers' `examples` together; returns nothing when there are none."""
    weights = shared_weights(examples, settings, world)
    if not weights.distill and not weights.instruct:
        if settings.data.validation and world.leads:
            log.warning("no row of %s is left to validate on; nothing is measured", settings.data.validation)
        return {}
    student.eval()
    batches = batches_of(examples, student.vocabulary_size, settings, world)
    loss = settings.loss.model_copy(update={"temperature": 1.0})
    scale = loss_scale(weights, alpha_of(settings))
    sums = [student(batch, loss, scale).metrics for batch in batches]
    student.train()
    measured = means(sums, weights, alpha_of(settings), world)
    return {f"validation/{name}": value for name, value in measured.items()}
