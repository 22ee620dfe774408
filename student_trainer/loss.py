"""The loss: what the student should learn at each completion position. Pure functions that return sums.

`L = alpha * L_distill + (1 - alpha) * L_instruct`. L_distill is the forward KL from the teacher's distribution to the
student's over k+1 masses: the teacher's k most likely ids and the tail (all other ids together). L_instruct is the
cross-entropy of the written token. Each term is a weighted mean over positions; the weights say which positions a term
covers. This module returns weighted sums, and whoever calls divides by the sum of the weights over all ranks and
accumulation steps (`Weights`), so that padding, micro-batches and the number of workers change nothing.

At T = 1 the k+1 masses are exact, and the KL is a lower bound of the full one, equal to it at k = V. At another T one
function tempers the masses of both sides, so that student = teacher still means zero loss; below k = V this is an
approximation, since the tail is tempered as if it were one id.

Legend: N = completion positions of a micro-batch, V = vocabulary, k = teacher's entries per position, M = masses of a
position (k + 1, or k at k = V).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class TeacherRows:
    """The teacher's distribution at N positions, as on the wire."""

    topk_ids: Tensor  # [N, k] int64
    topk_logprobs: Tensor  # [N, k], natural log at temperature 1
    tail_logprob: Tensor  # [N], -inf where k ids hold all the mass


@dataclass(frozen=True)
class Targets:
    """What N positions should learn: the token written there, the teacher's view of it, the weight of each term."""

    token_ids: Tensor  # [N] int64
    distill_weights: Tensor  # [N]
    instruct_weights: Tensor  # [N]
    teacher: TeacherRows | None  # None without a teacher; distill_weights are then zero


@dataclass(frozen=True)
class Weights:
    """Sums of the weights that a mean divides by."""

    distill: float
    instruct: float


@dataclass(frozen=True)
class LossSums:
    """Weighted sums over positions. `metrics` are detached: teacher's ones weighted as distill, others as instruct."""

    distill: Tensor
    instruct: Tensor
    metrics: dict[str, Tensor]


def loss_sums(logits: Tensor, targets: Targets, temperature: float) -> LossSums:
    """Sums of KL * T^2 and of cross-entropy, in nats, for `logits` [N, V].

    Computed in float32, or in float64 if the logits are. Without a teacher `distill` is zero.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    right = (logits.detach().argmax(-1) == targets.token_ids).to(logits.dtype)
    metrics = {"accuracy": (right * targets.instruct_weights).sum()}
    if targets.teacher is None:
        log_total = logits.logsumexp(-1)
        distill = logits.new_zeros(())
    else:
        masses = student_masses(logits, targets.teacher.topk_ids)
        log_total = masses.logsumexp(-1)
        teacher = teacher_masses(targets.teacher, logits.size(-1)).to(logits.dtype)
        distill = (tempered_kl(teacher, masses, temperature) * targets.distill_weights).sum()
        metrics |= _teacher_metrics(logits, masses, log_total, targets.teacher, targets.distill_weights)
    cross_entropy = log_total - logits.gather(-1, targets.token_ids[:, None]).squeeze(-1)
    return LossSums(distill, (cross_entropy * targets.instruct_weights).sum(), metrics)


def mean_loss(sums: LossSums, weights: Weights, alpha: float) -> Tensor:
    """The loss to differentiate: each term divided by its own weight; a term without any weight is zero.

    Zero comes as a product, which keeps the graph: a step whose prompts were all set aside still has a backward pass.
    """
    distill = sums.distill / weights.distill if weights.distill else sums.distill * 0
    instruct = sums.instruct / weights.instruct if weights.instruct else sums.instruct * 0
    return alpha * distill + (1 - alpha) * instruct


def teacher_masses(teacher: TeacherRows, vocabulary: int) -> Tensor:
    """Log masses [N, M] of the teacher."""
    if teacher.topk_ids.size(-1) == vocabulary:
        return teacher.topk_logprobs
    return torch.cat([teacher.topk_logprobs, teacher.tail_logprob[:, None].to(teacher.topk_logprobs.dtype)], -1)


def student_masses(logits: Tensor, topk_ids: Tensor) -> Tensor:
    """Log masses [N, M] of the student on the teacher's ids and on the tail, up to one constant per position.

    The tail is summed from its own logits, so it keeps its digits, and its gradient, however small it is.
    """
    top = logits.gather(-1, topk_ids)
    if topk_ids.size(-1) == logits.size(-1):
        return top
    tail = logits.scatter(-1, topk_ids, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat([top, tail], -1)


def tempered_kl(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) * T^2 per position, [N], of log masses [N, M] known up to a constant per position."""
    log_p = functional.log_softmax(teacher / temperature, -1)
    log_q = functional.log_softmax(student / temperature, -1)
    p = log_p.exp()
    log_p = log_p.masked_fill(p == 0, 0)  # a mass of zero adds nothing; 0 * -inf would be NaN
    return (p * (log_p - log_q)).sum(-1) * temperature**2


@torch.no_grad()
def _teacher_metrics(
    logits: Tensor, masses: Tensor, log_total: Tensor, teacher: TeacherRows, weights: Tensor
) -> dict[str, Tensor]:
    k = teacher.topk_ids.size(-1)
    student_in_k = (masses[:, :k].logsumexp(-1) - log_total).exp()
    agrees = (logits.argmax(-1) == teacher.topk_ids[:, 0]).to(logits.dtype)
    return {
        "teacher_mass": ((1 - teacher.tail_logprob.to(logits.dtype).exp()) * weights).sum(),
        "student_mass": (student_in_k * weights).sum(),
        "top1_agreement": (agrees * weights).sum(),
    }
