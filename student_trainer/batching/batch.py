"""From examples to tensors: micro-batches of sequences, padded side by side or packed end to end.

Legend: B = sequences side by side (1 in a pack), L = padded length of a sequence, or tokens of a pack, N = completion
positions of the batch.
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
from student_trainer.batching.packing import attention_kwargs, fill_packs
from student_trainer.batching.prefix_sharing import MergedTrace, merge_traces
from student_trainer.batching.targets import make_targets
from student_trainer.data.plan import Example, Key
from student_trainer.loss.targets import Targets

PAD_ID = 0
"""Any id will do: padding is told by masks."""


@dataclass(frozen=True)
class Batch:
    """One micro-batch."""

    ids: list[str]
    input_ids: Tensor  # [B, L]
    attention_mask: Tensor | None  # [B, L]; None in a pack, which has no padding
    attention_kwargs: dict[str, Any]
    """What else the decoder needs, to keep the sequences of a pack apart; empty where they are side by side."""
    hidden_indices: Tensor  # [N]
    """Of the hidden states, flattened to [B * L], those that predict the completions: number t - 1 predicts token t."""
    targets: Targets  # N positions, in the order of `hidden_indices`
    tokens: int
    """Tokens that the student reads, without padding."""
    tokens_saved: int
    """Tokens that it need not read, since sequences share their prefixes."""


@dataclass(frozen=True)
class Collator:
    """Cuts a worker's examples into micro-batches; either `size` or `token_budget` is given."""

    vocabulary_size: int
    """Ids of the student: the size of its output layer."""
    distilling: bool
    """Whether the targets hold what the teacher says."""
    device: torch.device
    size: int | None = None
    """Sequences of a micro-batch, padded to the longest."""
    token_budget: int | None = None
    """Tokens of a pack, without padding."""

    def micro_batches(self, examples: list[Example]) -> list[Batch]:
        """Micro-batches of `examples`, longest first, shared prefixes merged. At least one, of no weight if need be.

        The empty batch lets a rank without tokens take part in the collectives of the backward pass.
        """
        if not examples:
            return [self._collate([MergedTrace([_nothing(self.distilling)])], weight=0)]
        traces = merge_traces(examples)
        if self.token_budget is not None:
            return [self._collate(pack) for pack in fill_packs(traces, self.token_budget)]
        assert self.size is not None, "either a size or a budget of tokens cuts micro-batches"
        return [self._collate(traces[start : start + self.size]) for start in range(0, len(traces), self.size)]

    def _collate(self, traces: list[MergedTrace], weight: float = 1) -> Batch:
        packed, lengths = self.token_budget is not None, [len(trace) for trace in traces]
        input_ids, attention_mask, starts = _end_to_end(traces) if packed else _side_by_side(traces)
        placed = [(start, example) for start, trace in zip(starts, traces, strict=True) for example in trace.examples]
        examples = [example for _, example in placed]
        hidden_indices = [start - 1 + np.array(each.sequence.completion_positions) for start, each in placed]
        return Batch(
            ids=[example.sequence.id for example in examples],
            input_ids=self._tensor(input_ids),
            attention_mask=None if attention_mask is None else self._tensor(attention_mask),
            attention_kwargs=attention_kwargs(lengths, self.device) if packed else {},
            hidden_indices=self._tensor(np.concatenate(hidden_indices)),
            targets=make_targets(examples, self.distilling, self.vocabulary_size, self.device, weight),
            tokens=sum(lengths),
            tokens_saved=sum(trace.tokens_saved for trace in traces),
        )

    def _tensor(self, values: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(values).to(device=self.device, dtype=torch.int64)


def _side_by_side(traces: list[MergedTrace]) -> tuple[NDArray[np.int64], NDArray[np.int64] | None, list[int]]:
    """Ids and mask [B, L], and where each sequence starts among the flattened tokens."""
    input_ids, attention_mask = pad([trace.sequence for trace in traces], PAD_ID)
    length = input_ids.shape[1]
    return input_ids, attention_mask, [number * length for number in range(len(traces))]


def _end_to_end(traces: list[MergedTrace]) -> tuple[NDArray[np.int64], NDArray[np.int64] | None, list[int]]:
    """Ids [1, L] without a mask, and where each sequence starts."""
    ids = [np.array(trace.sequence.prompt_ids + trace.sequence.completion_ids, np.int64) for trace in traces]
    return np.concatenate(ids)[None], None, list(accumulate(map(len, ids[:-1]), initial=0))


def _nothing(distilling: bool) -> Example:
    """Two tokens that will weigh nothing."""
    sequence = Sequence("nothing", (PAD_ID,), (PAD_ID,), "dataset", "stop")
    zero, ids = np.zeros(1, np.float32), np.zeros(1, np.int32)
    answer = TeacherAnswer("nothing", "", "", "scored", None, ids, zero, ids[:, None], zero[:, None], zero)
    return Example(sequence, answer if distilling else None, Key(0, 0))
