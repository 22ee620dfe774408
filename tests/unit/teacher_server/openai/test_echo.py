"""`echo` with logprobs as lm-evaluation-harness and others ask for it, and what vLLM's clients send besides."""

from typing import Any

import httpx
import numpy as np
import pytest
from openai import AsyncOpenAI

from common import wire
from tests.stand_in_engine import StandInEngine
from tests.stand_in_tokenizer import make_tokenizer
from tests.unit.teacher_server.asking import TOKEN

pytestmark = pytest.mark.anyio
PROMPTS = ["the day", "été", "h"]
IDS = [make_tokenizer().encode(prompt) for prompt in PROMPTS]
HARNESS = {"model": "teacher", "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True}
"""What lm-evaluation-harness' `local-completions` sends for a loglikelihood, beside the prompt."""


@pytest.fixture
def client(http: httpx.AsyncClient) -> AsyncOpenAI:
    return AsyncOpenAI(base_url="http://teacher/v1", api_key=TOKEN, http_client=http, max_retries=0)


async def distilled(http: httpx.AsyncClient, ids: list[int], **task: Any) -> wire.TeacherAnswer:
    """What the distillation API answers."""
    sequence = {"id": "s", "prompt_token_ids": ids, **task}
    body = {"model": "teacher", "top_k": 1, "sequences": [sequence], "logprob_dtype": "float32"}
    (answer,) = wire.decode((await http.post("/v1/distill", json=body)).content)
    return answer


def read_as_the_harness(choice: dict[str, Any], context: int) -> tuple[float, bool]:
    """The sum of a continuation's logprobs and whether it is greedy: `parse_logprobs`, in its steps."""
    values = choice["logprobs"]["token_logprobs"][context:-1]
    tops = choice["logprobs"]["top_logprobs"][context:-1]
    return sum(values), all(value == max(top.values()) for value, top in zip(values, tops, strict=True))


async def test_the_harness_reads_our_scores(http: httpx.AsyncClient):
    """Several prompts as lists of ids; each choice has an entry per token of the prompt, and one that was written."""
    answer = await http.post("/v1/completions", json=HARNESS | {"prompt": IDS[:2]})
    assert answer.status_code == 200, answer.text
    for index, choice in enumerate(answer.json()["choices"]):
        logprobs, ids = choice["logprobs"], IDS[index]
        expected = await distilled(http, ids[:1], completion_token_ids=ids[1:])
        assert choice["index"] == index
        assert [logprobs[name][0] for name in ("token_logprobs", "top_logprobs", "text_offset")] == [None, None, 0]
        assert {len(values) for values in logprobs.values()} == {len(ids) + 1}
        np.testing.assert_allclose(logprobs["token_logprobs"][1:-1], expected.token_logprobs, rtol=1e-6)
        total, greedy = read_as_the_harness(choice, 2)
        assert total == pytest.approx(expected.token_logprobs[1:].sum(), rel=1e-6)
        assert greedy == bool((expected.token_ids == expected.topk_ids[:, 0])[1:].all())


async def test_a_greedy_continuation_is_known_as_such(http: httpx.AsyncClient):
    greedy = await distilled(http, IDS[0], generate={"max_tokens": 6, "temperature": 0})
    ids = [*IDS[0], *greedy.token_ids.tolist()]
    choice = (await http.post("/v1/completions", json=HARNESS | {"prompt": [ids]})).json()["choices"][0]
    assert read_as_the_harness(choice, len(IDS[0]))[1]
    assert not read_as_the_harness(choice, 1)[1]


@pytest.mark.parametrize("max_tokens", [0, 1, 9])
@pytest.mark.parametrize("as_ids", [False, True])
async def test_the_prompt_stands_before_what_is_written(client: AsyncOpenAI, as_ids: bool, max_tokens: int):
    fields: dict[str, Any] = {"model": "teacher", "seed": 7, "logprobs": 2, "max_tokens": max_tokens, "n": 2}
    asked: Any = IDS if as_ids else PROMPTS
    echoed = await client.completions.create(prompt=asked, echo=True, **fields)
    written = await client.completions.create(prompt=asked, **fields | {"max_tokens": max(1, max_tokens)})
    assert len(echoed.choices) == 6
    for choice, other in zip(echoed.choices, written.choices, strict=True):
        prompt = PROMPTS[choice.index // 2]
        assert choice.logprobs is not None
        assert choice.logprobs.text_offset is not None
        assert other.logprobs is not None
        assert choice.text == prompt + (other.text if max_tokens else "")
        assert choice.finish_reason == (other.finish_reason if max_tokens else "length")
        place = len(IDS[choice.index // 2])
        for name in ("tokens", "token_logprobs", "top_logprobs"):
            assert getattr(choice.logprobs, name)[place:] == (getattr(other.logprobs, name) if max_tokens else [])
        behind = [offset + len(prompt) for offset in other.logprobs.text_offset or []]
        assert choice.logprobs.text_offset[place:] == (behind if max_tokens else [])
    assert echoed.usage is not None
    assert written.usage is not None
    assert echoed.usage.prompt_tokens == written.usage.prompt_tokens
    assert echoed.usage.completion_tokens == (written.usage.completion_tokens if max_tokens else 0)


@pytest.mark.parametrize("logprobs", [None, 0, 3])
async def test_a_streamed_echo_joins_to_the_whole(client: AsyncOpenAI, logprobs: int | None):
    fields: dict[str, Any] = {"model": "teacher", "prompt": PROMPTS, "echo": True, "max_tokens": 5, "seed": 3}
    whole = await client.completions.create(**fields, logprobs=logprobs)
    chunks = [chunk async for chunk in await client.completions.create(stream=True, **fields, logprobs=logprobs)]
    for choice in whole.choices:
        pieces = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == choice.index]
        assert "".join(piece.text for piece in pieces) == choice.text
        for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            joined = [value for piece in pieces if piece.logprobs for value in getattr(piece.logprobs, name)]
            assert joined == (getattr(choice.logprobs, name) if choice.logprobs else [])


async def test_a_special_token_in_a_text_prompt_is_given_back(http: httpx.AsyncClient):
    body = {"model": "teacher", "prompt": "<|user|>hey", "echo": True, "logprobs": 0, "max_tokens": 0}
    for prompt, text, offsets in [
        ("<|user|>hey", "<|user|>hey", [0, 8, 9, 10]),
        (make_tokenizer().encode("<|user|>hey"), "hey", [0, 0, 1, 2]),
        ("QhQ", "QhQ", [0]),  # what the tokenizer doesn't know comes back too
    ]:
        (choice,) = (await http.post("/v1/completions", json=body | {"prompt": prompt})).json()["choices"]
        assert (choice["text"], choice["logprobs"]["text_offset"]) == (text, offsets)


async def test_only_logprobs_are_scored_and_nothing_is_written_for_nothing(
    http: httpx.AsyncClient, engine: StandInEngine
):
    echo = {"model": "teacher", "prompt": "the", "echo": True}
    for fields, tasks in [
        ({"max_tokens": 0}, []),
        ({"max_tokens": 0, "logprobs": 1}, ["score"]),
        ({"max_tokens": 1}, ["write"]),
        ({"max_tokens": 1, "logprobs": 1}, ["score", "write"]),
        ({"max_tokens": 1, "logprobs": 1, "prompt": "h"}, ["write"]),
    ]:
        engine.asked.clear()
        assert (await http.post("/v1/completions", json=echo | fields)).status_code == 200
        assert [task for _, task, _ in engine.asked] == tasks


async def written(http: httpx.AsyncClient, path: str, **fields: Any) -> dict[str, Any]:
    asked = {"prompt": "the day"} if path == "completions" else {"messages": [{"role": "user", "content": "the day"}]}
    response = await http.post(f"/v1/{path}", json={"model": "teacher", "max_tokens": 40, "seed": 6} | asked | fields)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("path", ["completions", "chat/completions"])
async def test_vllms_options_do_what_they_say(http: httpx.AsyncClient, path: str):
    """Of the choices, by option: always the likeliest token; no end before so many; no end at all."""
    sampled = [await written(http, path, temperature=2, top_k=1, seed=seed) for seed in (1, 2)]
    greedy = await written(http, path, temperature=0)
    assert sampled[0]["choices"] == sampled[1]["choices"] == greedy["choices"]
    for off in (0, -1, None):
        free = [await written(http, path, temperature=2, top_k=off, seed=seed) for seed in (1, 2)]
        assert free[0]["choices"] != free[1]["choices"]
    lengths = [(await written(http, path, n=20, seed=seed, min_tokens=9))["usage"] for seed in range(3)]
    assert all(usage["completion_tokens"] >= 20 * 9 for usage in lengths)
    assert any(usage["completion_tokens"] < 20 * 40 for usage in lengths)
    endless = await written(http, path, n=20, ignore_eos=True)
    assert {choice["finish_reason"] for choice in endless["choices"]} == {"length"}
    assert endless["usage"]["completion_tokens"] == 20 * 40


@pytest.mark.parametrize("path", ["completions", "chat/completions"])
async def test_a_prompt_is_cut_from_the_left(http: httpx.AsyncClient, path: str):
    long = "the day " * 20
    asked = {"prompt": long} if path == "completions" else {"messages": [{"role": "user", "content": long}]}
    same = {"prompt": long[-7:]} if path == "completions" else {"messages": [{"role": "user", "content": long[-6:]}]}
    for most, kept in [(7, 7), (1, 1), (-1, 24), (24, 24)]:
        answer = await written(http, path, truncate_prompt_tokens=most, **asked)
        assert answer["usage"]["prompt_tokens"] == kept
    cut = await written(http, path, truncate_prompt_tokens=7, **asked)
    assert cut["choices"] == (await written(http, path, **same))["choices"]
    short = await written(http, path, truncate_prompt_tokens=60, **same)
    assert short["usage"]["prompt_tokens"] == 7 + (path != "completions")


async def test_what_stabletoolbenchs_client_sends(client: AsyncOpenAI):
    """Its model behind vLLM, which renders ToolBench's layout itself and stops at Llama's end of sequence."""
    answer = await client.completions.create(
        model="expert",
        prompt="system: be fair\nuser: the day\nassistant:\n",
        temperature=0,
        max_tokens=8,
        stop="</s>",
        echo=False,
        extra_body={"truncate_prompt_tokens": 32},
    )
    told = answer.model_dump()
    assert told["usage"]["total_tokens"] == 32 + told["usage"]["completion_tokens"]
    assert isinstance(told["choices"][0]["text"], str)
