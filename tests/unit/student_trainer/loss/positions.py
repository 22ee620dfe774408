"""Teachers, students and targets of a few positions for the tests of the loss, and its naive reference.

Legend: N = positions, V = vocabulary, k = teacher's entries per position.
"""

from typing import Any

import torch
from torch import Tensor

from student_trainer.loss.fused import loss_sums
from student_trainer.loss.loss import Head, LossSums, Shares, Targets, TeacherRows
from student_trainer.student_settings import LossSettings

N, V = 7, 11
DIVERGENCES: list[dict[str, Any]] = [
    {"divergence": "forward_kl"},
    {"divergence": "reverse_kl"},
    {"divergence": "jsd", "beta": 0.3},
    {"divergence": "skewed_kl", "skew": 0.1},
]
TEMPERATURES = [1.0, 2.0, 4.0]
DISTILL, INSTRUCT = Shares(1, 0), Shares(0, 1)
PLAIN = LossSettings()


def draw(seed: int, scale: float = 1.0, columns: int = V, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(N, columns, generator=generator, dtype=torch.float64) * scale).to(dtype)


def teacher_rows(logits: Tensor, k: int) -> TeacherRows:
    """What a teacher with `logits` sends: its k best ids, and the mass of the others."""
    ordered, ids = logits.log_softmax(-1).sort(-1, descending=True)
    return TeacherRows(ids[:, :k], ordered[:, :k], ordered[:, k:].logsumexp(-1))


def make_targets(teacher: TeacherRows | None) -> Targets:
    ones = torch.ones(N, dtype=torch.float64)
    return Targets(torch.arange(N) % V, ones if teacher else ones * 0, ones, teacher)


def of_logits(logits: Tensor, targets: Targets, loss: LossSettings = PLAIN, shares: Shares = DISTILL) -> LossSums:
    """The loss of a student whose head is the identity: its hidden states are its logits."""
    return loss_sums(logits, Head(torch.eye(logits.size(-1), dtype=logits.dtype)), targets, loss, shares)


def gradient(loss: Tensor, *of: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, of))


def reference(teacher: Tensor, student: Tensor, k: int, loss: LossSettings) -> Tensor:
    """The divergence times T^2, summed over positions, from probabilities, position by position.

    At k = V over the whole vocabulary, tempered as logits are; below, over k ids and whatever is left.
    """
    total = torch.zeros((), dtype=torch.float64)
    for t_row, s_row in zip(teacher, student, strict=True):
        p, q = (_probabilities(row, t_row.topk(k).indices, loss) for row in (t_row, s_row))
        total = total + _divergence(p, q, loss) * loss.temperature**2
    return total


def _probabilities(logits: Tensor, ids: Tensor, loss: LossSettings) -> Tensor:
    if len(ids) == len(logits):
        return (logits / loss.temperature).softmax(-1)[ids]
    masses = logits.softmax(-1)[ids]
    if loss.tail == "bucket":
        masses = torch.cat([masses, 1 - masses.sum()[None]])
    masses = masses ** (1 / loss.temperature)
    return masses / masses.sum()


def _divergence(p: Tensor, q: Tensor, loss: LossSettings) -> Tensor:
    if loss.divergence == "forward_kl":
        return _kl(p, q)
    if loss.divergence == "reverse_kl":
        return _kl(q, p)
    if loss.divergence == "skewed_kl":
        assert loss.skew
        return _kl(p, loss.skew * p + (1 - loss.skew) * q)
    assert loss.beta
    middle = loss.beta * p + (1 - loss.beta) * q
    return loss.beta * _kl(p, middle) + (1 - loss.beta) * _kl(q, middle)


def _kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p / q).log()).sum()
