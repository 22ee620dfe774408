"""From examples to tensors: micro-batches of strands, padded side by side or packed end to end, and position weights.

Legend: B = sequences side by side (1 in a pack), L = length of a row, N = completion positions of the batch,
k = teacher's entries per position.
"""

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.sequences import Sequence, pad
from common.wire import TeacherAnswer
from student_trainer.batching.packing import fill_packs, keep_apart
from student_trainer.batching.prefix_sharing import Strand, merge_traces
from student_trainer.data.plan import Example
from student_trainer.loss.loss import Targets, TeacherRows, Weights

PAD_ID = 0
"""Any id will do: padding is told by masks."""


@dataclass(frozen=True)
class Batch:
    """One micro-batch. `rows` are indices into hidden states flattened to [B * L]: row t - 1 predicts token t."""

    ids: list[str]
    input_ids: Tensor  # [B, L]
    attention_mask: Tensor | None  # [B, L]; None in a pack, which has no padding
    apart: dict[str, Any]
    """What else the decoder needs, to keep the strands of a pack apart; empty where they are side by side."""
    rows: Tensor  # [N]
    targets: Targets  # N positions, in the order of `rows`
    tokens: int
    """Tokens that the student reads, without padding."""
    tokens_saved: int
    """Tokens that it need not read, since steps of one trace train together."""


def micro_batches(
    examples: list[Example], size: int | None, distilling: bool, device: torch.device, budget: int | None = None
) -> list[Batch]:
    """Merge `examples` into strands, and these into micro-batches, longest first: packs of up to `budget` tokens where
    it is given, else `size` strands side by side. At least one batch, of no weight if need be.

    The empty batch lets a rank without tokens take part in the collectives of the backward pass.
    """
    if not examples:
        nothing = [Strand([_nothing(distilling)])]
        return [_make_batch(nothing, distilling, device, budget is not None, weight=0)]
    strands = merge_traces(examples)
    if budget is not None:
        return [_make_batch(pack, distilling, device, packed=True) for pack in fill_packs(strands, budget)]
    assert size is not None, "either a size or a budget cuts micro-batches"
    chunks = [strands[start : start + size] for start in range(0, len(strands), size)]
    return [_make_batch(chunk, distilling, device, packed=False) for chunk in chunks]


def weights_of(examples: list[Example], distilling: bool) -> Weights:
    """Sums of the weights of `examples`: known before any forward pass."""
    lengths = [len(example.sequence.completion_ids) for example in examples]
    instructed = [n for n, example in zip(lengths, examples, strict=True) if _instructs(example)]
    return Weights(float(sum(lengths)) if distilling else 0.0, float(sum(instructed)))


def _instructs(example: Example) -> bool:
    """Cross-entropy teaches what the dataset or the teacher wrote, never what the student did."""
    return example.sequence.provenance != "student"


def _make_batch(
    strands: list[Strand], distilling: bool, device: torch.device, packed: bool, weight: float = 1
) -> Batch:
    lengths = [len(strand) for strand in strands]
    input_ids, attention_mask, starts = _end_to_end(strands) if packed else _side_by_side(strands)
    placed = [(start, example) for start, strand in zip(starts, strands, strict=True) for example in strand.examples]
    examples = [example for _, example in placed]
    rows = np.concatenate([start - 1 + np.array(example.sequence.completion_positions) for start, example in placed])

    def tensor(values: NDArray[np.generic], dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(values).to(device=device, dtype=dtype)

    return Batch(
        ids=[example.sequence.id for example in examples],
        input_ids=tensor(input_ids, torch.int64),
        attention_mask=None if attention_mask is None else tensor(attention_mask, torch.int64),
        apart=keep_apart(lengths, device) if packed else {},
        rows=tensor(rows, torch.int64),
        targets=_targets(examples, distilling, device, weight),
        tokens=sum(lengths),
        tokens_saved=sum(strand.tokens_saved for strand in strands),
    )


def _side_by_side(strands: list[Strand]) -> tuple[NDArray[np.int64], NDArray[np.int64] | None, list[int]]:
    """Ids and mask [B, L], and where each strand starts in the flattened row."""
    padded = pad([strand.sequence for strand in strands], PAD_ID)
    return padded.input_ids, padded.attention_mask, [row * padded.input_ids.shape[1] for row in range(len(strands))]


def _end_to_end(strands: list[Strand]) -> tuple[NDArray[np.int64], NDArray[np.int64] | None, list[int]]:
    """Ids [1, L] without a mask, and where each strand starts."""
    ids = [np.array(strand.sequence.prompt_ids + strand.sequence.completion_ids, np.int64) for strand in strands]
    return np.concatenate(ids)[None], None, list(accumulate(map(len, ids[:-1]), initial=0))


def _targets(examples: list[Example], distilling: bool, device: torch.device, weight: float) -> Targets:
    """What the completions of `examples` should learn, laid end to end."""
    lengths = [len(example.sequence.completion_ids) for example in examples]
    tokens = [id for example in examples for id in example.sequence.completion_ids]
    instruct = np.repeat([weight * _instructs(example) for example in examples], lengths)
    return Targets(
        token_ids=torch.tensor(tokens, dtype=torch.int64, device=device),
        distill_weights=torch.full((len(tokens),), weight * distilling, dtype=torch.float32, device=device),
        instruct_weights=torch.from_numpy(instruct).to(device=device, dtype=torch.float32),
        teacher=_teacher_rows(examples, device) if distilling else None,
    )


def _teacher_rows(examples: list[Example], device: torch.device) -> TeacherRows:
    """Lay the answers end to end.

    Raises ValueError naming the sequence when an answer is missing or isn't about this completion.
    """
    answers = [_answer_of(example) for example in examples]

    def joined(arrays: list[NDArray[np.generic]], dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(np.concatenate(arrays)).to(device=device, dtype=dtype)

    return TeacherRows(
        joined([answer.topk_ids for answer in answers], torch.int64),
        joined([answer.topk_logprobs for answer in answers], torch.float32),
        joined([answer.tail_logprob for answer in answers], torch.float32),
    )


def _answer_of(example: Example) -> TeacherAnswer:
    sequence, answer = example.sequence, example.answer
    if answer is None or tuple(answer.token_ids.tolist()) != sequence.completion_ids:
        raise ValueError(f"sequence {sequence.id}: the teacher's answer is missing or is about other tokens")
    return answer


def _nothing(distilling: bool) -> Example:
    """Two tokens that will weigh nothing."""
    sequence = Sequence("nothing", (PAD_ID,), (PAD_ID,), "dataset", "stop")
    zero, ids = np.zeros(1, np.float32), np.zeros(1, np.int32)
    answer = TeacherAnswer("nothing", "", "", "scored", None, ids, zero, ids[:, None], zero[:, None], zero)
    return Example(sequence, answer if distilling else None, 0, 0)
