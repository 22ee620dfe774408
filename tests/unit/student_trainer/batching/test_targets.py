"""Answers of a teacher whose output layer is larger than the student's: what becomes of ids that only it has."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from common.sequences import Sequence
from common.wire import TeacherAnswer
from student_trainer.batching.targets import make_targets
from student_trainer.data.plan import Example, Key
from student_trainer.loss.loss import plain_loss
from student_trainer.loss.targets import NO_ID, NO_MASS, LossScale, Targets
from student_trainer.student_settings import LossSettings
from tests.unit.student_trainer.loss.positions import DIVERGENCES, N, V, draw, gradient, of_logits

BEYOND = 4
"""Ids that only the teacher has."""
SCALE = LossScale(0.3, 0.7)


def teacher_logprobs() -> Tensor:
    """[N, V + BEYOND]; in three positions all of the most likely ids are beyond the student's."""
    logits = draw(0, columns=V + BEYOND)
    logits[:3, V:] += 9
    return logits.log_softmax(-1)


def targets_of(logprobs: Tensor, k: int) -> Targets:
    """Of one completion, whose tokens are 0 to N - 1, by a teacher with `logprobs`."""
    ordered, ids = logprobs.sort(-1, descending=True)
    tokens, tail = np.arange(N, dtype=np.int32), ordered[:, k:].logsumexp(-1)
    answer = TeacherAnswer(
        "a", "m", "r", "scored", None, tokens, logprobs[:, :N].diagonal().numpy().astype(np.float32),
        ids[:, :k].numpy().astype(np.int32), ordered[:, :k].numpy().astype(np.float32), tail.numpy().astype(np.float32),
    )  # fmt: skip
    sequence = Sequence("a", (1,), tuple(range(N)), "dataset", "stop")
    return make_targets([Example(sequence, answer, Key(0, 0))], True, V, torch.device("cpu"))


@pytest.mark.parametrize("k", [1, 3, V - 1, V, V + BEYOND])
def test_ids_beyond_the_student_are_part_of_the_tail(k: int):
    logprobs = teacher_logprobs()
    teacher = targets_of(logprobs, k).teacher
    assert teacher is not None
    for n, ids in enumerate(teacher.topk_ids):
        kept = ids[ids != NO_ID]
        best = logprobs[n].argsort(descending=True)[:k]
        assert kept.tolist() == best[best < V][: V - 1].tolist()
        others = torch.ones(V + BEYOND, dtype=torch.bool).index_fill(0, kept, value=False)
        torch.testing.assert_close(teacher.topk_logprobs[n, : len(kept)].double(), logprobs[n, kept])
        torch.testing.assert_close(teacher.tail_logprob[n].double(), logprobs[n, others].logsumexp(-1))
        assert (teacher.topk_logprobs[n, len(kept) :] == NO_MASS).all()


@pytest.mark.parametrize("divergence", DIVERGENCES, ids=[each["divergence"] for each in DIVERGENCES])
@pytest.mark.parametrize("tail", ["bucket", "renormalise"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("k", [1, 3, V + BEYOND])
def test_loss_and_gradient_are_the_plain_ones(divergence: dict[str, Any], tail: Any, temperature: float, k: int):
    loss, targets = LossSettings(**divergence, tail=tail, temperature=temperature), targets_of(teacher_logprobs(), k)
    student = draw(1).requires_grad_()
    got, expected = of_logits(student, targets, loss, SCALE), plain_loss(student, targets, loss, SCALE)
    torch.testing.assert_close(got.loss, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(gradient(got.loss, student), gradient(expected, student), rtol=0, atol=1e-6)
    assert all(metric.isfinite() for metric in got.metrics.values())


def test_a_smaller_output_layer_of_the_teacher_needs_nothing():
    """Ids that only the student has are in its tail, where the teacher's mass is zero."""
    targets, student = targets_of(draw(0)[:, : V - 2].log_softmax(-1), V - 2), draw(1).requires_grad_()
    got, expected = (loss(student, targets, LossSettings(), SCALE) for loss in (of_logits, plain_loss))
    torch.testing.assert_close(got.loss, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(gradient(got.loss, student), gradient(expected, student), rtol=0, atol=1e-6)
