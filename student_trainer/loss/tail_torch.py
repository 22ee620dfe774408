"""What a student says of the ids that its teacher didn't name, from their logits: in torch, on any device.

`tail_triton.py` has the same two functions for CUDA, where memory is what takes time.

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
    """The tail of `logits` [C, V], float32 or float64, of ids that aren't -inf; of them only `weigh` can be made."""
    most, best = logits.max(-1, keepdim=True)
    return Tail(most, logits.sub_(most).exp_().sum(-1, keepdim=True), best)


def weigh(logits: Tensor, tail: Tail, factor: Tensor) -> None:
    """Turn what `sum_up` left of `logits` [C, V] into `factor` [C, 1] * exp(logit - most), in place."""
    logits.mul_(factor)
