"""Teachers, students and targets of a few positions for the tests of the loss.

Legend: N = positions, V = vocabulary, k = teacher's entries per position.
"""

from typing import Any

import torch
from torch import Tensor

from student_trainer.loss.fused import LossSums, loss_sums
from student_trainer.loss.head import Head
from student_trainer.loss.targets import NO_ID, NO_MASS, LossScale, Targets, TeacherTopK
from student_trainer.student_settings import LossSettings

N, V = 7, 11
DIVERGENCES: list[dict[str, Any]] = [
    {"divergence": "forward_kl"},
    {"divergence": "reverse_kl"},
    {"divergence": "jsd", "beta": 0.3},
    {"divergence": "skewed_kl", "skew": 0.1},
]
TEMPERATURES = [1.0, 2.0, 4.0]
DISTILL, INSTRUCT = LossScale(1, 0), LossScale(0, 1)
PLAIN = LossSettings()


def draw(seed: int, scale: float = 1.0, columns: int = V, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(N, columns, generator=generator, dtype=torch.float64) * scale).to(dtype)


def teacher_top_k(logits: Tensor, k: int) -> TeacherTopK:
    """What a teacher with `logits` sends: its k best ids, and the mass of the others."""
    ordered, ids = logits.log_softmax(-1).sort(-1, descending=True)
    return TeacherTopK(ids[:, :k], ordered[:, :k], ordered[:, k:].logsumexp(-1))


def with_holes(sent: TeacherTopK) -> TeacherTopK:
    """Every other position lacks the id of its first entry, whose mass is in the tail."""
    hole = torch.zeros_like(sent.topk_ids, dtype=torch.bool)
    hole[::2, 0] = True
    tail = torch.logaddexp(sent.tail_logprob, sent.topk_logprobs.where(hole, -torch.inf).logsumexp(-1))
    return TeacherTopK(sent.topk_ids.where(~hole, NO_ID), sent.topk_logprobs.where(~hole, NO_MASS), tail)


def make_targets(teacher: TeacherTopK | None) -> Targets:
    ones = torch.ones(N, dtype=torch.float64)
    return Targets(torch.arange(N) % V, ones if teacher else ones * 0, ones, teacher)


def of_logits(logits: Tensor, targets: Targets, loss: LossSettings = PLAIN, scale: LossScale = DISTILL) -> LossSums:
    """The loss of a student whose head is the identity: its hidden states are its logits."""
    return loss_sums(logits, Head(torch.eye(logits.size(-1), dtype=logits.dtype)), targets, loss, scale)


def gradient(loss: Tensor, *of: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, of))
