"""From a worker's examples to its micro-batches, and from their sums to means over all workers."""

import torch
from torch import Tensor

from common.errors import UserError
from student_trainer.batching.batch import Batch, Collator
from student_trainer.batching.targets import weights_of
from student_trainer.data.plan import Example
from student_trainer.distributed.process_group import ProcessGroup, is_sharded
from student_trainer.loss.fused import INSTRUCT_METRICS
from student_trainer.loss.targets import Weights
from student_trainer.settings import TrainSettings


def shared_weights(examples: list[Example], settings: TrainSettings, world: ProcessGroup) -> Weights:
    """The weights of all workers' examples together: what the loss is divided by."""
    own = weights_of(examples, distils(settings))
    shared = world.sums({"distill": own.distill, "instruct": own.instruct})
    return Weights(**shared)


def batches_of(
    examples: list[Example], vocabulary_size: int, settings: TrainSettings, world: ProcessGroup
) -> list[Batch]:
    """This worker's micro-batches, cut as `settings` say; at least one.

    `vocabulary_size` is the student's. A sharded student gets as many as the busiest worker has: micro-batches of no
    weight make up the difference.
    """
    size, budget = settings.micro_batch_size, settings.micro_batch_tokens
    collator = Collator(vocabulary_size, distils(settings), world.device, size, budget)
    batches = collator.micro_batches(examples)
    if is_sharded(settings, world):
        batches += collator.micro_batches([]) * (int(world.largest(len(batches))) - len(batches))
    return batches


def distils(settings: TrainSettings) -> bool:
    return settings.mode == "kd"


def alpha_of(settings: TrainSettings) -> float:
    """Share of the distillation term; without a teacher there is none."""
    return settings.loss.alpha if distils(settings) else 0.0


def check_masks(examples: list[Example], settings: TrainSettings, world: ProcessGroup) -> None:
    """Raise UserError naming the examples of all workers of which no token carries loss."""
    idle = [example.sequence.id for example in examples if not _teaches(example, settings)]
    if world.sums({"idle": len(idle)})["idle"]:
        raise UserError(
            f"no token of {listed(world.joined(idle))} carries loss: with loss.alpha {alpha_of(settings):g} "
            "nothing of what its writer wrote is learnt; change loss.alpha or completion.writer"
        )


def _teaches(example: Example, settings: TrainSettings) -> bool:
    weights, alpha = weights_of([example], distils(settings)), alpha_of(settings)
    return alpha * weights.distill + (1 - alpha) * weights.instruct > 0


def listed(names: list[str]) -> str:
    """The first of `names`, and how many there are."""
    return ", ".join(names[:3]) + (f" ({len(names)} in all)" if len(names) > 3 else "")


def means(sums: list[dict[str, Tensor]], weights: Weights, alpha: float, world: ProcessGroup) -> dict[str, float]:
    """Mean per position of the loss, its terms (`distill` holds the factor T^2) and its metrics, over all workers.

    `sums` are the metrics of each micro-batch. What has no weight anywhere is left out, and so is the loss where no
    prompt was used.
    """
    totals = torch.stack([torch.stack(list(each.values())) for each in sums]).sum(0).tolist()
    shared = world.sums(dict(zip(sums[0], totals, strict=True)))
    divisors = {name: weights.instruct if name in INSTRUCT_METRICS else weights.distill for name in shared}
    found = {name: total / divisors[name] for name, total in shared.items() if divisors[name]}
    if not found:
        return {}
    return {"loss": alpha * found.get("distill", 0.0) + (1 - alpha) * found.get("ce", 0.0), **found}
