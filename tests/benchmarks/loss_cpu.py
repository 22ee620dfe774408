"""What the loss costs on a CPU at Llama's vocabulary, beside its peers: seconds, extra memory, error.

`python -m tests.benchmarks.loss_cpu [--rounds 2]`. Each measurement is a process of its own, on one thread, which reads
its CPU seconds (on an idle machine, the clock's) and the growth of its peak memory over one forward and backward pass.
What grows with N is too little to be seen in a process's memory: `bytes_per_position` is read off the allocator's own
trace.
TRL's is its own code, from its wheel in a folder of its own, with its chunks of 256. verl's and DistillKit's are their
published formulas on whole logits, written down here: verl's clamps log-probabilities at -10 and has no tail,
DistillKit's has a tail of 1 - sum.

Legend: N = positions, H = hidden size, V = vocabulary, k = teacher's entries per position.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.report import finish

TRL = "trl==1.16.0"
N, H, V, K = 1024, 1024, 128256, 64
EXACT_POSITIONS = 32
"""So many positions are also computed naively in float64."""
PEERS = ("trl", "verl", "distillkit")
DTYPES = {"bf16": "bfloat16", "fp32": "float32"}
TARGETS = {
    "time_vs_trl_frozen_bf16": "<= 0.25",
    "time_vs_trl_frozen_fp32": "<= 0.5",
    "memory_vs_trl_frozen_bf16": "<= 0.5",
    "memory_vs_trl_frozen_fp32": "<= 0.5",
    "time_vs_fastest_trainable": "<= 1",
    "bytes_per_position": "<= 16384",  # a few hidden states of H; the logits of one are 256,512 bytes in bf16
    "max_error": "<= 1e-5",
    "max_error_bf16": "<= 1e-2",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--job", nargs=3)
    parser.add_argument("--trace", type=int)
    options = parser.parse_args()
    if options.job:
        measure(*options.job)
        return
    if options.trace:
        trace(options.trace)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), folder])
        peers = [peer for peer in PEERS if peer != "trl" or install_trl(folder)]
        results = {
            (dtype, head): {who: best(who, dtype, head, options.rounds) for who in ("ours", *peers)}
            for dtype in DTYPES
            for head in ("frozen", "trainable")
        }
    figures = figures_of(results) | {"bytes_per_position": bytes_per_position()}
    met = all(name in figures and figures[name] <= float(text.removeprefix("<= ")) for name, text in TARGETS.items())
    finish("loss_cpu", {name: float(f"{value:.3g}") for name, value in figures.items()}, TARGETS, met)


def install_trl(folder: str) -> bool:
    """Put TRL's wheel into `folder`; its requirements are the project's own."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder, TRL]
    failed = subprocess.run(command, capture_output=True, text=True)
    if failed.returncode:
        print(f"{TRL} can't be had here, so nothing is compared with it: {failed.stderr.strip()[-300:]}")
    return failed.returncode == 0


def bytes_per_position() -> float:
    """By how much the peak of our loss, bf16 and a frozen head, rises with one more position, of several chunks."""
    small, large = (answer_of(["--trace", str(positions)])["peak_bytes"] for positions in (N // 2, N))
    print(f"live bytes at most: {small / 2**20:.1f} MiB at N={N // 2}, {large / 2**20:.1f} MiB at N={N}", flush=True)
    return (large - small) / (N - N // 2)


def answer_of(options: list[str]) -> dict[str, float]:
    """What this module prints last in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.loss_cpu", *options]
    out = subprocess.run(command, capture_output=True, text=True)
    if out.returncode:
        raise RuntimeError(f"{' '.join(options)} failed: {out.stderr[-2000:]}")
    return json.loads(out.stdout.splitlines()[-1])


def best(who: str, dtype: str, head: str, rounds: int) -> dict[str, float]:
    """The least of each quantity over `rounds` processes."""
    answers = [answer_of(["--job", who, dtype, head]) for _ in range(rounds)]
    least = {name: min(answer[name] for answer in answers) for name in answers[0]}
    shown = f"{least['seconds']:6.2f} s {least['bytes'] / 2**20:6.0f} MiB  error {least['error']:.1e}"
    print(f"{dtype} {head:9} N={N} {who:10} {shown}, gradient {least['gradient_error']:.1e}", flush=True)
    return least


def figures_of(results: dict[tuple[str, str], dict[str, dict[str, float]]]) -> dict[str, float]:
    figures = {}
    for dtype in DTYPES:
        frozen = results[dtype, "frozen"]
        if "trl" in frozen:
            figures[f"time_vs_trl_frozen_{dtype}"] = frozen["ours"]["seconds"] / frozen["trl"]["seconds"]
            figures[f"memory_vs_trl_frozen_{dtype}"] = frozen["ours"]["bytes"] / frozen["trl"]["bytes"]
    figures["time_vs_fastest_trainable"] = max(
        each["ours"]["seconds"] / min(peer["seconds"] for who, peer in each.items() if who != "ours")
        for (_, head), each in results.items()
        if head == "trainable"
    )
    for name, dtype in (("max_error", "fp32"), ("max_error_bf16", "bf16")):
        figures[name] = max(each["ours"]["error"] for (which, _), each in results.items() if which == dtype)
    return figures


def measure(who: str, dtype: str, head: str) -> None:
    """In a process of its own: one forward and backward pass of `who`, then the error on a few positions."""
    import time

    import torch

    torch.set_num_threads(1)
    data = make_data(getattr(torch, DTYPES[dtype]), head == "trainable", N)
    loss = LOSSES[who]()
    run(loss, data, 16)  # so that what is loaded once is not counted
    before = peak("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    started = time.process_time()
    run(loss, data, N)
    seconds, extra = time.process_time() - started, peak("VmHWM") - before
    value, gradient = run(loss, data, EXACT_POSITIONS)
    exact = {name: each if name == "ids" else each.detach().double() for name, each in data.items()}
    exact_value, exact_gradient = run(naive, exact, EXACT_POSITIONS)
    off = float((gradient - exact_gradient).norm() / exact_gradient.norm())
    print(json.dumps({"seconds": seconds, "bytes": extra, "error": abs(value - exact_value), "gradient_error": off}))


def trace(positions: int) -> None:
    """In a process of its own: the most bytes alive at once in one forward and backward pass of our loss."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    torch.set_num_threads(1)
    data, loss = make_data(torch.bfloat16, False, positions), ours()
    run(loss, data, 16)
    hidden = data["hidden"].requires_grad_()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        torch.autograd.backward(loss(hidden, data["weight"], data["ids"], data["logprobs"]))
    with tempfile.TemporaryDirectory() as folder:
        recorded.export_chrome_trace(f"{folder}/trace.json")
        events = json.loads(Path(folder, "trace.json").read_text())["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event["name"] == "[memory]")
    print(json.dumps({"peak_bytes": max(itertools.accumulate(change for _, change in changes))}))


def peak(name: str) -> int:
    """Bytes of this process's resident memory: now (VmRSS) or at most (VmHWM)."""
    (line,) = [each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith(name)]
    return int(line.split()[1]) * 1024


def make_data(dtype: Any, trainable: bool, positions: int) -> dict[str, Any]:
    """Random hidden states and head, and a teacher."""
    import torch

    torch.manual_seed(0)
    ids, logprobs = make_teacher(positions, V, K)
    weight = torch.randn(V, H).mul_(0.05).to(dtype).requires_grad_(trainable)
    return {"hidden": torch.randn(positions, H).to(dtype), "weight": weight, "ids": ids, "logprobs": logprobs}


def make_teacher(positions: int, vocabulary: int, k: int) -> tuple[Any, Any]:
    """Ids and logprobs [positions, k] of a teacher with falling masses on random ids, and 3% in the tail."""
    import torch

    ids = (torch.randint(vocabulary, (positions, 1)) + 1009 * torch.arange(k)) % vocabulary  # 1009: no factor in common
    masses = torch.randn(positions, k).mul(3).sort(-1, descending=True).values.softmax(-1) * 0.97
    return ids, masses.log()


def run(loss: Callable[..., Any], data: dict[str, Any], positions: int) -> tuple[float, Any]:
    """Mean loss per position and its gradient for the hidden states, in float64."""
    import torch

    hidden = data["hidden"][:positions].clone().requires_grad_()
    value = loss(hidden, data["weight"], data["ids"][:positions], data["logprobs"][:positions]) / positions
    torch.autograd.backward(value)
    data["weight"].grad = None
    assert hidden.grad is not None
    return float(value.detach()), hidden.grad.double()


def ours() -> Callable[..., Any]:
    import torch

    from student_trainer.loss.fused import loss_sums
    from student_trainer.loss.head import Head
    from student_trainer.loss.targets import LossScale, Targets, TeacherTopK
    from student_trainer.student_settings import LossSettings

    def loss(hidden: Any, weight: Any, ids: Any, logprobs: Any) -> Any:
        ones = torch.ones(len(ids))
        teacher = TeacherTopK(ids, logprobs, (1 - logprobs.exp().sum(-1)).log())
        targets = Targets(ids[:, 0], ones, 0 * ones, teacher)
        return loss_sums(hidden, Head(weight), targets, LossSettings(), LossScale(1, 0)).loss

    return loss


def trl() -> Callable[..., Any]:
    import torch
    from trl.experimental.async_distillation import async_distillation_trainer as theirs

    def loss(hidden: Any, weight: Any, ids: Any, logprobs: Any) -> Any:
        valid, chunk = torch.ones_like(ids, dtype=torch.bool), theirs._CHUNKED_LM_HEAD_CHUNK_SIZE
        return theirs._chunked_jsd_loss(
            hidden, weight, None, 1.0, None, ids, logprobs, valid, 0.0, 1.0, True, None, 1, chunk
        )[0]

    return loss


def verl() -> Callable[..., Any]:
    def loss(hidden: Any, weight: Any, ids: Any, logprobs: Any) -> Any:
        log_q = (hidden @ weight.t()).log_softmax(-1).gather(-1, ids).float().clamp_min(-10)
        log_p = logprobs.clamp_min(-10)
        return (log_p.exp() * (log_p - log_q)).sum()

    return loss


def distillkit() -> Callable[..., Any]:
    def loss(hidden: Any, weight: Any, ids: Any, logprobs: Any) -> Any:
        logits = hidden @ weight.t()
        log_q = (logits.gather(-1, ids) - logits.float().logsumexp(-1, keepdim=True).to(logits.dtype)).float()
        tails = [(-each.logsumexp(-1).clamp_max(-1e-6).expm1()).log() for each in (logprobs, log_q)]
        return (logprobs.exp() * (logprobs - log_q)).sum() + (tails[0].exp() * (tails[0] - tails[1])).sum()

    return loss


def naive(hidden: Any, weight: Any, ids: Any, logprobs: Any) -> Any:
    """The exact loss: every probability of every position, the tail as what is left."""
    import torch

    q = (hidden @ weight.detach().t()).softmax(-1).gather(-1, ids)
    p, q = (torch.cat([each, 1 - each.sum(-1, keepdim=True)], -1) for each in (logprobs.exp(), q))
    return (p * (p / q).log()).sum()


LOSSES = {"ours": ours, "trl": trl, "verl": verl, "distillkit": distillkit}

if __name__ == "__main__":
    main()
