"""`loss.py` fast, fused with the head: gradients come out of the forward pass, and logits exist for a chunk at a time.

For each chunk of positions that weigh anything:
1. logits = hidden @ weight.T, in the dtype of the weight or of autocast (`head.py`);
2. in place: the logits become what the student's masses are summed from, in float32 (`student_masses.py`). The loss is
   a function of k + 1 masses per position, so autograd runs on [C, k + 1] alone (`divergence.py`). On a CPU the logits
   are copied to float32 for that (`tail_torch.py`), on CUDA Triton kernels keep them as they are (`tail_triton.py`);
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
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from student_trainer.loss import tail_torch
from student_trainer.loss.divergence import distill_terms, measures
from student_trainer.loss.head import Head, HeadProducts
from student_trainer.loss.student_masses import StudentMasses
from student_trainer.loss.targets import LossScale, Targets
from student_trainer.student_settings import LossSettings

CHUNK_BYTES = {"cpu": 192 << 20, "cuda": 256 << 20}
"""Logits of one chunk: of 128,256 ids, with k = 64, 384 positions on a CPU and 1024 on a GPU, where fewer starve the
products."""
MASS_TENSORS = 16
"""About how many tensors of [C, M] are alive at once."""
TILE = 64
"""Products are fastest when the positions of a chunk are a multiple of this."""
INSTRUCT_METRICS = ("ce", "accuracy")
"""Metrics that are weighted as L_instruct; all others are weighted as L_distill."""


class LossSums(NamedTuple):
    """`loss` is this micro-batch's part of the mean, to differentiate. `metrics` are weighted sums, detached.

    It is a tuple, in which DDP and FSDP find the tensors. Among the metrics are `distill` and `ce`, the sums that make
    up the loss.
    """

    loss: Tensor
    metrics: dict[str, Tensor]


@torch.compiler.disable
def loss_sums(
    hidden: Tensor, head: Head, targets: Targets, loss: LossSettings, scale: LossScale, chunk: int | None = None
) -> LossSums:
    """The loss of `hidden` [N, H] and its metrics, in nats; without a teacher, cross-entropy alone.

    Computed in float32, in float64 for a weight in float64. `chunk` positions go through the head at a time; by default
    as many as fit CHUNK_BYTES. Positions without weight are never looked at. torch.compile runs this as it stands.
    """
    tail_functions = _tail_functions(head)
    dtype = _logits_dtype(head, tail_functions)
    positions = (targets.distill_weights.ne(0) | targets.instruct_weights.ne(0)).nonzero().squeeze(-1)
    chunks = torch.split(positions, chunk or _chunk_size(head, targets, dtype.itemsize))
    products = HeadProducts(hidden, head, len(chunks[0]), dtype)
    with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
        sums = [_chunk_sums(products, tail_functions, each, targets[each], loss, scale) for each in chunks]
        metrics = {name: torch.stack([each[name] for each in sums]).sum(0) for name in sums[0]}
        value = scale.distill * metrics["distill"] + scale.instruct * metrics["ce"]
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
    products: HeadProducts,
    tail_functions: ModuleType,
    positions: Tensor,
    targets: Targets,
    loss: LossSettings,
    scale: LossScale,
) -> dict[str, Tensor]:
    """The metrics' sums over `positions`, which should learn `targets`; adds to the gradients of `products`."""
    student = StudentMasses(products.logits(positions), targets, tail_functions)
    teacher = _teacher_masses(targets, student.masses)
    with torch.enable_grad():
        masses = student.masses.requires_grad_(products.wants_gradients)
        distill = masses.new_zeros(())
        if teacher is not None:
            compared = slice(_top_k(targets) if loss.tail == "renormalise" else None)
            terms = distill_terms(teacher[:, compared], masses[:, compared], loss)
            distill = (terms * targets.distill_weights).sum()
        ce = ((masses.logsumexp(-1) - student.written) * targets.instruct_weights).sum()
        value = scale.distill * distill + scale.instruct * ce
    if products.wants_gradients:
        (of_masses,) = torch.autograd.grad(value, masses)
        products.add_gradients(positions, student.gradient(of_masses, scale.instruct * targets.instruct_weights))
    sums = {"distill": distill.detach(), "ce": ce.detach()}
    return sums | _metrics(teacher, masses.detach(), student.best, targets)


def _metrics(teacher: Tensor | None, masses: Tensor, best: Tensor, targets: Targets) -> dict[str, Tensor]:
    """Sums of what is worth knowing, by the log masses [C, M] of both sides and the student's best ids [C]."""
    metrics = {"accuracy": ((best == targets.token_ids) * targets.instruct_weights).sum()}
    if targets.teacher is not None and teacher is not None:
        each = measures(teacher, masses, _top_k(targets))
        each["top1_agreement"] = best == targets.teacher.topk_ids[:, 0]
        metrics |= {name: (values * targets.distill_weights).sum() for name, values in each.items()}
    return metrics


def _teacher_masses(targets: Targets, like: Tensor) -> Tensor | None:
    """Log masses [C, M] of the teacher, if there is one: with a tail, if those of the student, `like`, have one."""
    if targets.teacher is None:
        return None
    top, tail = targets.teacher.topk_logprobs.to(like.dtype), targets.teacher.tail_logprob.to(like.dtype)
    return top if like.size(-1) == top.size(-1) else torch.cat([top, tail[:, None]], -1)


def _top_k(targets: Targets) -> int:
    return 0 if targets.teacher is None else targets.teacher.topk_ids.size(-1)


def _tail_functions(head: Head) -> ModuleType:
    """The module whose functions work on the logits: kernels on CUDA, but for float64, which they don't know."""
    if head.weight.device.type != "cuda" or head.product_dtype == torch.float64:
        return tail_torch
    from student_trainer.loss import tail_triton  # needs Triton, which builds for the CPU don't have

    return tail_triton


def _logits_dtype(head: Head, tail_functions: ModuleType) -> torch.dtype:
    """The dtype that logits are held in.

    Torch's functions work in float32 at least. Kernels convert as they read, so they take the products as they are;
    but a sum of product and bias would be rounded once more, so with a bias it is held in float32.
    """
    dtype = head.product_dtype
    keeps = tail_functions is not tail_torch and head.bias is None
    return dtype if keeps else torch.promote_types(dtype, torch.float32)


def _chunk_size(head: Head, targets: Targets, bytes_per_logit: int) -> int:
    budget = CHUNK_BYTES.get(head.weight.device.type, CHUNK_BYTES["cuda"])
    positions = budget // (bytes_per_logit * head.weight.size(0) + 4 * MASS_TENSORS * _top_k(targets))
    return positions // TILE * TILE or max(1, positions)
