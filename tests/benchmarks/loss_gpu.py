"""What the loss costs on a GPU at Llama-3.1-8B's shapes, beside the two matrix products that it can't do without.

`python -m tests.benchmarks.loss_gpu`, on one GPU; without one it says so. bf16, the head frozen. Ours runs as training
does, with deterministic algorithms, and once more without. Liger's FusedLinearKLDiv does its own task on the same
shapes: its teacher is a probability for every id, which lies ready in memory and isn't counted. Its package is found
if it is there, or else put into a folder of its own.

Legend: N = positions, H = hidden size, V = vocabulary, k = teacher's entries per position.
"""

import importlib
import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from student_trainer.distributed.process_group import make_deterministic
from student_trainer.loss.fused import loss_sums
from student_trainer.loss.head import Head
from student_trainer.loss.targets import LossScale, Targets, TeacherTopK
from student_trainer.student_settings import LossSettings
from tests.benchmarks.loss_cpu import make_teacher, naive
from tests.benchmarks.report import finish
from tests.benchmarks.timing import medians, peer

LIGER = "liger-kernel==0.8.5"
REPETITIONS, WARM_UPS = 10, 3
EXACT_POSITIONS = 32
"""So many positions are also computed naively in float64."""
TARGETS = {
    "time_vs_two_matmuls": "<= 1.3",
    "extra_mb": "<= 600",
    "max_error": "<= 1e-2",
    "time_vs_liger": "reported",
}


@dataclass(frozen=True)
class Sizes:
    """N, H, V and k."""

    positions: int = 8192
    hidden: int = 4096
    vocabulary: int = 128256
    top_k: int = 64


@dataclass(frozen=True)
class Data:
    """What the loss is computed of, on one device."""

    hidden: Tensor  # [N, H] bf16, wants a gradient
    weight: Tensor  # [V, H] bf16
    ids: Tensor  # [N, k]
    logprobs: Tensor  # [N, k] float32


def main() -> None:
    if not torch.cuda.is_available():
        print("no GPU is at hand, so nothing is measured")
        finish("loss_gpu", {}, TARGETS, met=False)
        return
    make_deterministic(None)
    figures = measure(Sizes(), torch.device("cuda", 0))
    met = all(name in figures and figures[name] <= float(text[3:]) for name, text in TARGETS.items() if text[0] == "<")
    finish("loss_gpu", {name: float(f"{value:.4g}") for name, value in figures.items()}, TARGETS, met)


def measure(sizes: Sizes, device: torch.device) -> dict[str, float]:
    """The figures, of works that take turns."""
    data = make_data(sizes, device)
    works: dict[str, Callable[[], object]] = {
        "two products": lambda: two_products(data),
        "ours": lambda: ours(data),
        "ours, any order": lambda: in_any_order(lambda: ours(data)),
    }
    with liger_package() as there:
        if there:
            works["Liger"] = liger(data, sizes)
        seconds = medians({name: synchronised(work) for name, work in works.items()}, REPETITIONS, warm_ups=WARM_UPS)
        extra = {name: extra_bytes(data, work) for name, work in works.items()}
    for name in works:
        print(f"{name:16} {seconds[name] * 1e3:8.2f} ms {extra[name] / 1e6:8.1f} MB beside its inputs", flush=True)
    figures = {
        "time_vs_two_matmuls": seconds["ours"] / seconds["two products"],
        "time_vs_two_matmuls_any_order": seconds["ours, any order"] / seconds["two products"],
        "extra_mb": extra["ours"] / 1e6,
        "max_error": error(data),
        "products_tflops": 4 * sizes.positions * sizes.hidden * sizes.vocabulary / seconds["two products"] / 1e12,
    }
    if "Liger" in works:
        figures |= {"time_vs_liger": seconds["ours"] / seconds["Liger"], "liger_extra_mb": extra["Liger"] / 1e6}
    return figures


def make_data(sizes: Sizes, device: torch.device) -> Data:
    """Random hidden states and head, and a teacher."""
    torch.manual_seed(0)
    hidden = torch.randn(sizes.positions, sizes.hidden, device=device).bfloat16().requires_grad_()
    weight = torch.randn(sizes.vocabulary, sizes.hidden, device=device, dtype=torch.bfloat16).mul_(0.05)
    ids, logprobs = make_teacher(sizes.positions, sizes.vocabulary, sizes.top_k)
    return Data(hidden, weight, ids.to(device), logprobs.to(device))


@torch.no_grad()
def two_products(data: Data) -> Tensor:
    """Hidden states to logits, and something of the logits' shape to hidden states."""
    return (data.hidden @ data.weight.t()) @ data.weight


def ours(data: Data) -> Tensor:
    """Mean loss per position; its gradient is in `data.hidden.grad`."""
    data.hidden.grad = None
    ones = torch.ones(len(data.hidden), device=data.hidden.device)
    teacher = TeacherTopK(data.ids, data.logprobs, (1 - data.logprobs.exp().sum(-1)).log())
    targets = Targets(data.ids[:, 0], ones, 0 * ones, teacher)
    loss = loss_sums(data.hidden, Head(data.weight), targets, LossSettings(), LossScale(1 / len(ones), 0)).loss
    torch.autograd.backward(loss)
    return loss.detach()


def liger_package() -> AbstractContextManager[bool]:
    there = importlib.util.find_spec("liger_kernel") is not None
    return nullcontext(True) if there else peer(LIGER)


def liger(data: Data, sizes: Sizes) -> Callable[[], object]:
    """Its loss and gradient; what the teacher's k entries leave is spread over all other ids."""
    loss = importlib.import_module("liger_kernel.transformers").LigerFusedLinearKLDivLoss(reduction="batchmean")
    masses = data.logprobs.exp()
    rest = (1 - masses.sum(-1, keepdim=True)) / (sizes.vocabulary - sizes.top_k)
    target = rest.bfloat16().repeat(1, sizes.vocabulary).scatter_(-1, data.ids, masses.bfloat16())

    def work() -> None:
        data.hidden.grad = None
        torch.autograd.backward(loss(data.hidden, data.weight, target))

    return work


def in_any_order(work: Callable[[], object]) -> None:
    """Run `work` without deterministic algorithms."""
    torch.use_deterministic_algorithms(False)
    work()
    torch.use_deterministic_algorithms(True, warn_only=True)


def synchronised(work: Callable[[], object]) -> Callable[[], None]:
    """`work` until the GPU is done with it."""

    def run() -> None:
        work()
        torch.cuda.synchronize()

    return run


def extra_bytes(data: Data, work: Callable[[], object]) -> int:
    """By how much the most bytes allocated on the GPU during `work` exceed those before it."""
    data.hidden.grad = None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def error(data: Data) -> float:
    """How far our mean loss of a few positions is from the exact one."""
    few = Data(data.hidden.detach()[:EXACT_POSITIONS].clone().requires_grad_(), data.weight, data.ids[:EXACT_POSITIONS],
               data.logprobs[:EXACT_POSITIONS])  # fmt: skip
    exact = naive(few.hidden.detach().double(), few.weight.double(), few.ids, few.logprobs.double()) / EXACT_POSITIONS
    return abs(float(ours(few)) - float(exact))


if __name__ == "__main__":
    main()
