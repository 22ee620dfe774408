"""What a teacher's answer weighs and costs on its way: from the engine's output to the trainer's tensors.

`python -m tests.benchmarks.wire`: ours (arrays, Arrow) against `vllm serve`'s JSON as TRL consumes it, both from the
tensors that vLLM's worker hands over, one sequence of T = 2048 positions with k = 64 entries each. Time is CPU time of
this process. `copy_ratio` compares our way, sockets and tensors apart, with copying the worker's arrays once; each
repetition takes another sequence, so that neither finds it in a cache.

Legend: T = positions, k = entries per position, V = vocabulary size.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from transformers import PreTrainedTokenizerFast
from vllm.v1.outputs import LogprobsTensors

from common import wire
from common.api import DistillRequest, DistillSequence
from common.teacher_client.calls import TeacherCalls
from teacher_server.engine.protocol import CompletionLogprobs
from teacher_server.vllm.completion_logprobs import from_flat
from teacher_server.vllm.patches.logprobs_processor import ArrayLogprobsProcessor
from teacher_server.vllm.rounding import rounded
from tests.benchmarks import trl_json
from tests.benchmarks.report import finish
from tests.benchmarks.serving import answering, source_tokenizer
from tests.benchmarks.timing import medians, peer

T, K, V = 2048, 64, 32000
ROWS_AT_ONCE = 256
SEQUENCES = 48
"""Sequences to take turns; their arrays, 50 MB, are more than a cache holds."""
REPETITIONS, PEER_REPETITIONS = 96, 8
X = TypeVar("X")
TARGETS = {
    "bytes_ratio": "at least 12",
    "cpu_ratio": "at least 20",
    "copy_ratio": "at most 5",
    "bytes_per_token": "reported",
    "trl_bytes_per_token": "reported",
    "cpu_us_per_token": "reported",
    "trl_cpu_us_per_token": "reported",
    "loopback_us_per_token": "reported",
    "trl_loopback_us_per_token": "reported",
}


def engine_to_positions(output: LogprobsTensors) -> CompletionLogprobs:
    """What the teacher makes of the tensors of vLLM's worker."""
    processor = ArrayLogprobsProcessor(
        tokenizer=None,
        logprobs=None,
        prompt_logprobs=None,
        cumulative_logprob=None,
        num_logprobs=None,
        num_prompt_logprobs=K,
    )
    processor._update_prompt_logprobs(output)
    return from_flat(processor.prompt_logprobs, 0, K, V, "scored", "0123456789abcdef")


def main() -> None:
    torch.set_num_threads(1)  # as in a replica
    figures: dict[str, float] = {}
    tokenizer = source_tokenizer(V)
    outputs = draw_outputs()
    ours = stage_times(outputs)
    print("ours, µs per sequence:", {name: round(seconds * 1e6) for name, seconds in ours.items()})
    body = b"".join(encode(engine_to_positions(outputs[0])))
    figures["bytes_per_token"] = len(body) / T
    figures["copy_ratio"] = sum(ours[stage] for stage in ("convert", "encode", "decode")) / ours["copy"]
    with peer(trl_json.TRL) as installed:
        if installed:
            figures |= against_trl(outputs, tokenizer)
            figures["bytes_ratio"] = figures["trl_bytes_per_token"] / figures["bytes_per_token"]
            figures["cpu_ratio"] = figures["trl_cpu_us_per_token"] / figures["cpu_us_per_token"]
        else:
            print("bytes_ratio and cpu_ratio are not measured: there is nothing to compare with")
    met = installed and figures["bytes_ratio"] >= 12 and figures["cpu_ratio"] >= 20 and figures["copy_ratio"] <= 5
    finish("wire", {name: round(value, 3) for name, value in figures.items()}, TARGETS, met)


def draw_outputs() -> list[LogprobsTensors]:
    """What vLLM's worker hands over for SEQUENCES sequences, from drawn distributions: [T, k + 1], the actual first."""
    torch.manual_seed(0)
    parts = [draw_rows(ROWS_AT_ONCE) for _ in range(T // ROWS_AT_ONCE)]
    whole = [torch.cat(part) for part in zip(*parts, strict=True)]
    return [LogprobsTensors(*(part.clone() for part in whole)) for _ in range(SEQUENCES)]


def draw_rows(rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids and logprobs [rows, k + 1], the actual token first, and the actual one's ranks [rows]."""
    logprobs = (torch.randn(rows, V) * 4).log_softmax(-1)
    actual = torch.distributions.Categorical(logits=logprobs).sample()[:, None]
    top, own = logprobs.topk(K), logprobs.gather(1, actual)
    ids = torch.cat([actual, top.indices], 1).int()
    return ids, torch.cat([own, top.values], 1), (logprobs >= own).sum(1)


def stage_times(outputs: list[LogprobsTensors]) -> dict[str, float]:
    """Median CPU seconds of each stage of our way, and of one copy of the worker's arrays."""
    positions = [engine_to_positions(output) for output in outputs]
    bodies = [b"".join(encode(each)) for each in positions]
    works = {
        "copy": _each(outputs, lambda output: [part.numpy().copy() for part in output[:2]]),
        "convert": _each(outputs, engine_to_positions),
        "encode": _each(positions, encode),
        "decode": _each(bodies, lambda body: list(wire.decode(body))),
    }
    return medians(works, REPETITIONS, time.process_time)


def encode(positions: CompletionLogprobs) -> list[bytes]:
    """The parts of the stream that the service sends for one sequence (see teacher_server/distill/serving.py)."""
    schema = wire.schema(K, "float16")
    fields = vars(positions) | {"topk_logprobs": rounded(positions.topk_logprobs, "float16")}
    answer = wire.TeacherAnswer(id="sequence", model="teacher", error=None, **fields)
    record = wire.to_batch(answer, schema).serialize().to_pybytes()
    return [schema.serialize().to_pybytes(), record, wire.END_MARKER]


def tensors(answer: wire.TeacherAnswer) -> list[torch.Tensor]:
    """The answer's arrays as tensors of the trainer's own."""
    arrays = (answer.token_ids, answer.token_logprobs, answer.topk_ids, answer.topk_logprobs, answer.tail_logprob)
    return [torch.from_numpy(array.copy()) for array in arrays]


def against_trl(outputs: list[LogprobsTensors], tokenizer: PreTrainedTokenizerFast) -> dict[str, float]:
    """Ours and TRL's from end to end, taking turns: CPU alone, then what the bodies' way over loopback takes."""
    loop, completion = trl_json.consumer(K), outputs[0].logprob_token_ids[:, 0].tolist()
    body = b"".join(encode(engine_to_positions(outputs[0])))
    json_body = trl_json.encode(outputs[0], tokenizer)

    def ours(output: LogprobsTensors) -> list[torch.Tensor]:
        (answer,) = wire.decode(b"".join(encode(engine_to_positions(output))))
        return tensors(answer)

    def theirs(output: LogprobsTensors) -> list[torch.Tensor]:
        return trl_json.decode(loop, trl_json.encode(output, tokenizer), completion)

    assert torch.equal(theirs(outputs[0])[0][:, 0], ours(outputs[0])[2][:, 0].long()), "they read other tokens"
    cpu = medians({"ours": _each(outputs, ours), "trl": _each(outputs, theirs)}, PEER_REPETITIONS, time.process_time)
    with answering({"/v1/distill": body, "/v1/completions": json_body}) as url:
        over_http = {"ours": lambda: ask(url, completion), "trl": lambda: trl_json.fetch(loop, url, completion)}
        wall = medians(over_http, PEER_REPETITIONS)
    return {
        "trl_bytes_per_token": len(json_body) / T,
        "cpu_us_per_token": cpu["ours"] / T * 1e6,
        "trl_cpu_us_per_token": cpu["trl"] / T * 1e6,
        "loopback_us_per_token": wall["ours"] / T * 1e6,
        "trl_loopback_us_per_token": wall["trl"] / T * 1e6,
    }


def ask(url: str, completion: list[int]) -> list[torch.Tensor]:
    """One answer over HTTP through the project's client."""
    sequence = DistillSequence(id="sequence", prompt_token_ids=trl_json.PROMPT, completion_token_ids=completion)

    async def distill() -> wire.TeacherAnswer:
        async with TeacherCalls(url, "token") as teacher:
            (answer,) = await teacher.distill(DistillRequest(model="teacher", top_k=K, sequences=[sequence]))
            return answer

    return tensors(asyncio.run(distill()))


def _each(values: Sequence[X], work: Callable[[X], object]) -> Callable[[], object]:
    """`work` on the next of `values` with every call."""
    turns = itertools.cycle(values)
    return lambda: work(next(turns))


if __name__ == "__main__":
    main()
