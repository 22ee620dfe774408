"""What the loss's kernels must do; `test_kernels.py` runs this in Triton's interpreter, and on a GPU if there is one.

Legend: C = positions, V = vocabulary, H = hidden size.
"""

import os
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from student_trainer.loss import fused, tail_torch, tail_triton
from student_trainer.loss.fused import LossSums
from student_trainer.loss.head import Head
from student_trainer.loss.targets import LossScale, Targets
from student_trainer.student_settings import LossSettings
from tests.unit.student_trainer.loss.positions import N, V, draw, gradient, make_targets, teacher_top_k, with_holes

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
DTYPES = [torch.bfloat16, torch.float16, torch.float32]
H, SCALE = 5, LossScale(0.4 / N, 0.6 / N)


def make_logits(columns: int, dtype: torch.dtype) -> Tensor:
    """Some ids left out, large ones, equal ones, and a whole position of -inf but for its last id."""
    logits = torch.randn(6, columns, generator=torch.Generator().manual_seed(columns)) * 5
    logits[0, 3::7] = -torch.inf
    logits[1, 2] = 1e4
    logits[2] = 1.5
    logits[3, : columns // 2] -= 1e4
    logits[4, :-1] = -torch.inf
    return logits.to(DEVICE, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [9, 4096, 4097, 10_000])
def test_they_agree_with_torch(columns: int, dtype: torch.dtype):
    logits = make_logits(columns, dtype)
    plain, kernels = logits.float(), logits.clone()
    expected, got = tail_torch.sum_up(plain), tail_triton.sum_up(kernels)
    torch.testing.assert_close(tuple(got), tuple(expected))
    factor = torch.rand(len(logits), 1).to(DEVICE)
    tail_torch.write_gradient(plain, expected, factor)
    tail_triton.write_gradient(kernels, got, factor)
    torch.testing.assert_close(kernels, plain.to(dtype))


def test_nothing_beyond_its_positions_is_touched():
    """A chunk is the beginning of a buffer that larger chunks share."""
    buffer = make_logits(100, torch.bfloat16)
    before, chunk = buffer.clone(), buffer[:4]
    tail_triton.write_gradient(chunk, tail_triton.sum_up(chunk), torch.ones(4, 1, device=DEVICE))
    assert torch.equal(buffer[4:], before[4:])
    assert not torch.equal(chunk, before[:4])


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
@pytest.mark.parametrize("column", [0, 5, 4999])
def test_what_is_not_finite_stays_so(broken: float, column: int):
    """Else a run would go on with a student that is broken."""
    logits = torch.zeros(1, 5000, device=DEVICE)
    logits[0, column] = broken
    summed = tail_triton.sum_up(logits)
    assert not (summed.most + summed.total.log()).isfinite().all()


def loss_of(dtype: torch.dtype, targets: Targets, loss: LossSettings, bias: bool) -> tuple[LossSums, list[Tensor]]:
    """The loss of a frozen head in `dtype`, as DEVICE computes it by kernels, float64 in torch; and its gradient."""
    weight, biases = torch.cat([draw(1, 2, columns=H), draw(2, 2, columns=H)])[:V], draw(3)[0]
    hidden = draw(4, columns=H).bfloat16().to(DEVICE, dtype).requires_grad_()
    head = Head(*(each.bfloat16().to(DEVICE, dtype) for each in (weight, biases)[: 1 + bias]))
    sums = fused.loss_sums(hidden, head, targets, loss, SCALE, chunk=3)
    return sums, gradient(sums.loss, hidden)


def move(targets: Targets) -> Targets:
    """To DEVICE."""
    everywhere = torch.arange(len(targets.token_ids), device=DEVICE)
    teacher = targets.teacher
    moved = None if teacher is None else type(teacher)(*(each.to(DEVICE) for each in vars(teacher).values()))
    plain = (targets.token_ids, targets.distill_weights, targets.instruct_weights)
    return Targets(*(each.to(DEVICE) for each in plain), moved)[everywhere]


@pytest.mark.parametrize(
    ("k", "holes"), [(None, False), (1, False), (3, False), (V - 1, False), (V, False), (1, True), (3, True)]
)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_loss_by_kernels_is_near_the_exact_one(k: int | None, holes: bool, bias: bool, temperature: float):
    """Written tokens are among the teacher's ids in some positions and not in others."""
    teacher = None if k is None else teacher_top_k(draw(5), k)
    targets = move(make_targets(with_holes(teacher) if teacher and holes else teacher))
    loss = LossSettings(temperature=temperature)
    exact, exact_gradient = loss_of(torch.float64, targets, loss, bias)
    with patch.object(fused, "_tail_functions", lambda head: tail_triton):
        for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.02)):
            got, got_gradient = loss_of(dtype, targets, loss, bias)
            scale = exact_gradient[0].abs().max().item()
            for name, value in exact.metrics.items():
                assert got.metrics[name].item() == pytest.approx(value.item(), rel=tolerance, abs=tolerance), name
            torch.testing.assert_close(got.loss.double(), exact.loss, rtol=tolerance, atol=tolerance)
            torch.testing.assert_close(got_gradient[0].double(), exact_gradient[0], rtol=0, atol=tolerance * scale)


def test_a_token_that_the_student_is_sure_of_keeps_its_small_gradient():
    """p and 1 in bfloat16 are the same where p > 0.998: their difference must be taken before it is rounded."""
    logits = torch.zeros(1, V, dtype=torch.bfloat16, device=DEVICE)
    logits[0, 4] = 9.0
    head = Head(torch.eye(V, dtype=torch.bfloat16, device=DEVICE))
    ones, none = torch.ones(1, device=DEVICE), torch.zeros(1, device=DEVICE)
    for ids in ([4, 1], [1, 2]):
        teacher = teacher_top_k(draw(5)[:1], 2)
        teacher = type(teacher)(torch.tensor([ids]), teacher.topk_logprobs, teacher.tail_logprob)
        targets = move(Targets(torch.tensor([4]), none.cpu(), ones.cpu(), teacher))
        hidden = logits.clone().requires_grad_()
        with patch.object(fused, "_tail_functions", lambda head: tail_triton):
            (got,) = gradient(fused.loss_sums(hidden, head, targets, LossSettings(), LossScale(0, 1)).loss, hidden)
        expected = logits.double().softmax(-1)
        expected[0, 4] -= 1
        torch.testing.assert_close(got.double(), expected, rtol=0.01, atol=0)
