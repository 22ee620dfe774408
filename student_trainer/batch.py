"""From examples to tensors: micro-batches of right-padded sequences, and the weight of each completion position.

Legend: B = sequences, L = longest sequence, N = completion positions of the batch, k = teacher's entries per position.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.sequences import Sequence, pad
from common.wire import TeacherAnswer
from student_trainer.examples import Example
from student_trainer.loss import Targets, TeacherRows, Weights

PAD_ID = 0
"""Any id will do: padding is told by masks."""


@dataclass(frozen=True)
class Batch:
    """One micro-batch. `rows` are indices into hidden states flattened to [B * L]: row t - 1 predicts token t."""

    ids: list[str]
    input_ids: Tensor  # [B, L]
    attention_mask: Tensor  # [B, L]
    rows: Tensor  # [N]
    targets: Targets  # N positions, in the order of `rows`

    @property
    def tokens(self) -> int:
        """Tokens of the batch without padding."""
        return int(self.attention_mask.sum())


def micro_batches(examples: list[Example], size: int, distilling: bool, device: torch.device) -> list[Batch]:
    """Split `examples` into batches of up to `size`, longest together; at least one batch, of no weight if need be.

    The empty batch lets a rank without tokens take part in the collectives of the backward pass.
    """
    if not examples:
        return [_make_batch([_nothing(distilling)], distilling, device, weight=0)]
    longest_first = sorted(examples, key=lambda example: -len(example.sequence))
    chunks = [longest_first[start : start + size] for start in range(0, len(examples), size)]
    return [_make_batch(chunk, distilling, device) for chunk in chunks]


def weights_of(examples: list[Example], distilling: bool) -> Weights:
    """Sums of the weights of `examples`: known before any forward pass."""
    lengths = [len(example.sequence.completion_ids) for example in examples]
    instructed = [n for n, example in zip(lengths, examples, strict=True) if _instructs(example)]
    return Weights(float(sum(lengths)) if distilling else 0.0, float(sum(instructed)))


def _instructs(example: Example) -> bool:
    """Cross-entropy teaches what the dataset or the teacher wrote, never what the student did."""
    return example.sequence.provenance != "student"


def _make_batch(examples: list[Example], distilling: bool, device: torch.device, weight: float = 1) -> Batch:
    padded = pad([example.sequence for example in examples], PAD_ID)
    rows = np.flatnonzero(padded.completion_mask) - 1
    lengths = [len(example.sequence.completion_ids) for example in examples]
    instruct = np.repeat([weight * _instructs(example) for example in examples], lengths)

    def tensor(values: NDArray[np.generic], dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(values).to(device=device, dtype=dtype)

    targets = Targets(
        token_ids=tensor(padded.input_ids[padded.completion_mask], torch.int64),
        distill_weights=torch.full((len(rows),), weight * distilling, dtype=torch.float32, device=device),
        instruct_weights=tensor(instruct, torch.float32),
        teacher=_teacher_rows(examples, device) if distilling else None,
    )
    return Batch(
        ids=[example.sequence.id for example in examples],
        input_ids=tensor(padded.input_ids, torch.int64),
        attention_mask=tensor(padded.attention_mask, torch.int64),
        rows=tensor(rows, torch.int64),
        targets=targets,
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
