"""Calibration: whether a model is right as often as it is sure.

Legend: N = positions.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from common.wire import TeacherAnswer

BINS = 15


def calibration_error(answers: Iterable[TeacherAnswer]) -> float:
    """Expected calibration error over all positions of scored completions; `answers` hold one position at least.

    A position's confidence is the probability of its most likely token; it is right where that is the recorded one.
    """
    scored = list(answers)
    confidences = np.concatenate([np.exp(answer.topk_logprobs[:, 0].astype(np.float64)) for answer in scored])
    right = np.concatenate([answer.topk_ids[:, 0] == answer.token_ids for answer in scored])
    return expected_calibration_error(confidences, right)


def expected_calibration_error(confidences: NDArray[np.float64], right: NDArray[np.bool_], bins: int = BINS) -> float:
    """Between 0 and 1, from `confidences` [N] and whether each was `right` [N].

    As Guo et al. 2017 (arXiv 1706.04599) define it: bins of equal width, each open below and closed above; the mean
    over positions of the gap, in their bin, between mean confidence and share that is right.
    """
    bin_of = np.clip(np.ceil(confidences * bins).astype(int) - 1, 0, bins - 1)  # [N]
    gaps = np.bincount(bin_of, right - confidences, bins)  # [bins], each times how many are in it
    return float(np.abs(gaps).sum() / len(confidences))
