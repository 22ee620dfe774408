"""A LoRA step of Llama-3.1-8B on one GPU, as `student_trainer/configs/llama-3.1-8b-kd.yaml` has it: how fast, how full.

`python -m tests.benchmarks.step_gpu`, on one GPU with 80 GB; without one it says so. The weights are random: a model
saved to a folder (16 GB, removed again) and read from it as a student is. 8 sequences of 2048 tokens go through it as
one pack, a quarter of them completions. Beside it runs a step without deterministic algorithms, which training asks
for, and, where bitsandbytes is installed, one of QLoRA.

`fraction_of_ceiling` is the arithmetic that the step can't do without, per second, over what the best measured matrix
product does per second. The arithmetic: 6 FLOP per weight of a layer and token with checkpointing (forward, forward
again, gradient of the inputs), 4 without; causal attention, of which the gradient costs twice the forward; 4 per weight
of the head and completion position, which is not checkpointed; and the adapters, with a gradient of their own.
"""

import gc
import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.utils.logging import disable_progress_bar

from common.settings import load
from student_trainer.data.plan import StepExamples, StepPlan
from student_trainer.distributed.process_group import ProcessGroup, make_deterministic
from student_trainer.learning.step import make_learner, train_step
from student_trainer.settings import TrainSettings
from tests.benchmarks.loss_gpu import in_any_order, synchronised
from tests.benchmarks.report import finish
from tests.benchmarks.step_cpu import make_examples
from tests.benchmarks.timing import medians

SHIPPED = "student_trainer/configs/llama-3.1-8b-kd.yaml"
LLAMA: dict[str, Any] = {
    "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
}  # fmt: skip
REPETITIONS = 5
QLORA = ["--student.quantization", "nf4", "--optimizer.name", "paged_adamw_8bit"]
KERNELS = {
    "attention": ("flash", "fmha", "sdpa", "attention"),
    "matrix products": ("gemm", "nvjet", "cutlass", "cublas", "splitk"),
    "optimizer": ("adam", "multi_tensor"),
    "dropout": ("dropout",),
    "copies and casts": ("copy", "memcpy", "memset", "catarray"),
    "sums and norms": ("reduce", "softmax"),
    "sorting and indexing": ("sort", "index", "gather", "scatter"),
    "elementwise": ("elementwise",),
}
"""A kernel belongs to the first group that has a part of its name."""
TARGETS = {"fraction_of_ceiling": ">= 0.55", "tokens_per_s": "reported", "peak_gb": "reported"}


@dataclass(frozen=True)
class Work:
    """What one step is about."""

    sequences: int = 8
    prompt: int = 1536
    completion: int = 512

    @property
    def tokens(self) -> int:
        return self.sequences * (self.prompt + self.completion)


def main() -> None:
    if not torch.cuda.is_available():
        print("no GPU is at hand, so nothing is measured")
        finish("step_gpu", {}, TARGETS, met=False)
        return
    disable_progress_bar()
    make_deterministic(None)
    figures = measure(LlamaConfig(**LLAMA), Work(), torch.device("cuda", 0))
    figures = {name: float(f"{value:.4g}") for name, value in figures.items()}
    finish("step_gpu", figures, TARGETS, met=figures["fraction_of_ceiling"] >= 0.55)


def measure(config: LlamaConfig, work: Work, device: torch.device) -> dict[str, float]:
    ceiling = matrix_ceiling(config, work, device)
    print(f"ceiling: {ceiling / 1e12:.0f} TFLOP/s", flush=True)
    figures = {"ceiling_tflops": ceiling / 1e12}
    with tempfile.TemporaryDirectory() as folder:
        save_random(config, Path(folder), device)
        figures |= measure_step("lora", settings_of(folder, work), work, ceiling, device)
        if importlib.util.find_spec("bitsandbytes") is None:
            print("bitsandbytes is not installed, so QLoRA is not measured")
        else:
            found = measure_step("qlora", settings_of(folder, work, *QLORA), work, ceiling, device)
            figures |= {f"qlora_{name}": value for name, value in found.items()}
    return figures


def save_random(config: LlamaConfig, folder: Path, device: torch.device) -> None:
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)


def settings_of(folder: str, work: Work, *changes: str) -> TrainSettings:
    """The shipped settings with a model that is at hand; their packs hold all sequences."""
    fixed = ["--student.model", folder, "--run_folder", folder, "--batch_size", str(work.sequences)]
    return load(TrainSettings, SHIPPED, [*fixed, *changes])


def measure_step(
    name: str, settings: TrainSettings, work: Work, ceiling: float, device: torch.device
) -> dict[str, float]:
    """Tokens a second, the peak of memory and the fraction of `ceiling`; what the time is spent on is printed."""
    gc.collect()  # the student measured before
    world = ProcessGroup(0, 1, device)
    learner = make_learner(settings, 1000, world)
    config = learner.student.base.config
    assert settings.teacher
    top_k = settings.teacher.top_k
    examples = make_examples(config.vocab_size, work.sequences, work.prompt, work.completion, top_k)
    step = StepExamples(
        plan=StepPlan(1, 0, range(work.sequences)), examples=examples, unused=[], began=0.0, waited_s=0.0, stream_s=0.0
    )

    def once() -> object:
        return train_step(learner, step, settings, world)

    torch.cuda.reset_peak_memory_stats()
    works = {"seconds": synchronised(once), "any order": synchronised(lambda: in_any_order(once))}
    seconds = medians(works, REPETITIONS, warm_ups=2)
    adapters = sum(each.numel() for each in learner.student.trainable())
    needed = flops(config, work, adapters, settings.student.gradient_checkpointing)
    figures = {
        "tokens_per_s": work.tokens / seconds["seconds"],
        "tokens_per_s_any_order": work.tokens / seconds["any order"],
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9,
        "fraction_of_ceiling": needed / seconds["seconds"] / ceiling,
    }
    print(f"{name}: {needed / 1e12:.0f} TFLOP in {seconds['seconds']:.3f} s (any order: {seconds['any order']:.3f} s), "
          + ", ".join(f"{key} {value:.4g}" for key, value in figures.items()), flush=True)  # fmt: skip
    print_spent(works["seconds"], seconds["seconds"], device)
    return figures


def flops(config: Any, work: Work, adapters: int, checkpointing: bool) -> float:
    """The arithmetic of one step, as the module says it is counted; `adapters` is how many weights they have."""
    inner, kv = (heads * config.head_dim for heads in (config.num_attention_heads, config.num_key_value_heads))
    layer = 2 * config.hidden_size * (inner + kv) + 3 * config.hidden_size * config.intermediate_size
    forwards, length = 1 + checkpointing, work.prompt + work.completion
    layers = 2 * (forwards + 1) * config.num_hidden_layers * layer * work.tokens
    causal = 2 * 2 * inner * length**2 / 2  # scores and what they weigh, of the half that is seen
    attention = (forwards + 2) * config.num_hidden_layers * causal * work.sequences
    head = 4 * config.vocab_size * config.hidden_size * work.sequences * work.completion
    return layers + attention + head + 2 * (forwards + 2) * adapters * work.tokens


def matrix_ceiling(config: LlamaConfig, work: Work, device: torch.device) -> float:
    """FLOP a second of the best of some large bf16 products: a square one, and those of the layers."""
    hidden, inner = config.hidden_size, config.intermediate_size
    shapes = [(work.tokens, hidden, inner), (work.tokens, inner, hidden), (2 * hidden, 2 * hidden, 2 * hidden)]
    return max(rate(*shape, device) for shape in shapes)


def rate(m: int, k: int, n: int, device: torch.device) -> float:
    """FLOP a second of [m, k] @ [k, n], many in a row, so that the GPU is as warm as in training."""
    left, right = (torch.randn(shape, device=device, dtype=torch.bfloat16) for shape in ((m, k), (k, n)))
    repeats = 50

    def products() -> None:
        for _ in range(repeats):
            torch.mm(left, right)

    return repeats * 2 * m * k * n / medians({"products": synchronised(products)}, REPETITIONS)["products"]


def print_spent(step: Callable[[], object], seconds: float, device: torch.device) -> None:
    """What `device` does in one step, as parts of the `seconds` that one takes unobserved."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        step()
    kernels = {
        each.key: each.self_device_time_total / 1e6
        for each in recorded.key_averages()
        if each.device_type.name == device.type.upper() and not each.is_user_annotation
    }
    parts: dict[str, float] = {}
    for kernel, spent in kernels.items():
        parts[group_of(kernel)] = parts.get(group_of(kernel), 0.0) + spent
    parts["idle"] = seconds - sum(kernels.values())
    for part, spent in sorted(parts.items(), key=lambda each: -each[1]):
        print(f"  {part:22} {spent:8.4f} s {spent / seconds:6.1%}")
    for kernel, spent in sorted(kernels.items(), key=lambda each: -each[1])[:15]:
        print(f"    {spent:8.4f} s  {group_of(kernel):20}  {kernel[:160]}")


def group_of(kernel: str) -> str:
    named = (group for group, parts in KERNELS.items() if any(part in kernel.lower() for part in parts))
    return next(named, "other")


if __name__ == "__main__":
    main()
