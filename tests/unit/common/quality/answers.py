"""Answers made by hand, of the tokens' distributions."""

import numpy as np
from numpy.typing import NDArray

from common.wire import TeacherAnswer


def answer_of(distributions: NDArray[np.float64], tokens: list[int], k: int) -> TeacherAnswer:
    """What scores `tokens` [T] by `distributions` [T, V], with the `k` most likely of each position."""
    order = np.argsort(-distributions, axis=1, kind="stable")[:, :k]
    top = np.take_along_axis(distributions, order, axis=1)
    with np.errstate(divide="ignore"):
        logprobs, tail = np.log(top), np.log(np.clip(1 - top.sum(axis=1), 0, 1))
        written = np.log(distributions[np.arange(len(tokens)), tokens])
    return TeacherAnswer(
        "x", "m", "r", "scored", None, np.array(tokens, np.int32), written.astype(np.float32),
        order.astype(np.int32), logprobs.astype(np.float32), tail.astype(np.float32),
    )  # fmt: skip
