"""One optimizer step: the weights of its positions, micro-batches, gradient, update, metrics."""

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from student_trainer.batching.batch import Batch
from student_trainer.data.plan import StepExamples
from student_trainer.distributed.process_group import ProcessGroup, is_sharded, seed_step
from student_trainer.learning.attention import check_packable
from student_trainer.learning.checks import check_finite, check_gradients
from student_trainer.learning.measure import alpha_of, batches_of, check_masks, means, shared_weights
from student_trainer.learning.nonfinite_dump import StepPart
from student_trainer.learning.optimizer import make_optimizer, make_schedule
from student_trainer.learning.sharding import clip_gradients, loading_device, shard
from student_trainer.learning.step_times import counts_of, times_of
from student_trainer.learning.student import Student, load_student
from student_trainer.loss.fused import LossSums
from student_trainer.loss.targets import LossScale, loss_scale
from student_trainer.settings import TrainSettings


@dataclass(frozen=True)
class Learner:
    """What learns: the student (`module` is the student, or DDP around it), its optimizer and its learning rate."""

    student: Student
    module: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler


def make_learner(settings: TrainSettings, steps: int, world: ProcessGroup) -> Learner:
    """A fresh student and optimizer for a run of `steps`, the same on every worker.

    Raises UserError when the student can't be loaded, or trained as `settings` say.
    """
    sharded = is_sharded(settings, world)
    student = load_student(settings.student, loading_device(world) if sharded else world.device, settings.seed)
    if settings.micro_batch_tokens is not None:
        check_packable(student.base)
    module: nn.Module = student
    if sharded:
        shard(student, getattr(torch, settings.student.dtype), world)
    elif world.size > 1:
        world.share(student.trainable())  # the frozen base is the same file everywhere: no need to send it
        module = DistributedDataParallel(student, init_sync=False, broadcast_buffers=False)
    optimizer = make_optimizer(student.trainable(), settings.optimizer)
    return Learner(student, module, optimizer, make_schedule(optimizer, settings.optimizer, steps))


def train_step(learner: Learner, step: StepExamples, settings: TrainSettings, world: ProcessGroup) -> dict[str, float]:
    """Update the student on `step`, this worker's share of it; returns the metrics of all workers together.

    1. Sum the weights of all workers' positions: what the loss is divided by is known before any forward pass.
    2. Cut micro-batches, and accumulate the gradient of their loss.
    3. Clip the gradient; check that it reaches every parameter and that all numbers are finite.
    4. Update the student, unless no position of any worker has a weight.

    Raises UserError on every worker, with the student unchanged, when the loss or its gradient is not finite, an
    example carries no loss, or a parameter has no gradient.
    """
    seed_step(settings.seed, step.plan.step, world.rank)
    check_masks(step.examples, settings, world)
    weights = shared_weights(step.examples, settings, world)
    met = time.perf_counter()  # who waited for its own examples has been waited for by the others
    scale = loss_scale(weights, alpha_of(settings))
    batches = batches_of(step.examples, learner.student.vocabulary_size, settings, world)
    sums = _accumulate_gradient(learner, batches, scale, settings, world)
    metrics = means(sums, weights, alpha_of(settings), world)
    computed = time.perf_counter()
    grad_norm = clip_gradients(learner.student.trainable(), settings.optimizer.max_grad_norm)
    check_gradients(learner.student, settings)
    part = StepPart(step.plan.step, world.rank, scale, [example.sequence.id for example in step.examples], batches)
    check_finite(metrics.get("loss", 0.0), grad_norm, learner.student, part, settings.run_folder, world)
    learning_rate = float(learner.schedule.get_last_lr()[0])
    if weights.distill or weights.instruct:
        learner.optimizer.step()
    learner.schedule.step()
    return {
        "progress/step": step.plan.step,
        "progress/epoch": step.plan.epoch,
        **{f"train/{name}": value for name, value in metrics.items()},
        "optim/learning_rate": learning_rate,
        "optim/grad_norm": grad_norm,
        **_usage(step, batches, world),
        **times_of(step, met, computed, world),
    }


def _accumulate_gradient(
    learner: Learner, batches: list[Batch], scale: LossScale, settings: TrainSettings, world: ProcessGroup
) -> list[dict[str, Tensor]]:
    """Forward and backward of each micro-batch; returns their metrics, of which none keeps its activations.

    Workers with DDP meet in the last micro-batch's backward pass.
    """
    learner.optimizer.zero_grad()
    sums = []
    for batch in batches:
        with _exchanging(learner.module, batch is batches[-1]):
            measured: LossSums = learner.module(batch, settings.loss, scale)
            # DDP and FSDP average over the workers, and the mean to differentiate is a sum over them
            torch.autograd.backward(measured.loss * world.size)
        sums.append(measured.metrics)
    return sums


def _exchanging(module: nn.Module, yes: bool) -> AbstractContextManager[None]:
    if yes or not isinstance(module, DistributedDataParallel):
        return nullcontext()
    return module.no_sync()


def _usage(step: StepExamples, batches: list[Batch], world: ProcessGroup) -> dict[str, float]:
    """What the step took: counts over all workers."""
    sequences = [example.sequence for example in step.examples]
    return world.sums(
        {
            "progress/used": len(sequences),
            "progress/quarantined": step.quarantined,
            "progress/dropped_by_length": step.dropped_by_length,
            "progress/tokens": sum(len(sequence) for sequence in sequences),
            "progress/tokens_saved": sum(batch.tokens_saved for batch in batches),
            "progress/positions": sum(len(sequence.completion_ids) for sequence in sequences),
            "progress/answer_bytes": sum(example.answer.nbytes for example in step.examples if example.answer),
            **(step.teacher.metrics() if step.teacher else {}),
            **counts_of(step),
        }
    )
