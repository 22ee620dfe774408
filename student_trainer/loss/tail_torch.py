"""The tail of a student: what its logits outside the teacher's ids add up to. In torch, on any device.

`tail_triton.py` has the same two functions for CUDA, where memory traffic is what takes time. Their contract, for both:

1. `sum_up(logits)` sums over every logit that isn't -inf. Afterwards the memory of `logits` belongs to the pair: in
   torch it holds exp(logit - most), in Triton still the logits. Nobody else may read it.
2. `write_gradient(logits, tail, factor)`, on the same memory and at most once, overwrites it with
   factor * exp(logit - most), which is zero where the logit was -inf.

Legend: C = positions of a chunk, V = vocabulary.
"""

from typing import NamedTuple

from torch import Tensor


class Tail(NamedTuple):
    """The sum of exp(logit) over some ids of C positions is total * exp(most)."""

    most: Tensor  # [C, 1], the largest logit
    total: Tensor  # [C, 1], at least 1
    best: Tensor  # [C, 1], the lowest of the ids with the largest logit


def sum_up(logits: Tensor) -> Tail:
    """The tail of `logits` [C, V], in float32 or float64."""
    most, best = logits.max(-1, keepdim=True)
    return Tail(most, logits.sub_(most).exp_().sum(-1, keepdim=True), best)


def write_gradient(logits: Tensor, tail: Tail, factor: Tensor) -> None:
    """Overwrite what `sum_up` left in `logits` [C, V] with `factor` [C, 1] * exp(logit - most)."""
    logits.mul_(factor)
