"""What completions should learn, as tensors: tokens, the teacher's answers laid end to end, the weight of each term.

Legend: N = completion positions of a micro-batch, k = teacher's entries per position, V = ids of the student.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.wire import TeacherAnswer
from student_trainer.data.plan import Example
from student_trainer.loss.targets import NO_ID, NO_MASS, Targets, TeacherTopK, Weights


def weights_of(examples: list[Example], distilling: bool) -> Weights:
    """Sums of the weights of `examples`: known before any forward pass."""
    lengths = [len(example.sequence.completion_ids) for example in examples]
    instructed = [n for n, example in zip(lengths, examples, strict=True) if _instructs(example)]
    return Weights(float(sum(lengths)) if distilling else 0.0, float(sum(instructed)))


def make_targets(
    examples: list[Example], distilling: bool, vocabulary_size: int, device: torch.device, weight: float = 1
) -> Targets:
    """What the completions of `examples` should learn, laid end to end; every position counts with `weight`.

    Raises ValueError naming the sequence when an answer is missing or isn't about this completion.
    """
    lengths = [len(example.sequence.completion_ids) for example in examples]
    tokens = [id for example in examples for id in example.sequence.completion_ids]
    instruct = np.repeat([weight * _instructs(example) for example in examples], lengths)
    return Targets(
        token_ids=torch.tensor(tokens, dtype=torch.int64, device=device),
        distill_weights=torch.full((len(tokens),), weight * distilling, dtype=torch.float32, device=device),
        instruct_weights=torch.from_numpy(instruct).to(device=device, dtype=torch.float32),
        teacher=_teacher_top_k(examples, vocabulary_size, device) if distilling else None,
    )


def _instructs(example: Example) -> bool:
    """Cross-entropy teaches what the dataset or the teacher wrote, never what the student did."""
    return example.sequence.provenance != "student"


def _teacher_top_k(examples: list[Example], vocabulary_size: int, device: torch.device) -> TeacherTopK:
    answers = [_answer_of(example) for example in examples]
    ids = np.concatenate([answer.topk_ids for answer in answers])
    logprobs = np.concatenate([answer.topk_logprobs for answer in answers])
    tail = np.concatenate([answer.tail_logprob for answer in answers])
    if ids.size and ids.max() >= vocabulary_size:
        ids, logprobs, tail = _within(vocabulary_size, ids, logprobs.astype(np.float32), tail)

    def tensor(values: NDArray[Any], dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(values).to(device=device, dtype=dtype)

    return TeacherTopK(tensor(ids, torch.int64), tensor(logprobs, torch.float32), tensor(tail, torch.float32))


def _within(
    vocabulary_size: int, ids: NDArray[np.int32], logprobs: NDArray[np.float32], tail: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """Move the mass of ids that the student doesn't have into the tail, and leave entries without an id, at the end.

    Output layers of one model family are padded to different sizes, so a teacher's may have ids beyond the student's.
    At most V - 1 entries stay, so that the student always has an id in the tail. Shapes are [N, k], [N, k] and [N].
    """
    order = np.argsort(ids >= vocabulary_size, axis=1, kind="stable")
    ids, logprobs = np.take_along_axis(ids, order, axis=1), np.take_along_axis(logprobs, order, axis=1)
    kept = min(ids.shape[1], vocabulary_size - 1)
    moved = (ids >= vocabulary_size) | (np.arange(ids.shape[1]) >= kept)
    tail = np.logaddexp(tail, np.logaddexp.reduce(logprobs, axis=1, where=moved))
    return np.where(moved, NO_ID, ids)[:, :kept], np.where(moved, NO_MASS, logprobs)[:, :kept], tail


def _answer_of(example: Example) -> TeacherAnswer:
    sequence, answer = example.sequence, example.answer
    if answer is None or tuple(answer.token_ids.tolist()) != sequence.completion_ids:
        raise ValueError(f"sequence {sequence.id}: the teacher's answer is missing or is about other tokens")
    return answer
