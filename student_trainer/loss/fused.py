"""The loss and the head in one: gradients come out of the forward pass, and logits exist for a chunk of positions only.

For each chunk of positions that weigh anything:
1. logits = hidden @ weight.T, in the dtype of the weight or of autocast;
2. in place: the logits become what the student's masses are summed from, in float32. The loss is a function of k + 1
   masses per position, so autograd runs on [C, k + 1] alone. On a CPU the logits are copied to float32 for that
   (`tail_torch.py`), on CUDA kernels keep them as they are (`tail_triton.py`);
3. in place: the same memory becomes the gradient of the logits;
4. that times the weight is the gradient of the hidden states. A weight that learns costs a third product, a frozen one
   none, and the backward pass only scales what is there.

Extra memory is the gradient of the hidden states and one chunk, whatever N is: no float32 copy of the weight, no
[N, V]. Nothing here asks the device for a number but the list of positions, so that CUDA is kept busy.

Legend: N = positions, H = hidden size, V = vocabulary, C = positions of a chunk, k = teacher's entries per position,
M = masses of a position (k + 1; k at k = V).
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from student_trainer.loss.divergence import distill_terms, measures
from student_trainer.loss.loss import Head, LossSums, Shares, Targets
from student_trainer.student_settings import LossSettings

CHUNK_BYTES = {"cpu": 192 << 20, "cuda": 256 << 20}
"""Logits of one chunk: of 128,256 ids, with k = 64, 384 positions on a CPU and 1024 on a GPU, where fewer starve the
products."""
MASS_TENSORS = 16
"""About how many tensors of [C, M] are alive at once."""
TILE = 64
"""Products are fastest when the positions of a chunk are a multiple of this."""


@torch.compiler.disable
def loss_sums(
    hidden: Tensor, head: Head, targets: Targets, loss: LossSettings, shares: Shares, chunk: int | None = None
) -> LossSums:
    """The loss of `hidden` [N, H] and its metrics, in nats; without a teacher, cross-entropy alone.

    Computed in float32, in float64 for a weight in float64. `chunk` positions go through the head at a time; by default
    as many as fit CHUNK_BYTES. Positions without weight are never looked at. torch.compile runs this as it stands.
    """
    rows = (targets.distill_weights.ne(0) | targets.instruct_weights.ne(0)).nonzero().squeeze(-1)
    kernels = _kernels(head)
    size = chunk or _chunk_size(head, targets, _dtype_of_logits(head, kernels).itemsize)
    chunks = [rows[start : start + size] for start in range(0, max(1, len(rows)), size)]
    products = _Products(hidden, head, len(chunks[0]), kernels)
    with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
        sums = [_chunk_sums(products, each, targets[each], loss, shares) for each in chunks]
        metrics = {name: torch.stack([each[name] for each in sums]).sum(0) for name in sums[0]}
        value = shares.distill * metrics["distill"] + shares.instruct * metrics["ce"]
    return LossSums(_attach(value, hidden, head.weight, head.bias, *products.gradients), metrics)


class _Attached(torch.autograd.Function):
    """A loss whose gradients are known already."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor | None, *gradients: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(*gradients)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [None if gradient is None else gradient * scale for gradient in ctx.saved_tensors]
        return None, *scaled, None, None, None


_attach: Callable[..., Tensor] = _Attached.apply


def _chunk_sums(
    products: "_Products", rows: Tensor, targets: Targets, loss: LossSettings, shares: Shares
) -> dict[str, Tensor]:
    """The metrics' sums over `rows`, which should learn `targets`; adds to the gradients of `products`."""
    student = _Student(products.logits(rows), targets, products.kernels)
    with torch.enable_grad():
        masses = student.masses.requires_grad_(products.learns)
        metrics = {
            "distill": _distill_sum(masses, targets, loss),
            "ce": ((masses.logsumexp(-1) - student.written) * targets.instruct_weights).sum(),
        }
        value = shares.distill * metrics["distill"] + shares.instruct * metrics["ce"]
    if products.learns:
        (of_masses,) = torch.autograd.grad(value, masses)
        products.add_gradients(rows, student.gradient(of_masses, shares.instruct * targets.instruct_weights))
    return {name: each.detach() for name, each in metrics.items()} | _metrics(masses.detach(), student.best, targets)


def _distill_sum(masses: Tensor, targets: Targets, loss: LossSettings) -> Tensor:
    teacher = targets.teacher
    if teacher is None:
        return masses.new_zeros(())
    kept = slice(teacher.topk_ids.size(-1) if loss.tail == "renormalise" else None)
    terms = distill_terms(_teacher_masses(targets, masses)[:, kept], masses[:, kept], loss)
    return (terms * targets.distill_weights).sum()


def _metrics(masses: Tensor, best: Tensor, targets: Targets) -> dict[str, Tensor]:
    metrics = {"accuracy": ((best == targets.token_ids) * targets.instruct_weights).sum()}
    if targets.teacher is not None:
        ids = targets.teacher.topk_ids
        each = measures(_teacher_masses(targets, masses), masses, ids.size(-1))
        each["top1_agreement"] = best == ids[:, 0]
        metrics |= {name: (values * targets.distill_weights).sum() for name, values in each.items()}
    return metrics


def _teacher_masses(targets: Targets, like: Tensor) -> Tensor:
    """Log masses [C, M] of the teacher: with a tail, if those of the student, `like`, have one."""
    assert targets.teacher is not None
    top, tail = targets.teacher.topk_logprobs.to(like.dtype), targets.teacher.tail_logprob.to(like.dtype)
    return top if like.size(-1) == top.size(-1) else torch.cat([top, tail[:, None]], -1)


class _Student:
    """The student's masses of a chunk, in the memory of its logits, which are gone."""

    def __init__(self, logits: Tensor, targets: Targets, kernels: ModuleType) -> None:
        """Log masses [C, M], up to one constant per position: of the teacher's ids and of the tail.

        The tail is summed from its own logits, so it keeps its digits, and its gradient, however small it is. Without
        a teacher it is all there is.
        """
        exact, vocabulary = torch.promote_types(logits.dtype, torch.float32), logits.size(-1)
        none = targets.token_ids.new_empty((len(logits), 0))
        self._logits, self._tokens, self._kernels = logits, targets.token_ids[:, None], kernels
        self._ids = none if targets.teacher is None else targets.teacher.topk_ids
        self.written = logits.gather(-1, self._tokens).to(exact).squeeze(-1)
        values, ids = logits.gather(-1, self._ids).to(exact), self._ids
        self.masses, self._tail = values, None
        if ids.size(-1) < vocabulary:
            self._tail = kernels.sum_up(logits.scatter_(-1, ids, -torch.inf))
            self.masses = torch.cat([values, self._tail.most + self._tail.total.log()], -1)
            values, ids = torch.cat([values, self._tail.most], -1), torch.cat([ids, self._tail.best], -1)
        self.best = ids.where(values == values.amax(-1, keepdim=True), vocabulary).amin(-1)

    def gradient(self, of_masses: Tensor, instruct: Tensor) -> Tensor:
        """Gradient [C, V] of the logits: `of_masses` [C, M], less `instruct` [C] at the written tokens; once only.

        What meets at a written token is added up before it is rounded to the dtype of the logits: where the student is
        sure of it, both are large and their difference is small.
        """
        k, instruct = self._ids.size(-1), instruct[:, None].to(of_masses.dtype)
        is_written = self._ids == self._tokens
        ids, values = self._ids, of_masses[:, :k] - is_written * instruct
        if self._tail is not None:
            factor = of_masses[:, k:] / self._tail.total
            self._kernels.weigh(self._logits, self._tail, factor)
            outside = factor * (self.written[:, None] - self._tail.most).exp() - instruct
            inside = (values * is_written).sum(-1, keepdim=True)
            of_written = inside.where(is_written.any(-1, keepdim=True), outside)
            ids, values = torch.cat([ids, self._tokens], -1), torch.cat([values, of_written], -1)
        return self._logits.scatter_(-1, ids, values.to(self._logits.dtype))


class _Products:
    """The products with the head's weight, what they add up to, and the buffers [C, V] that all chunks share."""

    def __init__(self, hidden: Tensor, head: Head, chunk: int, kernels: ModuleType) -> None:
        self.kernels = kernels
        dtype, shape = _dtype_of_products(head.weight), (chunk, head.weight.size(0))
        self._hidden, self._weight, self._bias = hidden.detach(), head.weight.detach().to(dtype), head.bias
        self.gradients = _zeros_where_wanted(hidden, head)
        self._product = self._logits = torch.empty(shape, dtype=dtype, device=hidden.device)
        if (of_logits := _dtype_of_logits(head, kernels)) != dtype:
            self._logits = torch.empty(shape, dtype=of_logits, device=hidden.device)

    @property
    def learns(self) -> bool:
        return any(gradient is not None for gradient in self.gradients)

    def logits(self, rows: Tensor) -> Tensor:
        """Logits [C, V] of `rows`, in a buffer to work in: the next chunk overwrites it."""
        product, logits = self._product[: len(rows)], self._logits[: len(rows)]
        torch.mm(self._hidden[rows].to(product.dtype), self._weight.t(), out=product)
        if logits.dtype != product.dtype:
            logits.copy_(product)
        return logits if self._bias is None else logits.add_(self._bias)

    def add_gradients(self, rows: Tensor, of_logits: Tensor) -> None:
        """Take the gradient [C, V] of the logits of `rows` to whatever learns."""
        hidden, weight, bias = self.gradients
        if bias is not None:
            bias += of_logits.sum(0)
        product = self._product[: len(rows)]
        if of_logits.dtype != product.dtype:
            product.copy_(of_logits)
        if hidden is not None:
            hidden[rows] = (product @ self._weight).to(hidden.dtype)
        if weight is not None:
            states = self._hidden[rows].to(product.dtype)
            if weight.dtype == product.dtype:
                weight.addmm_(product.t(), states)
            else:
                weight += product.t() @ states


def _zeros_where_wanted(hidden: Tensor, head: Head) -> list[Tensor | None]:
    """Of hidden states, weight and bias: a gradient to add to, or None."""
    wants = torch.is_grad_enabled()
    return [
        torch.zeros_like(each) if wants and each is not None and each.requires_grad else None
        for each in (hidden, head.weight, head.bias)
    ]


def _dtype_of_products(weight: Tensor) -> torch.dtype:
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


def _kernels(head: Head) -> ModuleType:
    """What works on the logits: on CUDA kernels, which know no float64."""
    if head.weight.device.type != "cuda" or _dtype_of_products(head.weight) == torch.float64:
        return tail_torch
    from student_trainer.loss import tail_triton  # needs Triton, which builds for the CPU don't have

    return tail_triton


def _dtype_of_logits(head: Head, kernels: ModuleType) -> torch.dtype:
    """Kernels take the products as they are, but for a bias, whose sum with them is not to be rounded."""
    dtype = _dtype_of_products(head.weight)
    return dtype if kernels is not tail_torch and head.bias is None else torch.promote_types(dtype, torch.float32)


def _chunk_size(head: Head, targets: Targets, bytes_per_logit: int) -> int:
    k = 0 if targets.teacher is None else targets.teacher.topk_ids.size(-1)
    budget = CHUNK_BYTES.get(head.weight.device.type, CHUNK_BYTES["cuda"])
    rows = budget // (bytes_per_logit * head.weight.size(0) + 4 * MASS_TENSORS * k)
    return rows // TILE * TILE or max(1, rows)
