"""Examples of random tokens and answers, and the loss and gradient of a student on micro-batches of them."""

from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from common.sequences import Sequence
from common.wire import TeacherAnswer
from student_trainer.batching.batch import Batch, Collator
from student_trainer.batching.targets import weights_of
from student_trainer.data.plan import Example, Key
from student_trainer.learning.student import Student
from student_trainer.loss.targets import loss_scale
from student_trainer.student_settings import LossSettings
from tests.unit.student_trainer.stand_in import VOCABULARY_SIZE
from tests.unit.student_trainer.students import ALONE

Ids = tuple[int, ...]


def random_ids(seed: int, length: int) -> Ids:
    return tuple(np.random.default_rng(seed).integers(0, 257, length).tolist())


def make_example(
    index: int, prompt: Ids, completion: Ids, writer: Literal["dataset", "teacher", "student"] = "dataset"
) -> Example:
    """The example "row-<index>", with an answer of its own: 4 ids a position and a tail."""
    draw, name = np.random.default_rng(index), f"row-{index}"
    masses = draw.dirichlet(np.ones(5), len(completion)).astype(np.float32)  # [T, 4 + 1]
    topk = np.stack([draw.permutation(257)[:4] for _ in completion]).astype(np.int32)
    ids, logprobs = np.array(completion, np.int32), np.log(masses)
    answer = TeacherAnswer(
        name, "m", "r", "scored", None, ids, logprobs[:, 0], topk, logprobs[:, :4], logprobs[:, 4]
    )  # fmt: skip
    return Example(Sequence(name, prompt, completion, writer, "stop"), answer, Key(0, index))


def apart(examples: list[Example]) -> list[Batch]:
    """Each example in a micro-batch of its own, alone."""
    return [batch for example in examples for batch in padded([example], 1)]


def padded(examples: list[Example], size: int) -> list[Batch]:
    """Micro-batches of `size` sequences side by side."""
    return Collator(VOCABULARY_SIZE, True, ALONE.device, size=size).micro_batches(examples)


def packed(examples: list[Example], budget: int) -> list[Batch]:
    """Micro-batches of up to `budget` tokens end to end."""
    return Collator(VOCABULARY_SIZE, True, ALONE.device, token_budget=budget).micro_batches(examples)


def learn(student: Student, batches: list[Batch], examples: list[Example]) -> tuple[float, list[Tensor]]:
    """The loss and its gradient by each trainable parameter, over the batches of `examples`."""
    scale = loss_scale(weights_of(examples, True), alpha=0.5)
    losses = [student(batch, LossSettings(), scale).loss for batch in batches]
    total = torch.stack(losses).sum()
    return float(total.detach()), list(torch.autograd.grad(total, student.trainable()))


def wake(student: Student) -> Student:
    """Adapters that do something: a fresh one's second factor is zero, and so is its first factor's gradient."""
    torch.manual_seed(0)
    for parameter in student.trainable():
        nn.init.normal_(parameter, std=0.1)
    return student


def in_float64(student: Student) -> Student:
    """The student in float64 throughout: Llama's own norm computes in float32 whatever it is given."""
    for module in student.modules():
        if isinstance(module, LlamaRMSNorm):
            module.forward = partial(nn.functional.rms_norm, normalized_shape=module.weight.shape, weight=module.weight)
    return student.double()


def assert_same(got: tuple[float, list[Tensor]], expected: tuple[float, list[Tensor]], tolerance: float) -> None:
    """Losses within `tolerance`, gradients within that share of their largest entry."""
    assert abs(got[0] - expected[0]) <= tolerance * abs(expected[0])
    for mine, other in zip(got[1], expected[1], strict=True):
        assert (mine - other).abs().max() <= tolerance * other.abs().max()
