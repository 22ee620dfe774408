"""The divergences of `loss.py` on log masses, many positions at once: no mass is too small to count or to pull.

With `tail: renormalise` the tail is left out and the k masses of each side sum to one: what the student puts outside
the k ids then costs nothing.

At T = 1 the masses are exact and the forward KL is a lower bound of the full vocabulary's, equal to it at k = V. At
another T with k < V the tail is tempered as if it were one id: an approximation, and no bound. The ratio of this KL to
the full vocabulary's at the same T, V = 128256, for teachers whose masses fall by Zipf's law, with exponent 2 (peaked)
or 1 (flat), and students one nat of noise away (python -m tests.benchmarks.loss_gap):

teacher  top-1   T    k=8     k=16     k=32     k=64    k=128    k=256
peaked   0.608   1   0.920    0.955    0.977    0.989    0.994    0.997
peaked   0.608   2   0.884    0.941    0.989    1.014    1.024    1.028
peaked   0.608   4   0.939    0.979    1.037    1.049    1.046    1.037
flat     0.081   1   0.274    0.318    0.374    0.427    0.479    0.534
flat     0.081   2   0.706    0.775    0.867    0.923    0.957    0.979
flat     0.081   4   0.850    0.892    0.975    1.002    1.011    1.010

Near 1 is not near the truth: the student's noise in many unlikely ids makes up for what their bucket hides. At k = 64
the tail as one id holds 0.9%, 2.6% and 2.4% of the peaked teacher's mass at T = 1, 2, 4; all its ids tempered on their
own would hold 0.9%, 62% and 98%. Of the flat one 62%, 16% and 5%, against 62%, 98% and 100%. So T = 1 is the setting.

Legend: N = positions, k = teacher's entries per position, M = masses of a position (k + 1; k without a tail).
All log masses are known up to one constant per position.
"""

import math

import torch
from torch import Tensor

from student_trainer.loss.loss import TAIL_FLOOR
from student_trainer.student_settings import LossSettings


def tempered(masses: Tensor, temperature: float) -> Tensor:
    """Normalised log masses [N, M] at `temperature`; the one function for both sides."""
    return (masses / temperature).log_softmax(-1)


def distill_terms(teacher: Tensor, student: Tensor, loss: LossSettings) -> Tensor:
    """The chosen divergence times T^2 per position, [N], of log masses [N, M]; both tempered here."""
    p, q = tempered(teacher, loss.temperature), tempered(student, loss.temperature)
    return _divergence(p, q, loss) * loss.temperature**2


def _divergence(p: Tensor, q: Tensor, loss: LossSettings) -> Tensor:
    if loss.divergence == "forward_kl":
        return forward_kl(p, q)
    if loss.divergence == "reverse_kl":
        return reverse_kl(p, q)
    if loss.divergence == "skewed_kl":
        assert loss.skew is not None  # settings see to it
        return skewed_kl(p, q, loss.skew)
    assert loss.beta is not None
    return jsd(p, q, loss.beta)


def forward_kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q), [N], of normalised log masses [N, M]. A mass of zero in p adds nothing."""
    return (p.exp() * (p.masked_fill(p.isneginf(), 0) - q)).sum(-1)


def reverse_kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(q || p), [N]; finite where p has a mass of zero, see TAIL_FLOOR."""
    return forward_kl(q, p.masked_fill(p.isneginf(), math.log(TAIL_FLOOR)))


def jsd(p: Tensor, q: Tensor, beta: float) -> Tensor:
    """The generalised Jensen-Shannon divergence: beta KL(p || m) + (1 - beta) KL(q || m), m = beta p + (1 - beta) q."""
    middle = mixture(p, q, beta)
    return beta * forward_kl(p, middle) + (1 - beta) * forward_kl(q, middle)


def skewed_kl(p: Tensor, q: Tensor, skew: float) -> Tensor:
    """KL(p || skew p + (1 - skew) q): bounded by -log(skew), whatever the student says."""
    return forward_kl(p, mixture(p, q, skew))


def mixture(p: Tensor, q: Tensor, weight: float) -> Tensor:
    """Log masses of weight * p + (1 - weight) * q."""
    return torch.logaddexp(p + math.log(weight), q + math.log1p(-weight))


@torch.no_grad()
def measures(teacher: Tensor, student: Tensor, k: int) -> dict[str, Tensor]:
    """What is worth knowing of each position, [N] each, from log masses [N, M], tail included, at temperature 1.

    Entropies are those of the masses: at k < V lower bounds of the vocabulary's.
    """
    p, q = tempered(teacher, 1.0), tempered(student, 1.0)
    return {
        "kl": forward_kl(p, q),
        "reverse_kl": reverse_kl(p, q),
        "teacher_mass": p[:, :k].exp().sum(-1),
        "student_mass": q[:, :k].exp().sum(-1),
        "teacher_entropy": _entropy(p),
        "student_entropy": _entropy(q),
    }


def _entropy(p: Tensor) -> Tensor:
    return -(p.exp() * p.masked_fill(p.isneginf(), 0)).sum(-1)
