"""The loss fused with the head: what it may not change, what it may not cost, and under which roofs it works."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from student_trainer.loss.fused import loss_sums
from student_trainer.loss.head import Head
from student_trainer.loss.targets import LossScale, Targets, TeacherTopK
from student_trainer.student_settings import LossSettings
from tests.unit.student_trainer.loss.positions import (
    PLAIN,
    N,
    V,
    draw,
    gradient,
    make_targets,
    of_logits,
    teacher_top_k,
)

H = 5
SCALE = LossScale(0.4 / N, 0.6 / N)


def make_head(trainable: bool, dtype: torch.dtype = torch.float64) -> Head:
    weight, bias = torch.cat([draw(1, columns=H), draw(2, columns=H)])[:V], draw(3)[0]
    return Head(*(each.to(dtype).clone().requires_grad_(trainable) for each in (weight, bias)))


def make_hidden(dtype: torch.dtype = torch.float64) -> Tensor:
    return draw(4, columns=H, dtype=dtype).requires_grad_()


TARGETS = make_targets(teacher_top_k(draw(5), 3))


@pytest.mark.parametrize("targets", [TARGETS, make_targets(None)], ids=["teacher", "alone"])
def test_hidden_states_weight_and_bias_get_the_gradients_of_the_plain_product(targets: Targets):
    hidden, head = make_hidden(), make_head(trainable=True)
    learning = (hidden, head.weight, head.bias)
    got = loss_sums(hidden, head, targets, PLAIN, SCALE).loss
    expected = of_logits(nn.functional.linear(hidden, head.weight, head.bias), targets, scale=SCALE).loss
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(gradient(3 * got, *learning), gradient(3 * expected, *learning))


@pytest.mark.parametrize("chunk", [1, 2, 3, N, 100])
def test_the_chunks_size_changes_nothing(chunk: int):
    hidden, head = make_hidden(), make_head(trainable=True)
    whole, cut = (loss_sums(hidden, head, TARGETS, PLAIN, SCALE, chunk=size) for size in (None, chunk))
    torch.testing.assert_close(cut.metrics, whole.metrics)
    torch.testing.assert_close(gradient(cut.loss, hidden, head.weight), gradient(whole.loss, hidden, head.weight))


def test_positions_without_weight_are_never_looked_at():
    """Padding: whatever stands there, NaN even, value and gradient are those of the other positions alone."""
    keep = torch.arange(N) % 3 != 0
    hidden, head = make_hidden(), make_head(trainable=True)
    alone = loss_sums(hidden[keep], head, TARGETS[keep], PLAIN, SCALE)
    padded = torch.where(keep[:, None], hidden, torch.nan)
    masked = Targets(TARGETS.token_ids, keep.double(), keep.double(), TARGETS.teacher)
    together = loss_sums(padded, head, masked, PLAIN, SCALE, chunk=2)
    torch.testing.assert_close(together.metrics, alone.metrics)
    torch.testing.assert_close(gradient(together.loss, hidden, head.weight), gradient(alone.loss, hidden, head.weight))


def test_sequences_together_or_apart_add_up_to_the_same():
    hidden, head = make_hidden(), make_head(trainable=True)
    whole = loss_sums(hidden, head, TARGETS, PLAIN, SCALE).loss
    parts = [torch.arange(0, 3), torch.arange(3, N)]
    apart = sum((loss_sums(hidden[part], head, TARGETS[part], PLAIN, SCALE).loss for part in parts), torch.zeros(()))
    torch.testing.assert_close(apart, whole)
    torch.testing.assert_close(gradient(apart, hidden, head.weight), gradient(whole, hidden, head.weight))


@pytest.mark.parametrize("targets", [TARGETS, make_targets(None)], ids=["teacher", "alone"])
def test_without_any_weight_there_is_a_loss_of_zero_with_a_backward_pass(targets: Targets):
    none = torch.zeros(N)
    hidden, head = make_hidden(), make_head(trainable=True)
    sums = loss_sums(hidden, head, Targets(targets.token_ids, none, none, targets.teacher), PLAIN, LossScale(0, 0))
    assert sums.loss == 0
    assert all((each == 0).all() for each in gradient(sums.loss, hidden, head.weight))


class Costs(TorchDispatchMode):
    """Counts products of matrices and notes the largest tensor that comes out of any operation."""

    def __init__(self) -> None:
        super().__init__()
        self.products, self.largest = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.products += func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.addmm_)
        views = out._is_view() if isinstance(out, Tensor) else True
        self.largest = max(self.largest, 0 if views or not isinstance(out, Tensor) else out.numel())
        return out


@pytest.mark.parametrize(("trainable", "grad", "products"), [(False, True, 2), (True, True, 3), (True, False, 1)])
def test_products_and_memory_are_the_least(trainable: bool, grad: bool, products: int):
    """Per chunk: two products, a third for a weight that learns. No tensor is larger than a chunk of logits."""
    positions, vocabulary, chunk, k = 64, 300, 8, 4
    weight = torch.randn(vocabulary, 3).requires_grad_(trainable)
    ids = torch.arange(k).repeat(positions, 1)
    teacher = TeacherTopK(ids, torch.full((positions, k), -2.0), torch.zeros(positions))
    ones = torch.ones(positions)
    targets = Targets(torch.zeros(positions, dtype=torch.int64), ones, ones, teacher)
    hidden = torch.randn(positions, 3).requires_grad_()
    with Costs() as forward, torch.set_grad_enabled(grad):
        loss = loss_sums(hidden, Head(weight), targets, PLAIN, SCALE, chunk).loss
    assert loss.requires_grad == grad
    assert forward.products == products * positions // chunk
    assert forward.largest <= chunk * vocabulary
    if grad:
        with Costs() as backward:
            loss.backward()
        assert backward.products == 0
        assert hidden.grad is not None
        assert (weight.grad is not None) == trainable


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16_is_near_the_exact_loss(trainable: bool, autocast: bool):
    """A model in bfloat16, and one in float32 under autocast, which keep gradients in the dtype of what learns."""
    dtype = torch.float32 if autocast else torch.bfloat16
    hidden, head = make_hidden(torch.bfloat16), make_head(trainable, torch.bfloat16)
    exact = loss_sums(
        hidden.double(), Head(*(each.double() for each in (head.weight, head.bias))), TARGETS, PLAIN, SCALE
    )
    hidden, head = hidden.detach().to(dtype).requires_grad_(), make_head(trainable, torch.bfloat16)
    head = Head(*(each.detach().to(dtype).requires_grad_(trainable) for each in (head.weight, head.bias)))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        sums = loss_sums(hidden, head, TARGETS, PLAIN, SCALE)
    assert sums.loss.item() == pytest.approx(exact.loss.item(), rel=0.01)
    learning = (hidden, head.weight) if trainable else (hidden,)
    assert [each.dtype for each in gradient(sums.loss, *learning)] == [dtype] * len(learning)


class Tied(nn.Module):
    """A model of one layer whose head is its embedding."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.layer = nn.Embedding(V, H), nn.Linear(H, H)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layer(self.embedding(tokens)).tanh()


def tied_gradients(compiled: bool, checkpointed: bool, fused: bool) -> list[Tensor]:
    model = Tied()
    run = torch.compile(model, backend="aot_eager") if compiled else model
    tokens = torch.arange(N) % V
    hidden = torch.utils.checkpoint.checkpoint(run, tokens, use_reentrant=False) if checkpointed else run(tokens)
    targets = Targets(TARGETS.token_ids, torch.ones(N), torch.ones(N), TARGETS.teacher)
    if fused:
        loss = loss_sums(hidden, Head(model.embedding.weight), targets, PLAIN, SCALE, chunk=3).loss
    else:
        loss = of_logits(hidden @ model.embedding.weight.t(), targets, scale=SCALE).loss
    return gradient(loss, *model.parameters())


@pytest.mark.parametrize(("compiled", "checkpointed"), [(False, False), (True, False), (False, True), (True, True)])
def test_tied_embeddings_learn_from_both_ends(compiled: bool, checkpointed: bool):
    """Also when the model is compiled, and when its activations are computed anew in the backward pass."""
    expected = tied_gradients(compiled=False, checkpointed=False, fused=False)
    torch.testing.assert_close(tied_gradients(compiled, checkpointed, fused=True), expected)


@pytest.mark.parametrize("autocast", [False, True])
def test_a_compiled_function_may_hold_the_loss(autocast: bool):
    @torch.compile(backend="aot_eager")
    def compiled(hidden: Tensor, weight: Tensor) -> Tensor:
        return loss_sums(hidden * 2, Head(weight), TARGETS, LossSettings(temperature=2), SCALE).loss * 3

    dtype = torch.float32 if autocast else torch.float64
    hidden, weight = make_hidden(dtype), make_head(trainable=True, dtype=dtype).weight
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        plain = loss_sums(hidden * 2, Head(weight), TARGETS, LossSettings(temperature=2), SCALE).loss * 3
        got = compiled(hidden, weight)
    torch.testing.assert_close(gradient(got, hidden, weight), gradient(plain, hidden, weight))
