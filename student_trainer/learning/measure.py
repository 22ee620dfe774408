"""Measure the loss on batches, and share what was measured among the workers."""

import torch
from torch import nn

from student_trainer.batching.batch import Batch, micro_batches, weights_of
from student_trainer.data.plan import Example
from student_trainer.distributed.process_group import World
from student_trainer.learning.sharding import is_sharded
from student_trainer.loss.loss import INSTRUCT_METRICS, LossSums, Shares, Weights
from student_trainer.settings import TrainSettings
from student_trainer.student_settings import LossSettings


def shared_weights(examples: list[Example], settings: TrainSettings, world: World) -> Weights:
    """The weights of all workers' examples together: what the loss is divided by."""
    own = weights_of(examples, distils(settings))
    shared = world.sums({"distill": own.distill, "instruct": own.instruct})
    return Weights(**shared)


def batches_of(examples: list[Example], settings: TrainSettings, world: World) -> list[Batch]:
    """This worker's micro-batches, cut as `settings` say; at least one.

    Of a sharded student as many as the busiest worker has, by some of no weight.
    """

    def split(some: list[Example]) -> list[Batch]:
        size, budget = settings.micro_batch_size, settings.micro_batch_tokens
        return micro_batches(some, size, distils(settings), world.device, budget)

    batches = split(examples)
    if is_sharded(settings, world):
        batches += split([]) * (int(world.largest(len(batches))) - len(batches))
    return batches


def distils(settings: TrainSettings) -> bool:
    return settings.mode == "kd"


def alpha_of(settings: TrainSettings) -> float:
    """Share of the distillation term; without a teacher there is none."""
    return settings.loss.alpha if distils(settings) else 0.0


def sums_on(module: nn.Module, batch: Batch, loss: LossSettings, shares: Shares) -> LossSums:
    """The loss's sums on one batch, by `module`: the student, or DDP around it."""
    sums = module(batch, loss, shares)
    assert isinstance(sums, LossSums)
    return sums


def means(sums: list[LossSums], weights: Weights, alpha: float, world: World) -> dict[str, float]:
    """Mean per position of the loss, its terms (`distill` holds the factor T^2) and its metrics, over all workers.

    What has no weight anywhere is left out, the loss too where no prompt was used.
    """
    totals = torch.stack([torch.stack(list(each.metrics.values())) for each in sums]).sum(0).tolist()
    shared = world.sums(dict(zip(sums[0].metrics, totals, strict=True)))
    divisors = {name: weights.instruct if name in INSTRUCT_METRICS else weights.distill for name in shared}
    found = {name: total / divisors[name] for name, total in shared.items() if divisors[name]}
    if not found:
        return {}
    return {"loss": alpha * found.get("distill", 0.0) + (1 - alpha) * found.get("ce", 0.0), **found}
