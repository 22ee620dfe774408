"""From vLLM's logprobs to those of a completion: one row per position of the completion.

Legend: T = positions of the completion, k = entries per position, V = vocabulary size.
A row of vLLM's has k+1 entries: the actual token first, then the k most likely in descending order, among which the
actual one may stand again.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.sequences import FinishReason
from teacher_server.engine.protocol import CompletionLogprobs
from teacher_server.vllm.patches.logprob_rows import LogprobRows

TAIL_FLOOR = 1e-9
"""Mass given to the tail where rounding leaves less of it although k < V."""


def from_flat(
    flat: Any, first: int, top_k: int, vocabulary_size: int, finish_reason: FinishReason, revision: str
) -> CompletionLogprobs:
    """The logprobs in `flat`, LogprobRows or vLLM's FlatLogprobs, from row `first` on, all of the completion's.

    Raises ValueError when a row doesn't have top_k + 1 entries.
    """
    rows = flat[first:] if isinstance(flat, LogprobRows) else _unflatten(flat, first, top_k)
    token_ids, token_logprobs, topk_ids, topk_logprobs = map(np.ascontiguousarray, rows.columns)
    if topk_ids.shape[1] != top_k:
        raise ValueError(f"got rows of {topk_ids.shape[1] + 1} entries, expected {top_k + 1}")
    tail = tail_logprob(topk_logprobs, vocabulary_size)
    return CompletionLogprobs(token_ids, token_logprobs, topk_ids, topk_logprobs, tail, finish_reason, revision)


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


def _unflatten(flat: Any, first: int, top_k: int) -> LogprobRows:
    start = flat.start_indices[first]
    count = len(flat.start_indices) - first
    if len(flat.token_ids) - start != count * (top_k + 1):
        raise ValueError(f"got {len(flat.token_ids) - start} entries for {count} rows, expected {top_k + 1} a row")
    ids = np.array(flat.token_ids[start:], np.int32).reshape(count, top_k + 1)
    return LogprobRows.of(ids, np.array(flat.logprobs[start:], np.float32).reshape(count, top_k + 1))
