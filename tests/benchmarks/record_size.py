"""What the record weighs and costs: bytes per position on disk, speed of compaction, and of replay from Parquet.

`python -m tests.benchmarks.record_size`. Speeds are per second of this process's CPU, whatever runs beside it. Two sets
of answers, each at k = 64 and k = 128, without loss:

- drawn: V = 128,256, as of a large model. Synthetic: a Zipf law over ids that are roughly in the order of frequency,
  as a BPE's are, plus what a text is about (one direction for each text, another for each position). Weighed so that
  the top id has about 0.63 and what lies outside the best 64 about 0.7 % of the mass.
- real: the demo's teacher base, V = 1,280, on documents of its own kind that it never saw.

DistillKit publishes 300 bytes per position at k = 128 and 114 at k = 50, both with loss.

Legend: T = positions of an answer, k = entries per position, V = vocabulary size.
"""

import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from common.api import DistillRequest, DistillSequence
from common.wire import TeacherAnswer
from common.world.named.corpus import documents
from student_trainer.data.plan import Key
from student_trainer.record.compaction import compact
from student_trainer.record.store import RecordReader, RecordWriter
from tests.benchmarks.report import finish

V, T, ANSWERS, TEXT_SIZE = 128256, 250, 32, 48
BASE = Path(__file__).parents[2] / "student_trainer" / "base_models" / "teacher"
REPETITIONS = 5
KS = (64, 128)
TARGETS = {
    "drawn_k64": "at most half of raw_k64",
    "drawn_k128": "at most half of raw_k128",
    "raw_k64": "reported",
    "raw_k128": "reported",
    "real_k64": "reported",
    "real_k128": "reported",
    "compaction_mb_per_s": "reported, per second of CPU, k = 128",
    "replayed_positions_per_s": "reported, per second of CPU, k = 128",
}


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    figures: dict[str, float] = {}
    for name, answers in (("drawn", list(drawn())), ("real", list(real()))):
        describe(name, answers)
        for k in KS:
            sizes = measure([first(answer, k) for answer in answers])
            print(f"{name} k={k}: " + ", ".join(f"{figure} {value:,.1f}" for figure, value in sizes.items()))
            figures[f"{name}_k{k}"] = sizes["compacted"]
            if name == "drawn":
                figures[f"raw_k{k}"] = sizes["raw"]
                figures["compaction_mb_per_s"] = sizes["compaction_mb_per_s"]
                figures["replayed_positions_per_s"] = sizes["replayed_positions_per_s"]
    met = all(figures[f"drawn_k{k}"] <= figures[f"raw_k{k}"] / 2 for k in KS)
    finish("record_size", {name: round(figures[name], 1) for name in TARGETS}, TARGETS, met)


def measure(answers: list[TeacherAnswer]) -> dict[str, float]:
    """Bytes per position in the segment and in Parquet; the best of REPETITIONS of compaction and replay in order."""
    positions = sum(map(len, answers))
    figures: dict[str, float] = {"compaction_mb_per_s": 0, "replayed_positions_per_s": 0}
    for _ in range(REPETITIONS):
        with tempfile.TemporaryDirectory() as folder:
            segment = record(Path(folder), answers)
            raw = segment.stat().st_size
            began = time.process_time()
            compact(segment)
            figures["compaction_mb_per_s"] = max(
                figures["compaction_mb_per_s"], raw / (time.process_time() - began) / 1e6
            )
            (parquet,) = Path(folder).iterdir()
            figures |= {"raw": raw / positions, "compacted": parquet.stat().st_size / positions}
            speed = positions / replay(Path(folder), answers)
            figures["replayed_positions_per_s"] = max(figures["replayed_positions_per_s"], speed)
    return figures


def record(folder: Path, answers: list[TeacherAnswer]) -> Path:
    """The segment of `answers`, of which neighbours overtook each other on the way."""
    writer = RecordWriter(folder, 0, answers[0].top_k, "float16")
    for number in range(len(answers)):
        writer.append(Key(0, number ^ 1), ask(answers[number ^ 1]), answers[number ^ 1])
    writer.close(compact=False)
    (segment,) = folder.iterdir()
    return segment


def replay(folder: Path, answers: list[TeacherAnswer]) -> float:
    """Seconds of CPU to open the record and read it in the global order; every bit is compared, outside the time."""
    began = time.process_time()
    reader = RecordReader([folder])
    found = [reader.find(Key(0, number), ask(answer)) for number, answer in enumerate(answers)]
    seconds = time.process_time() - began
    for got, answer in zip(found, answers, strict=True):
        assert got is not None
        for name in ("token_ids", "token_logprobs", "topk_ids", "topk_logprobs", "tail_logprob"):
            assert getattr(got, name).tobytes() == getattr(answer, name).tobytes(), f"{name} came back changed"
    return seconds


def ask(answer: TeacherAnswer) -> DistillRequest:
    """The request that `answer` answers, but for its prompt."""
    sequence = DistillSequence(id=answer.id, prompt_token_ids=[1], completion_token_ids=answer.token_ids.tolist())
    return DistillRequest(model="teacher", top_k=answer.top_k, sequences=[sequence])


def drawn() -> Iterator[TeacherAnswer]:
    """Answers over a large vocabulary, synthetic."""
    ranks = (torch.arange(1, V + 1).log() + 0.7 * torch.randn(V)).argsort().argsort()
    frequency = -2.0 * (ranks + 2.7).log()
    directions = torch.randn(V, TEXT_SIZE) / TEXT_SIZE**0.5
    for number in range(ANSWERS):
        text = 0.55 * torch.randn(1, TEXT_SIZE) + 0.85 * torch.randn(T, TEXT_SIZE)
        sharpness = 6.6 * (0.5 * torch.randn(T, 1)).exp()
        logprobs = (frequency + sharpness * (text @ directions.T)).log_softmax(-1)
        tokens = torch.distributions.Categorical(logits=logprobs).sample()
        yield to_answer(f"drawn-{number}", logprobs, tokens)


def real() -> Iterator[TeacherAnswer]:
    """Answers of the demo's teacher base about documents of the world, drawn with another seed than it learnt from."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(BASE), AutoModelForCausalLM.from_pretrained(BASE)
    texts = documents(seed=987654, count=20 * ANSWERS)
    ids = tokenizer("\n".join(texts))["input_ids"]
    for number, start in enumerate(islice(range(0, len(ids) - T, T), ANSWERS)):
        tokens = torch.tensor(ids[start : start + T + 1])
        with torch.no_grad():
            logprobs = model(tokens[None, :-1]).logits[0].float().log_softmax(-1)
        yield to_answer(f"real-{number}", logprobs, tokens[1:])


def to_answer(id: str, logprobs: torch.Tensor, tokens: torch.Tensor) -> TeacherAnswer:
    """What the wire carries of the distributions `logprobs` [T, V] of `tokens` [T], at the largest k."""
    top = logprobs.topk(max(KS))
    own = logprobs.gather(1, tokens[:, None])[:, 0]
    return TeacherAnswer(
        id, "teacher", "0123456789abcdef", "scored", None, tokens.int().numpy(), own.numpy(),
        top.indices.int().numpy(), top.values.half().numpy(), tail(top.values),
    )  # fmt: skip


def first(answer: TeacherAnswer, k: int) -> TeacherAnswer:
    """The same answer with k entries per position."""
    kept = torch.from_numpy(answer.topk_logprobs[:, :k].copy())
    ids, logprobs = answer.topk_ids[:, :k].copy(), kept.numpy()
    return replace(answer, topk_ids=ids, topk_logprobs=logprobs, tail_logprob=tail(kept))


def tail(kept: torch.Tensor) -> NDArray[np.float32]:
    """Log of the mass outside what is `kept` [T, k], as if it had not been rounded."""
    return (1 - kept.double().exp().sum(1)).clamp(min=1e-30).log().float().numpy()


def describe(name: str, answers: Iterable[TeacherAnswer]) -> None:
    """Print how peaked the answers are."""
    logprobs = torch.cat([torch.from_numpy(answer.topk_logprobs) for answer in answers]).double().exp()
    print(
        f"{name}: {len(logprobs)} positions, top id {logprobs[:, 0].mean():.3f} of the mass, "
        f"outside the best 64 {1 - logprobs[:, :64].sum(1).mean():.4f}"
    )


if __name__ == "__main__":
    main()
