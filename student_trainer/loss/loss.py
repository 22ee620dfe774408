"""The loss as it is defined, position by position and in probabilities. `fused.py` computes the same, fast.

`L = alpha * L_distill + (1 - alpha) * L_instruct`, each term a weighted mean over completion positions:

1. Both sides become the same masses: one for each of the teacher's k ids, and one for all other ids, the tail.
   With `tail: renormalise` the tail is left out.
2. One function tempers both, so a student that equals its teacher has no loss and no gradient at any T and k.
3. L_distill is a divergence between the two, times T^2, which keeps the size of its gradient.
4. L_instruct is the cross-entropy of the written token over the whole vocabulary, at temperature 1.
5. Each position counts with its weights, each term with its scale, which holds alpha and divides by all weights.

Legend: N = positions, V = vocabulary, k = teacher's ids at a position, M = masses (k + 1; k without a tail).
"""

import torch
from torch import Tensor
from torch.nn import functional

from student_trainer.loss.targets import NO_ID, LossScale, Targets, TeacherTopK
from student_trainer.student_settings import LossSettings

TAIL_FLOOR = 1e-9
"""What a teacher's mass of zero is taken for where the student's own mass weighs its logarithm: the smallest tail
that a teacher sends. A sum that rounds to 1 leaves no tail, and the reverse KL to that would be infinite."""


def plain_loss(logits: Tensor, targets: Targets, settings: LossSettings, scale: LossScale) -> Tensor:
    """The loss, a scalar to differentiate, of a student with `logits` [N, V] at the positions of `targets`."""
    total = logits.new_zeros(())
    for n in range(len(logits)):
        cross_entropy = functional.cross_entropy(logits[n], targets.token_ids[n])
        total = total + scale.instruct * targets.instruct_weights[n] * cross_entropy
        if targets.teacher is not None:
            teacher, student = masses(targets.teacher, n, logits[n], settings.tail)
            p, q = temper(teacher, settings.temperature), temper(student, settings.temperature)
            distill = divergence(p, q, settings) * settings.temperature**2
            total = total + scale.distill * targets.distill_weights[n] * distill
    return total


def masses(teacher: TeacherTopK, n: int, logits: Tensor, tail: str) -> tuple[Tensor, Tensor]:
    """The masses [M] of the teacher at position `n`, and of the student, with `logits` [V]."""
    has_id = teacher.topk_ids[n] != NO_ID
    ids, probabilities = teacher.topk_ids[n][has_id], logits.softmax(-1)
    p, q = teacher.topk_logprobs[n][has_id].exp(), probabilities[ids]
    others = torch.ones_like(logits, dtype=torch.bool).index_fill(0, ids, value=False)
    if tail == "bucket" and others.any():
        p = torch.cat([p, teacher.tail_logprob[n].exp()[None]])
        q = torch.cat([q, probabilities[others].sum()[None]])
    return p, q


def temper(masses: Tensor, temperature: float) -> Tensor:
    """The distribution [M] at `temperature`; the tail is tempered as if it were one id."""
    tempered = masses ** (1 / temperature)
    return tempered / tempered.sum()


def divergence(p: Tensor, q: Tensor, settings: LossSettings) -> Tensor:
    """The chosen divergence of the teacher's `p` [M] from the student's `q` [M], a scalar."""
    if settings.divergence == "forward_kl":
        return kl(p, q)
    if settings.divergence == "reverse_kl":
        return kl(q, p.where(p > 0, TAIL_FLOOR))
    if settings.divergence == "skewed_kl":
        assert settings.skew is not None  # settings see to it
        return kl(p, settings.skew * p + (1 - settings.skew) * q)
    assert settings.beta is not None
    middle = settings.beta * p + (1 - settings.beta) * q
    return settings.beta * kl(p, middle) + (1 - settings.beta) * kl(q, middle)


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q); a mass of zero in p adds nothing."""
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum()
