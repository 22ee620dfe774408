"""How much of their mass two models give to the same tokens.

Distillation works where teacher and student share their likely tokens, and its progress is that they come to (Li et
al. 2026, arXiv 2604.13016, who count the ids that two top-k sets share). Here those ids are weighed by what both give.

Legend: T = positions of a completion, k = entries per position.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from common.wire import TeacherAnswer


def overlap(pairs: Iterable[tuple[TeacherAnswer, TeacherAnswer]]) -> float:
    """Mean over all positions of `position_overlaps`; each pair scores the same completion, of one token at least."""
    return float(np.concatenate([position_overlaps(one, other) for one, other in pairs]).mean())


def position_overlaps(one: TeacherAnswer, other: TeacherAnswer) -> NDArray[np.float64]:
    """The mass [T] that both give to each of the ids in both top-k sets: the sum of the smaller of the two.

    With k = V it is 1 less the total variation distance of the two distributions.
    """
    same = one.topk_ids[:, :, None] == other.topk_ids[:, None, :]  # [T, k, k]
    masses, others = (np.exp(answer.topk_logprobs.astype(np.float64)) for answer in (one, other))  # [T, k]
    shared = np.minimum(masses[:, :, None], others[:, None, :])
    return np.asarray((shared * same).sum(axis=(1, 2)))
