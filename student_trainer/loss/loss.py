"""The loss: what the student should learn at each completion position. Pure functions that return sums.

`L = alpha * L_distill + (1 - alpha) * L_instruct`. L_distill is a divergence between the teacher's and the student's
masses (`divergence.py`). L_instruct is the cross-entropy of the written token over the whole vocabulary. Each term is
a weighted mean over positions; the weights say which positions a term covers.

The weights of all ranks and accumulation steps are summed before the first forward pass (`Weights`); they fix how much
one unit of each sum adds to the mean (`Shares`). So the loss of a micro-batch is already its part of the mean, and so
is its gradient: padding, micro-batches and the number of workers change nothing.

The head is part of the loss (`fused.py`): hidden states come in, no logits of more than a chunk of positions exist.

Legend: N = completion positions of a micro-batch, H = hidden size, V = vocabulary, k = teacher's entries per position.
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


@dataclass(frozen=True)
class TeacherRows:
    """The teacher's distribution at N positions, as on the wire."""

    topk_ids: Tensor  # [N, k] int64
    topk_logprobs: Tensor  # [N, k], natural log at temperature 1
    tail_logprob: Tensor  # [N], -inf where k ids hold all the mass

    def __getitem__(self, rows: Tensor) -> "TeacherRows":
        return TeacherRows(self.topk_ids[rows], self.topk_logprobs[rows], self.tail_logprob[rows])


@dataclass(frozen=True)
class Targets:
    """What N positions should learn: the token written there, the teacher's view of it, the weight of each term."""

    token_ids: Tensor  # [N] int64
    distill_weights: Tensor  # [N]
    instruct_weights: Tensor  # [N]
    teacher: TeacherRows | None  # None without a teacher; distill_weights are then zero

    def __getitem__(self, rows: Tensor) -> "Targets":
        teacher = None if self.teacher is None else self.teacher[rows]
        return Targets(self.token_ids[rows], self.distill_weights[rows], self.instruct_weights[rows], teacher)


@dataclass(frozen=True)
class Weights:
    """Sums of the weights that a mean divides by."""

    distill: float
    instruct: float


@dataclass(frozen=True)
class Shares:
    """What one unit of each term's sum adds to the loss."""

    distill: float
    instruct: float


@dataclass(frozen=True)
class Head:
    """The student's output layer: logits = hidden @ weight.T + bias."""

    weight: Tensor  # [V, H]
    bias: Tensor | None = None  # [V]


class LossSums(NamedTuple):
    """`loss` is this micro-batch's part of the mean, to differentiate. `metrics` are sums, detached.

    A tuple, in which DDP and FSDP find the tensors. Among the metrics are `distill` and `ce`, the sums that make up the
    loss. Those in INSTRUCT_METRICS are weighted as L_instruct, the others as L_distill.
    """

    loss: Tensor
    metrics: dict[str, Tensor]


INSTRUCT_METRICS = ("ce", "accuracy")


def shares_of(weights: Weights, alpha: float) -> Shares:
    """Divide each term by its own weight; a term without any weight adds nothing."""
    return Shares(
        alpha / weights.distill if weights.distill else 0.0,
        (1 - alpha) / weights.instruct if weights.instruct else 0.0,
    )
