"""How fast completions are scored over HTTP: against the bare engine, and against vLLM's own server.

`python -m tests.benchmarks.scoring`: the same small model and engine settings behind (ours) Ray Serve and the teacher's
API, (engine) vLLM's AsyncLLM in this process with `flat_logprobs`, (vllm_serve) vLLM's OpenAI server with
`prompt_logprobs`, its JSON parsed. All three are up, one works at a time, in turns. Every position is asked for with
k = 64 entries; no prefix cache. `logprob_share_…` is the share of the bare engine's time that goes into logprobs.

Legend: L = tokens of a sequence, V = vocabulary size, c = sequences asked for at a time.
"""

import asyncio
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import numpy as np

from cluster.local.local_cluster import local_cluster
from cluster.local.settings import ClusterSettings
from common.api import DistillRequest, DistillSequence
from common.teacher_client.calls import TeacherCalls
from teacher_server.settings import EngineSettings
from tests.benchmarks import serving
from tests.benchmarks.report import finish
from tests.benchmarks.timing import medians
from tests.models import CPU_ENVIRONMENT

VOCABULARIES, LENGTHS, CONCURRENCIES, K = (4096, 32000), (256, 2048), (1, 8, 32), 64
LEAST_TOKENS, MOST_REPETITIONS = 8192, 3
"""Short cases are repeated until about so many tokens have been scored."""
ENGINE = EngineSettings(
    dtype="float32", max_length=2048, max_top_k=K, kv_cache_gib=0.25, prefix_caching=False, enforce_eager=True
)
Sequences = list[list[int]]
Score = Callable[[Sequences], None]


def main() -> None:
    os.environ.update(CPU_ENVIRONMENT, RAY_worker_niceness="0")  # Ray gives its workers a lower priority than others'
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, local_cluster(ClusterSettings()) as cluster:
        for vocabulary in VOCABULARIES:
            settings = serving.teacher_settings(serving.save_model(Path(folder) / f"v{vocabulary}", vocabulary), ENGINE)
            url = serving.serve_teachers(cluster, teacher=settings)["teacher"]
            with serving.bare_engine(settings) as engine, serving.vllm_serve(settings) as vllm_url:
                teacher, http = TeacherCalls(url, serving.TOKEN), httpx.AsyncClient(timeout=600, trust_env=False)
                works: dict[str, Score] = {
                    "ours": lambda sequences, run=engine.run, to=teacher: run(ask_teacher(to, sequences)),
                    "engine": lambda sequences, engine=engine: ask_engine(engine, sequences, K),
                    "vllm_serve": lambda sequences, run=engine.run, to=(http, vllm_url): run(ask_vllm(*to, sequences)),
                }
                figures |= compare(works, vocabulary)
                figures |= logprob_share(engine, vocabulary)
                engine.run(teacher.__aexit__(None, None, None))
                engine.run(http.aclose())
    targets = {name: target_of(name) for name in figures}
    finish("scoring", figures, targets, all(is_met(name, value) for name, value in figures.items()))


def compare(works: dict[str, Score], vocabulary: int) -> dict[str, float]:
    """The figures of every length and concurrency."""
    figures = {}
    for length in LENGTHS:
        for concurrency in CONCURRENCIES:
            sequences = draw(vocabulary, length, concurrency)
            tokens = length * concurrency
            repetitions = min(MOST_REPETITIONS, max(1, LEAST_TOKENS // tokens))
            for work in works.values():
                work(sequences[:1])
            bound = {name: partial(work, sequences) for name, work in works.items()}
            seconds = medians(bound, repetitions, warm_ups=0)
            case = f"L{length}_V{vocabulary}_c{concurrency}"
            figures |= {f"tokens_per_s_{name}_{case}": round(tokens / each, 1) for name, each in seconds.items()}
            figures[f"vs_engine_{case}"] = round(seconds["engine"] / seconds["ours"], 3)
            figures[f"vs_vllm_serve_{case}"] = round(seconds["vllm_serve"] / seconds["ours"], 3)
            print(case, {name: round(tokens / each) for name, each in seconds.items()}, "tokens/s", flush=True)
    return figures


def logprob_share(engine: serving.BareEngine, vocabulary: int) -> dict[str, float]:
    """How much of the bare engine's time goes into logprobs, at the longest sequences, eight at a time."""
    sequences = draw(vocabulary, max(LENGTHS), 8)
    works = {
        "with": lambda: ask_engine(engine, sequences, K),
        "without": lambda: ask_engine(engine, sequences, None),
    }
    seconds = medians(works, repetitions=2, warm_ups=0)
    share = 1 - seconds["without"] / seconds["with"]
    tokens = {name: round(max(LENGTHS) * 8 / each) for name, each in seconds.items()}
    print(f"V={vocabulary}: the bare engine reads {tokens} tokens/s with and without logprobs: {share:.0%} of its time")
    return {f"logprob_share_V{vocabulary}": round(share, 3)}


def draw(vocabulary: int, length: int, number: int) -> Sequences:
    return np.random.default_rng(length).integers(2, vocabulary, (number, length)).tolist()


async def ask_teacher(teacher: TeacherCalls, sequences: Sequences) -> None:
    """A request for each sequence, all at once: the first token is its prompt, the others its completion."""

    async def ask(number: int, token_ids: list[int]) -> None:
        prompt, completion = token_ids[:1], token_ids[1:]
        sequence = DistillSequence(id=str(number), prompt_token_ids=prompt, completion_token_ids=completion)
        (answer,) = await teacher.distill(DistillRequest(model="teacher", top_k=K, sequences=[sequence]))
        assert answer.topk_ids.shape == (len(completion), K), answer.error

    await asyncio.gather(*(ask(number, token_ids) for number, token_ids in enumerate(sequences)))


def ask_engine(engine: serving.BareEngine, sequences: Sequences, top_k: int | None) -> None:
    async def ask_all() -> None:
        outputs = await asyncio.gather(*(engine.score(token_ids, top_k) for token_ids in sequences))
        for output, token_ids in zip(outputs, sequences, strict=True):
            assert top_k is None or len(output.prompt_logprobs) == len(token_ids)

    engine.run(ask_all())


async def ask_vllm(http: httpx.AsyncClient, url: str, sequences: Sequences) -> None:
    async def ask(token_ids: list[int]) -> None:
        body = {"model": "teacher", "prompt": token_ids, "max_tokens": 1, "temperature": 0, "prompt_logprobs": K}
        answer = (await http.post(url + "/v1/completions", json=body)).raise_for_status().json()
        assert len(answer["choices"][0]["prompt_logprobs"]) == len(token_ids)

    await asyncio.gather(*map(ask, sequences))


def target_of(figure: str) -> str:
    if figure.startswith("vs_engine_") and not figure.endswith("_c1"):
        return "at least 0.9"
    return "at least 4" if figure.startswith("vs_vllm_serve_") and "_V4096_" in figure else "reported"


def is_met(figure: str, value: float) -> bool:
    target = target_of(figure)
    return target == "reported" or value >= float(target.removeprefix("at least "))


if __name__ == "__main__":
    main()
