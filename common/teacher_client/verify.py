"""Answers checked before use: what a teacher may never say, whatever it was asked.

Legend: T = positions of the completion, k = entries per position, V = vocabulary size.
"""

from collections.abc import Iterator

import numpy as np

from common.api import DistillRequest, DistillSequence
from common.teacher_client.failures import BadAnswer
from common.wire import MASS_TOLERANCE, SCHEMA_VERSION, TeacherAnswer

ABOVE_ZERO = 1e-6
"""How far above 0 a logprob may stand."""


def verify(answer: TeacherAnswer, request: DistillRequest, vocabulary_size: int | None = None) -> None:
    """Check `answer` against the sequence of `request` that it names, or one of the n samples of it.

    `vocabulary_size` is the teacher's; without it ids have no upper bound.
    Raises BadAnswer naming everything that is wrong with it.
    """
    samples = {sample.id: sample for sample in request.samples()}
    sequence = samples.get(answer.id)
    if sequence is None:
        raise BadAnswer(f"got an answer with id {answer.id!r}, asked for {', '.join(map(repr, list(samples)[:5]))}")
    problems = list(_identity_problems(answer, request)) + list(_completion_problems(answer, sequence))
    problems += list(_shape_problems(answer, request)) or list(_value_problems(answer, vocabulary_size))
    if problems:
        raise BadAnswer(f"the answer to sequence {sequence.id}: {'; '.join(problems)}")


def _identity_problems(answer: TeacherAnswer, request: DistillRequest) -> Iterator[str]:
    if answer.schema_version != SCHEMA_VERSION:
        yield f"got schema version {answer.schema_version}, expected {SCHEMA_VERSION}"
    if answer.model != request.model:
        yield f"got model {answer.model!r}, expected {request.model!r}"
    if answer.error is not None:
        yield f"got the error {answer.error!r}"


def _completion_problems(answer: TeacherAnswer, sequence: DistillSequence) -> Iterator[str]:
    """What is wrong with the completion itself, scored or written."""
    if sequence.completion_token_ids is not None:
        if answer.finish_reason != "scored":
            yield f"got finish reason {answer.finish_reason!r}, expected 'scored'"
        if answer.token_ids.tolist() != sequence.completion_token_ids:
            yield "it scores other tokens than those asked"
    elif sequence.generate is not None:
        if answer.finish_reason not in ("stop", "length"):
            yield f"got finish reason {answer.finish_reason!r}, expected 'stop' or 'length'"
        if not 1 <= len(answer) <= sequence.generate.max_tokens:
            yield f"got {len(answer)} tokens, expected 1 to {sequence.generate.max_tokens}"


def _shape_problems(answer: TeacherAnswer, request: DistillRequest) -> Iterator[str]:
    positions = len(answer.token_ids)
    shapes = {
        "token_logprobs": (positions,),
        "tail_logprob": (positions,),
        "topk_ids": (positions, request.top_k),
        "topk_logprobs": (positions, request.top_k),
    }
    for name, shape in shapes.items():
        if getattr(answer, name).shape != shape:
            yield f"{name} has shape {getattr(answer, name).shape}, expected {shape}"
    if answer.topk_logprobs.dtype != np.dtype(request.logprob_dtype):
        yield f"got logprobs as {answer.topk_logprobs.dtype}, expected {request.logprob_dtype}"


def _value_problems(answer: TeacherAnswer, vocabulary_size: int | None) -> Iterator[str]:
    for name in ("token_ids", "topk_ids"):
        ids = getattr(answer, name)
        if ids.size and (ids.min() < 0 or (vocabulary_size is not None and ids.max() >= vocabulary_size)):
            yield f"{name} has ids outside the vocabulary of {vocabulary_size or 'any teacher'}"
    for name in ("token_logprobs", "topk_logprobs", "tail_logprob"):
        values = getattr(answer, name)
        if np.isnan(values).any():
            yield f"{name} has NaN"
        elif (values > ABOVE_ZERO).any():
            yield f"{name} has values above 0"
    if (np.diff(np.sort(answer.topk_ids, axis=1), axis=1) == 0).any():
        yield "topk_ids has duplicates within a position"
    topk = answer.topk_logprobs.astype(np.float64)  # [T, k]
    if (topk[:, 1:] > topk[:, :-1]).any():
        yield "topk_logprobs is not sorted, most likely first"
    mass = np.exp(topk).sum(axis=1) + np.exp(answer.tail_logprob.astype(np.float64))  # [T]
    if (mass > 1 + MASS_TOLERANCE).any():
        yield f"a position has mass {mass.max():.4f}, expected at most 1"
