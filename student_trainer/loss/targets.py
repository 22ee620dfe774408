"""What the loss is given: what each completion position should learn, and how much each of its two terms weighs.

The weights of all ranks and accumulation steps are summed before the first forward pass (`Weights`). They fix how much
one unit of each sum adds to the loss (`LossScale`). So the loss of a micro-batch is already its part of the mean, and
so is its gradient: padding, micro-batches and the number of workers change nothing.

Legend: N = completion positions of a micro-batch, k = teacher's entries per position.
"""

from dataclasses import dataclass

from torch import Tensor

NO_ID = -1
"""Stands in `topk_ids` where the teacher named an id that the student doesn't have; its mass is in the tail."""
NO_MASS = -1e9
"""The log mass of an entry without an id, on both sides: it weighs nothing, and unlike -inf it gives no NaN."""


@dataclass(frozen=True)
class TeacherTopK:
    """The teacher's distribution at N positions: its most likely ids, and the mass of all others together."""

    topk_ids: Tensor  # [N, k] int64, no duplicates; NO_ID in entries without an id, which k = V never has
    topk_logprobs: Tensor  # [N, k], natural log at temperature 1; NO_MASS in entries without an id
    tail_logprob: Tensor  # [N], -inf where k ids hold all the mass

    def __getitem__(self, positions: Tensor) -> "TeacherTopK":
        return TeacherTopK(self.topk_ids[positions], self.topk_logprobs[positions], self.tail_logprob[positions])


@dataclass(frozen=True)
class Targets:
    """What N positions should learn: the token written there, the teacher's view of it, the weight of each term."""

    token_ids: Tensor  # [N] int64
    distill_weights: Tensor  # [N]
    instruct_weights: Tensor  # [N]
    teacher: TeacherTopK | None  # None without a teacher; distill_weights are then zero

    def __getitem__(self, positions: Tensor) -> "Targets":
        teacher = None if self.teacher is None else self.teacher[positions]
        weights = self.distill_weights[positions], self.instruct_weights[positions]
        return Targets(self.token_ids[positions], *weights, teacher)


@dataclass(frozen=True)
class Weights:
    """Sums of the weights that a mean divides by."""

    distill: float
    instruct: float


@dataclass(frozen=True)
class LossScale:
    """What one unit of each term's sum adds to the loss."""

    distill: float
    instruct: float


def loss_scale(weights: Weights, alpha: float) -> LossScale:
    """Divide each term by its own weight; a term without any weight adds nothing."""
    return LossScale(
        alpha / weights.distill if weights.distill else 0.0,
        (1 - alpha) / weights.instruct if weights.instruct else 0.0,
    )
