"""From vLLM's flat logprobs to arrays: one row per position of the completion.

Legend: T = positions of the completion, k = entries per position, V = vocabulary size.
A row of vLLM's has k+1 entries: the actual token first, then the k most likely in descending order, among which the
actual one may stand again.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from common.sequences import FinishReason
from common.wire import LogprobDtype
from teacher_server.engine import Positions

TAIL_FLOOR = 1e-9
"""Mass given to the tail where rounding leaves less of it although k < V."""


def from_flat(flat: Any, first: int, top_k: int, vocabulary_size: int, finish_reason: FinishReason) -> Positions:
    """The positions of vLLM's FlatLogprobs `flat` from `first` on, all of the completion's.

    Raises ValueError when a row doesn't have top_k + 1 entries.
    """
    start = flat.start_indices[first]
    rows = len(flat.start_indices) - first
    if len(flat.token_ids) - start != rows * (top_k + 1):
        raise ValueError(f"got {len(flat.token_ids) - start} entries for {rows} rows, expected {top_k + 1} a row")
    ids = np.array(flat.token_ids[start:], np.int32).reshape(rows, top_k + 1)
    logprobs = np.array(flat.logprobs[start:], np.float32).reshape(rows, top_k + 1)
    return Positions(
        token_ids=np.ascontiguousarray(ids[:, 0]),
        token_logprobs=np.ascontiguousarray(logprobs[:, 0]),
        topk_ids=np.ascontiguousarray(ids[:, 1:]),
        topk_logprobs=np.ascontiguousarray(logprobs[:, 1:]),
        tail_logprob=tail_logprob(logprobs[:, 1:], vocabulary_size),
        finish_reason=finish_reason,
    )


def tail_logprob(topk_logprobs: NDArray[np.float32], vocabulary_size: int) -> NDArray[np.float32]:
    """Log of the mass outside the [T, k] most likely entries, as [T]; -inf where k = V.

    The mass is 1 minus the entries' sum, without the digits that 1 minus a first entry near 1 would lose. The entries
    come as float32, so that the difference is known to about 1e-7 only, and may be negative. A sharp bound is that none
    of the V-k others is likelier than the last entry: the mass is cut to at most (V-k)·p_k, and raised to TAIL_FLOOR
    where that bound allows it.
    """
    outside = vocabulary_size - topk_logprobs.shape[1]
    if outside == 0:
        return np.full(len(topk_logprobs), -np.inf, np.float32)
    first, last = topk_logprobs[:, [0, -1]].astype(np.float64).T
    others = np.einsum("tk->t", np.exp(topk_logprobs)[:, 1:])  # in float32, which is ten times as fast
    rest = np.minimum(np.maximum(-np.expm1(first) - others, TAIL_FLOOR), outside * np.exp(last))
    with np.errstate(divide="ignore"):
        return np.log(rest).astype(np.float32)


def rounded(logprobs: NDArray[np.float32], dtype: LogprobDtype) -> NDArray[Any]:
    """`logprobs` as `dtype`. By torch, since numpy takes twenty times as long for float16."""
    return torch.from_numpy(logprobs).to(torch.float16).numpy() if dtype == "float16" else logprobs
