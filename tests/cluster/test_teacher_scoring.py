"""Both ways that logprobs leave real vLLM, and scoring with its prefix cache: repeats, overlaps, preemption.

One engine, made hard on purpose: prompts are cut into steps of 256 tokens, and its cache holds 1,000 tokens, not much
more than the longest sequence.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
from vllm.outputs import RequestOutput
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.metrics.loggers import StatLoggerBase

from common.api import GenerateOptions
from teacher_server.engine.protocol import CompletionLogprobs
from teacher_server.settings import EngineSettings, TeacherServerSettings
from teacher_server.vllm.completion_logprobs import from_flat
from teacher_server.vllm.patches.logprob_rows import LogprobRows
from teacher_server.vllm.scoring import exact
from tests.cluster.test_teacher_positions import Served
from tests.models import CPU_ENVIRONMENT, VOCABULARY_SIZE, save_tiny_adapter, save_tiny_llama

K = 8
Pair = tuple[list[int], list[int]]


class Preemptions(StatLoggerBase):
    """Counts how often vLLM took a sequence's memory away."""

    count = 0

    def __init__(self, *_: Any) -> None:
        """vLLM makes one for each engine."""

    def record(self, scheduler_stats: Any, iteration_stats: Any, **_: Any) -> None:
        Preemptions.count += iteration_stats.num_preempted_reqs if iteration_stats else 0

    def log_engine_initialized(self) -> None:
        """Nothing to say."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    model = save_tiny_llama(tmp_path_factory.mktemp("model"))
    adapter = save_tiny_adapter(tmp_path_factory.mktemp("adapter"), model)
    start = AsyncLLM.from_engine_args

    def start_hard(args: Any, stat_loggers: Any = None, **rest: Any) -> AsyncLLM:
        args.enable_chunked_prefill, args.max_num_batched_tokens = True, 256
        args.scheduler_reserve_full_isl, args.disable_log_stats = False, False
        return start(args, stat_loggers=[*(stat_loggers or []), Preemptions], **rest)

    engine = EngineSettings(
        dtype="float32", max_length=700, max_batched_tokens=768, max_top_k=64, kv_cache_gib=0.0015, enforce_eager=True,
        logits_rows=50,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CPU_ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setattr(AsyncLLM, "from_engine_args", start_hard)
        served = Served(TeacherServerSettings(model=str(model), adapters={"expert": adapter}, engine=engine))
        yield served
        served.close()


@contextmanager
def uncapped() -> Iterator[None]:
    """Lets vLLM reuse whatever it has of a sequence, wanted rows too: the scheduler is told nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("teacher_server.vllm.scoring.CACHED_AT_MOST", "nobody reads this")
        yield


def ask(served: Served, ids: list[int], model: str = "teacher", **params: Any) -> RequestOutput:
    """Whatever vLLM answers to one request, with flat logprobs and one token more."""
    fields = {"max_tokens": 1, "temperature": 0, "flat_logprobs": True, "detokenize": False} | params
    return served.run(served.engine._run(model, ids, SamplingParams(**fields)))[0]


def public(served: Served, prompt: list[int], completion: list[int], model: str = "teacher") -> CompletionLogprobs:
    """By vLLM's public route, without the prefix cache."""
    output = ask(served, prompt + completion, model, prompt_logprobs=K)
    return from_flat(output.prompt_logprobs, len(prompt), K, VOCABULARY_SIZE, "scored", "r0")


def assert_equal(got: CompletionLogprobs, expected: CompletionLogprobs, within: float) -> None:
    assert got.token_ids.tolist() == expected.token_ids.tolist()
    assert got.topk_ids.tolist() == expected.topk_ids.tolist()
    for name in ("token_logprobs", "topk_logprobs"):
        assert np.abs(getattr(got, name) - getattr(expected, name)).max() <= within, name
    assert np.abs(np.exp(got.tail_logprob) - np.exp(expected.tail_logprob)).max() <= max(within, 2e-7)


def draw(count: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(2, VOCABULARY_SIZE, count).tolist()


def draw_overlaps() -> list[Pair]:
    """Samples for one prompt that begin alike, the steps of a trace, and prompts that end around a block's edge."""
    prompt, begin = draw(200, 1), draw(70, 2)
    samples = [(prompt, begin[:cut] + draw(40, 3 + cut)) for cut in (0, 20, 70)]
    steps = [(prompt + begin[:cut], begin[cut : cut + 15]) for cut in (15, 30, 45)]
    edges = [(prompt[:size], prompt[size : size + 80]) for size in (1, 31, 32, 33, 64, 65)]
    return samples + steps + edges


def test_both_routes_score_the_same_to_the_bit(served: Served):
    for prompt, completion in [(draw(40, 20), draw(90, 21)), (draw(1, 22), draw(300, 23)), (draw(300, 24), [5])]:
        (ours,) = served.score((prompt, completion), k=K)
        assert_equal(ours, public(served, prompt, completion), within=0)
    assert served.engine.counters()["prefix_fallbacks"] == 0


def test_both_routes_write_the_same_to_the_bit(served: Served):
    prompt = draw(50, 30)
    (ours,) = served.write(prompt, k=K, max_tokens=60, temperature=0)
    completion = ask(served, prompt, logprobs=K, max_tokens=60).outputs[0]
    assert not isinstance(completion.logprobs, LogprobRows)
    assert_equal(ours, from_flat(completion.logprobs, 0, K, VOCABULARY_SIZE, ours.finish_reason, "r0"), within=0)


def test_repeats_and_overlaps_score_as_without_the_cache(served: Served):
    pairs = draw_overlaps()
    expected = [public(served, *pair) for pair in pairs]
    before = dict(served.engine.counters())
    for answers in (served.score(*pairs, k=K), [served.score(pair, k=K)[0] for pair in pairs]):
        for got, wanted in zip(answers, expected, strict=True):
            assert_equal(got, wanted, within=2e-5)
    counted = served.engine.counters()
    assert counted["prefix_reads"] - before["prefix_reads"] == 2 * len(pairs)
    assert counted["prefix_fallbacks"] == before["prefix_fallbacks"]


def test_a_repeat_is_read_up_to_the_prompts_last_whole_block(served: Served):
    pair = (draw(200, 40), draw(100, 41))
    for cached in (0, 192):
        params = next(served.engine._scoring.attempts(199, K))
        output = served.run(served.engine._run("teacher", [*pair[0], *pair[1]], params))[0]
        assert output.num_cached_tokens == cached
        assert exact(output, 199, pair[1])


def test_rows_that_came_from_the_cache_are_found_and_asked_again(served: Served):
    prompt, completion = draw(100, 50), draw(200, 51)
    expected = public(served, prompt, completion)
    with uncapped():
        reading = next(served.engine._scoring.attempts(99, K))
    output = served.run(served.engine._run("teacher", prompt + completion, reading))[0]
    assert output.num_cached_tokens == 288
    topk_logprobs = output.prompt_logprobs.columns[3]
    assert np.isnan(topk_logprobs).all(axis=1).tolist() == [True] * 189 + [False] * 11
    output.num_cached_tokens = 0  # as after a preemption: the count is that of the first start
    assert not exact(output, 99, completion)
    before = served.engine.counters()["prefix_fallbacks"]
    with uncapped():
        (got,) = served.score((prompt, completion), k=K)
    assert served.engine.counters()["prefix_fallbacks"] == before + 1
    assert_equal(got, expected, within=0)


@pytest.mark.parametrize("capped", [True, False])
def test_preempted_requests_score_as_undisturbed_ones(served: Served, capped: bool):
    shared = draw(250, 60)
    pairs = [(shared[: 250 - 40 * i] + draw(40 * i, 61 + i), draw(200, 70 + i)) for i in range(4)]
    pairs = [pair for pair in pairs for _ in range(3)]
    expected = [public(served, *pair) for pair in pairs]
    Preemptions.count = 0

    async def crowd() -> list[CompletionLogprobs]:
        """The writers take most of the cache first, so that scores begin and can't go on."""
        options = GenerateOptions(max_tokens=120, temperature=0)
        writing = [served.engine.generate("teacher", draw(185, 80 + i), options, 1) for i in range(5)]
        scoring = [served.engine.score("teacher", *pair, K) for pair in pairs]
        return (await asyncio.gather(*writing, *scoring))[len(writing) :]

    with nullcontext() if capped else uncapped():
        before = served.engine.counters()["prefix_fallbacks"]
        answers = served.run(crowd())
    assert (served.engine.counters()["prefix_fallbacks"] == before) == capped
    assert Preemptions.count > 0
    for got, wanted in zip(answers, expected, strict=True):
        assert_equal(got, wanted, within=2e-5)


def test_base_and_adapter_share_no_cached_prefix(served: Served):
    prompt, completion = draw(150, 90), draw(40, 91)
    (base,) = served.score((prompt, completion), k=K)
    params = next(served.engine._scoring.attempts(149, K))
    first = served.run(served.engine._run("expert", prompt + completion, params))[0]
    assert first.num_cached_tokens == 0
    (adapted,) = served.score((prompt, completion), k=K, model="expert")
    assert_equal(adapted, public(served, prompt, completion, "expert"), within=2e-5)
    assert np.abs(adapted.token_logprobs - base.token_logprobs).max() > 0.01
