"""Real vLLM against a plain forward pass of transformers: every position, by token id.

Legend: P = prompt length, T = completion length, k = entries per position, V = vocabulary size.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray
from peft import PeftModel
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from common.api import GenerateOptions
from common.errors import UserError
from teacher_server.engine.health import FRESH_S, EngineHealth, EngineHung
from teacher_server.engine.protocol import CompletionLogprobs, EngineUnavailable, warm_up
from teacher_server.settings import EngineSettings, ReplicaSettings, TeacherServerSettings
from teacher_server.vllm.engine import VllmEngine
from teacher_server.vllm.engine_args import engine_args
from teacher_server.vllm.stats import engine_processes
from tests.models import CPU_ENVIRONMENT, VOCABULARY_SIZE, save_tiny_adapter, save_tiny_llama

EOS = 1


class Served:
    """A started engine and the event loop it lives in."""

    def __init__(self, settings: TeacherServerSettings) -> None:
        self._runner = asyncio.Runner()
        self.engine = VllmEngine(settings)
        before = set(engine_processes())
        self.run(self.engine.start())
        self.processes = set(engine_processes()) - before
        self.run(warm_up(self.engine))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(work)

    def score(self, *pairs: tuple[list[int], list[int]], k: int, model: str = "teacher") -> list[CompletionLogprobs]:
        async def together() -> list[CompletionLogprobs]:
            return await asyncio.gather(*(self.engine.score(model, prompt, text, k) for prompt, text in pairs))

        return self.run(together())

    def write(self, *prompts: list[int], k: int, **options: Any) -> list[CompletionLogprobs]:
        async def together() -> list[CompletionLogprobs]:
            asked = [options | {"seed": seed} for seed, _ in enumerate(prompts)]
            return await asyncio.gather(
                *(
                    self.engine.generate("teacher", prompt, GenerateOptions(**one), k)
                    for prompt, one in zip(prompts, asked, strict=True)
                )
            )

        return self.run(together())

    def close(self) -> None:
        self.run(self.engine.close())
        self._runner.close()
        _, left = psutil.wait_procs(self.processes, timeout=10)
        assert not left, "the engine outlived its close"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def adapter_folder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_adapter(tmp_path_factory.mktemp("adapter"), model_folder)


def settings(model: Path, dtype: str, **fields: Any) -> TeacherServerSettings:
    engine = EngineSettings(
        dtype=dtype, max_length=700, max_batched_tokens=768, max_top_k=VOCABULARY_SIZE, kv_cache_gib=0.125,
        enforce_eager=True,
    )  # fmt: skip
    return TeacherServerSettings(model=str(model), engine=engine, **fields)


@pytest.fixture(scope="module")
def environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CPU_ENVIRONMENT.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def fp32(environment: None, model_folder: Path, adapter_folder: Path) -> Iterator[Served]:
    served = Served(settings(model_folder, "float32", adapters={"expert": adapter_folder}))
    yield served
    served.close()


@pytest.fixture(scope="module")
def reference(model_folder: Path) -> PreTrainedModel:
    return LlamaForCausalLM.from_pretrained(model_folder)


def draw_pairs(seed: int = 0) -> list[tuple[list[int], list[int]]]:
    """Prompts and completions of several lengths, one-token ones and some longer than a cache block among them."""
    generator = np.random.default_rng(seed)
    sizes = [(1, 1), (1, 7), (5, 1), (40, 30), (130, 20), (300, 150)]
    return [tuple(generator.integers(2, VOCABULARY_SIZE, size).tolist() for size in pair) for pair in sizes]


@torch.no_grad()
def reference_logprobs(model: PreTrainedModel, prompt: list[int], completion: list[int]) -> NDArray[np.float32]:
    """[T, V] in float32: row t is log P(x_t | x_<t) of the completion's token t."""
    logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    return logits.float().log_softmax(-1).numpy()


def assert_equal_by_id(positions: CompletionLogprobs, expected: NDArray[np.float32], within: float) -> None:
    rows = np.arange(len(expected))
    assert np.abs(positions.token_logprobs - expected[rows, positions.token_ids]).max() < within
    assert np.abs(positions.topk_logprobs - np.take_along_axis(expected, positions.topk_ids, 1)).max() < within
    k = positions.topk_ids.shape[1]
    assert np.abs(positions.topk_logprobs - -np.sort(-expected, axis=1)[:, :k]).max() < within
    assert all(len(set(row)) == k for row in positions.topk_ids.tolist())
    rest = np.exp(-np.sort(-expected.astype(np.float64), axis=1)[:, k:]).sum(axis=1)
    assert np.abs(np.exp(positions.tail_logprob) - rest).max() < within


@pytest.mark.parametrize("k", [1, 8])
def test_scores_equal_a_plain_forward_pass(fp32: Served, reference: PreTrainedModel, k: int):
    pairs = draw_pairs()
    for positions, (prompt, completion) in zip(fp32.score(*pairs, k=k), pairs, strict=True):
        assert positions.token_ids.tolist() == completion
        assert positions.finish_reason == "scored"
        assert_equal_by_id(positions, reference_logprobs(reference, prompt, completion), within=1e-4)


def test_the_whole_vocabulary_leaves_no_tail(fp32: Served, reference: PreTrainedModel):
    prompt, completion = draw_pairs()[3]
    (positions,) = fp32.score((prompt, completion), k=VOCABULARY_SIZE)
    assert np.isneginf(positions.tail_logprob).all()
    assert_equal_by_id(positions, reference_logprobs(reference, prompt, completion), within=1e-4)


def test_bf16_is_as_close_to_fp32_as_transformers_own_bf16(
    environment: None, model_folder: Path, reference: PreTrainedModel
):
    served = Served(settings(model_folder, "bfloat16"))
    try:
        pairs = draw_pairs()[3:]
        answers = served.score(*pairs, k=VOCABULARY_SIZE)
        assert served.engine.describe().dtype == "bfloat16"
        _assert_a_hung_engine_is_noticed_and_ended(served)
    finally:
        served.close()
    bf16 = LlamaForCausalLM.from_pretrained(model_folder, dtype=torch.bfloat16)
    ours, theirs = 0.0, 0.0
    for positions, pair in zip(answers, pairs, strict=True):
        exact = reference_logprobs(reference, *pair)
        ours += np.abs(positions.topk_logprobs - np.take_along_axis(exact, positions.topk_ids, 1)).mean()
        theirs += np.abs(reference_logprobs(bf16, *pair) - exact).mean()
    assert 0 < ours <= 1.5 * theirs


def _assert_a_hung_engine_is_noticed_and_ended(served: Served) -> None:
    health = EngineHealth(served.engine)
    served.run(health.check(20))
    for process in served.processes:
        process.suspend()

    async def asked_twice() -> None:
        for _ in range(2):  # the step that it reported last may be counted only by the first
            await asyncio.sleep(FRESH_S)
            await health.check(0.5)

    async def until_ended() -> None:
        waiting = asyncio.create_task(served.engine.score("teacher", [2], [3], 1))
        with pytest.raises(EngineHung):
            await asked_twice()
        await served.engine.kill()
        with pytest.raises(EngineUnavailable):
            await asyncio.wait_for(waiting, 20)

    served.run(until_ended())
    with pytest.raises(EngineUnavailable):
        served.run(health.check(20))
    with pytest.raises(EngineUnavailable):
        served.score(([2], [3]), k=1)


@pytest.mark.parametrize("temperature", [0.0, 1.3])
def test_what_it_wrote_scores_back_to_the_same(fp32: Served, temperature: float):
    long_prompt = draw_pairs()[5][0]
    prompts = [[5, 6, 7], [9], long_prompt, long_prompt]
    written = fp32.write(*prompts, k=8, max_tokens=24, temperature=temperature, top_p=0.95)
    scored = fp32.score(*[(p, w.token_ids.tolist()) for p, w in zip(prompts, written, strict=True)], k=8)
    for wrote, score in zip(written, scored, strict=True):
        assert wrote.token_ids.tolist() == score.token_ids.tolist()
        assert wrote.topk_ids.tolist() == score.topk_ids.tolist()
        for name in ("token_logprobs", "topk_logprobs", "tail_logprob"):
            assert np.abs(getattr(wrote, name) - getattr(score, name)).max() < 2e-5, name
    if temperature == 0:
        assert all(wrote.token_ids.tolist() == wrote.topk_ids[:, 0].tolist() for wrote in written)
    else:
        assert written[2].token_ids.tolist() != written[3].token_ids.tolist()


def test_completions_end_with_their_terminator(fp32: Served):
    written = fp32.write(*[[token] for token in range(2, 18)], k=1, max_tokens=400, temperature=2)
    assert {wrote.finish_reason for wrote in written} == {"stop", "length"}
    for wrote in written:
        if wrote.finish_reason == "stop":
            assert wrote.token_ids.tolist().index(EOS) == len(wrote.token_ids) - 1
        else:
            assert len(wrote.token_ids) == 400
            assert EOS not in wrote.token_ids
    stop = int(written[0].token_ids[10])
    (stopped,) = fp32.write([2], k=1, max_tokens=400, temperature=2, stop_token_ids=[stop])
    first = written[0].token_ids.tolist().index(stop)
    assert stopped.token_ids.tolist() == written[0].token_ids[: first + 1].tolist()
    assert stopped.finish_reason == "stop"


def test_an_adapter_answers_like_peft(
    fp32: Served, reference: PreTrainedModel, model_folder: Path, adapter_folder: Path
):
    pairs = draw_pairs()[2:5]
    expert = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(model_folder), adapter_folder)
    base = fp32.score(*pairs, k=8)
    adapted = fp32.score(*pairs, k=8, model="expert")
    for positions, plain, pair in zip(adapted, base, pairs, strict=True):
        assert_equal_by_id(positions, reference_logprobs(expert, *pair), within=1e-4)
        assert np.abs(positions.token_logprobs - plain.token_logprobs).max() > 0.01
    revisions = {model.name: model.revision for model in fp32.engine.describe().models}
    assert revisions["expert"].startswith(revisions["teacher"] + "+")


def test_base_and_adapter_asked_at_once_answer_as_each_alone(
    fp32: Served, reference: PreTrainedModel, model_folder: Path, adapter_folder: Path
):
    """The adapter is in the engine's last slot, which vLLM's operators on a CPU took for the base's too."""
    expert = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(model_folder), adapter_folder)
    pairs = draw_pairs(seed=7)[2:]
    options = GenerateOptions(max_tokens=20, temperature=0)

    async def ask_at_once() -> list[CompletionLogprobs]:
        each = [(name, *pair) for pair in pairs for name in ("teacher", "expert")]
        scores = [fp32.engine.score(name, prompt, completion, 8) for name, prompt, completion in each]
        texts = [fp32.engine.generate(name, prompt, options, 8) for name, prompt, _ in each]
        return await asyncio.gather(*scores, *texts)

    steps = fp32.engine.counters()["steps"]
    answers = fp32.run(ask_at_once())
    assert fp32.engine.counters()["steps"] - steps < len(answers) + options.max_tokens, "they shared no batch"
    asked = [(model, prompt) for prompt, _ in pairs for model in (reference, expert)]
    for positions, (model, prompt) in zip(answers, asked * 2, strict=True):
        expected = reference_logprobs(model, prompt, positions.token_ids.tolist())
        assert_equal_by_id(positions, expected, within=1e-4)


def test_a_cancelled_request_leaves_the_engine(fp32: Served):
    async def cancel_midway() -> int:
        options = GenerateOptions(max_tokens=600, stop_token_ids=[])
        asking = asyncio.create_task(fp32.engine.generate("teacher", [5], options, 1))
        llm = fp32.engine._started()
        async with asyncio.timeout(10):
            while not llm.get_num_unfinished_requests():
                await asyncio.sleep(0.001)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert asking.cancelled()
        return llm.get_num_unfinished_requests()

    assert fp32.run(cancel_midway()) == 0


def test_seeded_prompts_that_fill_more_than_one_step_together(fp32: Served):
    """vLLM's CPU engine used to end here: it can't rewind the generator of a seeded prompt that is cut into steps."""
    generator = np.random.default_rng(3)
    prompts = [generator.integers(2, VOCABULARY_SIZE, 400).tolist() for _ in range(6)]

    async def write(number: int) -> CompletionLogprobs:
        options = GenerateOptions(max_tokens=12, seed=number)
        return await fp32.engine.generate("expert", prompts[number], options, 4)

    async def write_all() -> list[CompletionLogprobs]:
        return await asyncio.gather(*map(write, range(len(prompts))))

    together, alone = fp32.run(write_all()), fp32.run(write(5))
    assert together[5].token_ids.tolist() == alone.token_ids.tolist()


def test_a_completion_ends_at_any_of_the_models_ends(fp32: Served, model_folder: Path, tmp_path: Path):
    """`generation_config.json` may name several; the card tells all of them."""
    (plain,) = fp32.write([5, 6, 7], k=1, max_tokens=20, temperature=0)
    written = plain.token_ids.tolist()
    end = next(token for token in written[4:] if token not in written[:4])
    folder = copytree(model_folder, tmp_path / "model")
    eos = LlamaConfig.from_pretrained(folder).eos_token_id
    GenerationConfig(eos_token_id=[eos, end]).save_pretrained(folder)
    served = Served(settings(folder, "float32"))
    try:
        (cut,) = served.write([5, 6, 7], k=1, max_tokens=20, temperature=0)
        card = served.engine.describe()
    finally:
        served.close()
    assert (cut.token_ids.tolist(), cut.finish_reason) == (written[: written.index(end) + 1], "stop")
    assert card.end_token_ids == sorted([eos, end])
    assert fp32.engine.describe().end_token_ids == [eos]
    assert card.terminators == {"toolbench": eos}
    assert card.chat_template_fingerprint is None


def test_a_step_on_a_cpu_must_hold_the_longest_sequence(model_folder: Path):
    short_steps = TeacherServerSettings(
        model=str(model_folder),
        engine=EngineSettings(max_length=700, max_batched_tokens=700),
        replicas=ReplicaSettings(num_gpus=1),
    )
    with pytest.raises(UserError, match="set max_batched_tokens to 701 or more"):
        engine_args(short_steps, str(model_folder))


def test_settings_that_vllm_refuses_are_one_clear_line(environment: None, model_folder: Path):
    too_long = TeacherServerSettings(
        model=str(model_folder), engine=EngineSettings(max_length=4000, max_batched_tokens=4001)
    )
    with pytest.raises(UserError, match=r"can't serve .*max_model_len"):
        asyncio.run(VllmEngine(too_long).start())
