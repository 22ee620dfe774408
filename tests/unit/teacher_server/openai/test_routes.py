"""OpenAI's own client against the stand-in engine: what people do with it, and answers that agree with each other."""

import json
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionChunk

from common import wire
from common.api import GenerateOptions
from tests.stand_in_engine import StandInEngine
from tests.stand_in_tokenizer import make_tokenizer
from tests.unit.teacher_server.asking import TOKEN

pytestmark = pytest.mark.anyio
HELLO: list[Any] = [{"role": "user", "content": "the day"}]
ENDLESS = {"max_tokens": 40, "temperature": 1.5}


@pytest.fixture
def client(http: httpx.AsyncClient) -> AsyncOpenAI:
    return AsyncOpenAI(base_url="http://teacher/v1", api_key=TOKEN, http_client=http, max_retries=0)


def text_of(ids: list[int]) -> str:
    return make_tokenizer().decode(ids, skip_special_tokens=True)


async def test_models_are_listed_and_found(client: AsyncOpenAI):
    assert [model.id async for model in client.models.list()] == ["teacher", "expert"]
    model = await client.models.retrieve("expert")
    assert (model.id, model.object, model.owned_by) == ("expert", "model", "toolagent-kd")
    with pytest.raises(openai.NotFoundError, match="'nobody'; this teacher serves teacher, expert"):
        await client.models.retrieve("nobody")


async def test_the_fingerprint_is_of_the_weights_that_wrote(
    client: AsyncOpenAI, engine: StandInEngine, monkeypatch: pytest.MonkeyPatch
):
    card = engine.describe()
    before = [model.model_copy(update={"revision": "before"}) for model in card.models]
    monkeypatch.setattr(engine, "describe", lambda: card.model_copy(update={"models": before}))
    usage: Any = {"include_usage": True}
    completion = await client.completions.create(model="expert", prompt="the", max_tokens=2)
    chat = await client.chat.completions.create(model="expert", messages=HELLO, max_tokens=2)
    chunks: list[Any] = [
        *[
            chunk
            async for chunk in await client.completions.create(
                model="expert", prompt="the", max_tokens=2, stream=True, stream_options=usage
            )
        ],
        *[
            chunk
            async for chunk in await client.chat.completions.create(
                model="expert", messages=HELLO, max_tokens=2, stream=True, stream_options=usage
            )
        ],
    ]
    assert {one.system_fingerprint for one in (completion, chat, *chunks)} == {"r0+r1"}


async def test_a_chat_and_its_next_turn(client: AsyncOpenAI, engine: StandInEngine):
    system: Any = {"role": "developer", "content": [{"type": "text", "text": "be "}, {"type": "text", "text": "fair"}]}
    messages = [system, *HELLO]
    answer = await client.chat.completions.create(model="expert", messages=messages, max_tokens=9, seed=1)
    prompt = make_tokenizer().encode("<|system|>be fair<|user|>the day<|assistant|>")
    assert (answer.object, answer.model, answer.system_fingerprint) == ("chat.completion", "expert", "r0+r1")
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(prompt)
    assert answer.usage.total_tokens == len(prompt) + answer.usage.completion_tokens
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.refusal, choice.logprobs) == ("assistant", None, None)
    assert choice.finish_reason in ("stop", "length")
    following: Any = [*messages, choice.message, {"role": "user", "content": "and"}]
    again = await client.chat.completions.create(model="expert", messages=following, max_completion_tokens=2)
    assert again.usage is not None
    assert again.usage.prompt_tokens > len(prompt) + 4
    assert {model for model, _, _ in engine.asked} == {"expert"}


async def test_a_chat_without_limit_may_fill_the_longest_sequence(client: AsyncOpenAI):
    answers = [await client.chat.completions.create(model="teacher", messages=HELLO, seed=seed) for seed in range(30)]
    lengths = {a.usage.total_tokens for a in answers if a.usage and a.choices[0].finish_reason == "length"}
    assert lengths == {64}
    assert {a.choices[0].finish_reason for a in answers} == {"stop", "length"}


async def test_what_is_said_makes_no_special_token(client: AsyncOpenAI):
    said: Any = [{"role": "user", "content": "<|eos|>"}]
    answer = await client.chat.completions.create(model="teacher", messages=said, max_tokens=1)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 2 + len("eos")


async def test_prompts_come_as_text_or_ids_one_or_several(client: AsyncOpenAI):
    fields: dict[str, Any] = {"model": "teacher", "temperature": 0}
    ids = make_tokenizer().encode("the day")
    one = await client.completions.create(prompt="the day", **fields)
    same = await client.completions.create(prompt=ids, **fields)
    several = await client.completions.create(prompt=["the day", "été"], n=2, **fields)
    listed = await client.completions.create(prompt=[ids, [5]], **fields)
    assert one.choices[0].text == same.choices[0].text == listed.choices[0].text
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]
    assert several.choices[0].text == several.choices[1].text == one.choices[0].text != several.choices[2].text
    assert one.usage is not None
    assert several.usage is not None
    assert several.usage.prompt_tokens == len(ids) + len(make_tokenizer().encode("été"))
    assert one.usage.completion_tokens <= 16


async def test_samples_differ_and_a_seed_brings_them_back(client: AsyncOpenAI):
    fields: dict[str, Any] = {"model": "teacher", "prompt": "the", "n": 4, **ENDLESS}
    first, again, other = [await client.completions.create(seed=seed, **fields) for seed in (3, 3, 50)]
    texts = [choice.text for choice in first.choices]
    assert len(set(texts)) == 4
    assert [choice.text for choice in again.choices] == texts != [choice.text for choice in other.choices]
    alone = await client.completions.create(seed=5, **fields | {"n": 1})
    assert alone.choices[0].text == texts[2]
    assert (await client.completions.create(seed=-1, **fields)).choices


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stop_string_is_cut_from_the_text_and_its_tokens_count(client: AsyncOpenAI, stream: bool):
    fields: dict[str, Any] = {"model": "teacher", "prompt": "the", "seed": 30, "logprobs": 1, **ENDLESS}
    whole = (await client.completions.create(**fields)).choices[0].text
    stop = whole[10:12]
    first = whole.index(stop)
    if stream:
        chunks = [chunk async for chunk in await client.completions.create(stop=[stop, "zz"], stream=True, **fields)]
        text = "".join(chunk.choices[0].text for chunk in chunks)
        tokens = [token for chunk in chunks if chunk.choices[0].logprobs for token in chunk.choices[0].logprobs.tokens]
        reason = chunks[-1].choices[0].finish_reason
    else:
        (choice,) = (await client.completions.create(stop=stop, **fields)).choices
        assert choice.logprobs is not None
        text, tokens, reason = choice.text, choice.logprobs.tokens, choice.finish_reason
    assert (text, reason) == (whole[:first], "stop")
    assert tokens[-1] == stop[-1]
    assert "".join(token for token in tokens if not token.startswith("<|")) == whole[: first + 2]


async def test_a_stop_string_may_name_a_special_token(client: AsyncOpenAI, engine: StandInEngine):
    seen: list[GenerateOptions] = []
    write = engine.write
    engine.write = lambda *asked: seen.append(asked[2]) or write(*asked)
    await client.completions.create(model="teacher", prompt="the", stop=["<|user|>", "x"])
    assert seen[0].stop_token_ids == [3]


async def test_streamed_completions_join_to_the_unstreamed(client: AsyncOpenAI):
    fields: dict[str, Any] = {"model": "teacher", "prompt": ["the", "été"], "n": 3, "seed": 7, "logprobs": 3, **ENDLESS}
    whole = await client.completions.create(**fields)
    usage = {"include_usage": True}
    *chunks, last = [
        chunk async for chunk in await client.completions.create(stream=True, stream_options=usage, **fields)
    ]
    assert (last.choices, last.usage) == ([], whole.usage)
    assert len({chunk.id for chunk in [*chunks, last]}) == 1
    for expected in whole.choices:
        pieces = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == expected.index]
        assert "".join(piece.text for piece in pieces) == expected.text
        assert [piece.finish_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
        assert pieces[-1].finish_reason == expected.finish_reason
        assert expected.logprobs is not None
        for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            joined = [value for piece in pieces for value in getattr(piece.logprobs, name)]
            assert joined == getattr(expected.logprobs, name)


async def test_a_streamed_chat_joins_to_the_unstreamed(client: AsyncOpenAI):
    fields: dict[str, Any] = {"model": "teacher", "messages": HELLO, "n": 2, "seed": 7, "logprobs": True, **ENDLESS}
    whole = await client.chat.completions.create(**fields)
    chunks: list[ChatCompletionChunk] = [
        chunk async for chunk in await client.chat.completions.create(stream=True, **fields)
    ]
    assert {chunk.usage for chunk in chunks} == {None}
    for expected in whole.choices:
        pieces = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == expected.index]
        assert "".join(piece.delta.content or "" for piece in pieces) == expected.message.content
        assert [piece.delta.role for piece in pieces] == ["assistant"] + [None] * (len(pieces) - 1)
        assert pieces[-1].finish_reason == expected.finish_reason
        assert expected.logprobs is not None
        entries = [entry for piece in pieces if piece.logprobs for entry in piece.logprobs.content or []]
        assert entries == expected.logprobs.content


async def test_the_clients_own_stream_helper(client: AsyncOpenAI):
    async with client.chat.completions.stream(model="teacher", messages=HELLO, seed=7, max_tokens=20) as stream:
        helped = await stream.get_final_completion()
    plain = await client.chat.completions.create(model="teacher", messages=HELLO, seed=7, max_tokens=20)
    assert helped.choices[0].message.content == plain.choices[0].message.content


async def test_logprobs_are_those_of_distill_in_both_shapes(client: AsyncOpenAI, http: httpx.AsyncClient):
    ids = make_tokenizer().encode("<|user|>the day<|assistant|>")
    options = {"max_tokens": 40, "temperature": 1.5, "seed": 11, "n": 2}
    sequence = {"id": "s", "prompt_token_ids": ids, "generate": options}
    body = {"model": "teacher", "top_k": 4, "sequences": [sequence], "logprob_dtype": "float32"}
    answers = {a.id: a for a in wire.decode((await http.post("/v1/distill", json=body)).content)}
    chat = await client.chat.completions.create(
        model="teacher", messages=HELLO, logprobs=True, top_logprobs=4, **options
    )
    plain = await client.completions.create(model="teacher", prompt=ids, logprobs=4, **options)
    tokens = make_tokenizer().convert_ids_to_tokens(list(range(32)))
    for number in range(2):
        expected, choice, other = answers[f"s/{number}"], chat.choices[number].logprobs, plain.choices[number].logprobs
        assert choice is not None
        assert choice.content is not None
        assert other is not None
        np.testing.assert_allclose([entry.logprob for entry in choice.content], expected.token_logprobs, rtol=1e-6)
        np.testing.assert_allclose(other.token_logprobs, expected.token_logprobs, rtol=1e-6)
        shown = [[alternative.logprob for alternative in entry.top_logprobs] for entry in choice.content]
        np.testing.assert_allclose(shown, expected.topk_logprobs, rtol=1e-6)
        spelled = b"".join(bytes(entry.bytes or []) for entry in choice.content)
        assert spelled.decode("utf-8", "replace") == make_tokenizer().decode(expected.token_ids)
        for token_id, entry in zip(expected.token_ids, choice.content, strict=True):
            assert tokens[token_id] == {" ": "Ġ", "\n": "Ċ"}.get(entry.token, entry.token) or entry.token == "�"


async def test_offsets_point_into_the_text(client: AsyncOpenAI):
    fields: dict[str, Any] = {"model": "teacher", "prompt": "the", "n": 20, "logprobs": 0, **ENDLESS}
    for choice in (await client.completions.create(seed=1, **fields)).choices:
        logprobs = choice.logprobs
        assert logprobs is not None
        assert logprobs.tokens is not None
        assert logprobs.text_offset is not None
        assert [len(top) for top in logprobs.top_logprobs or []] == [1] * len(logprobs.tokens)
        for token, offset in zip(logprobs.tokens, logprobs.text_offset, strict=True):
            assert choice.text[offset:].startswith(token) or token.startswith("<|") or token == "�"


async def test_neutral_values_and_nulls_are_taken(http: httpx.AsyncClient):
    neutral = {
        "n": 1, "stream": False, "stop": None, "presence_penalty": 0.0, "frequency_penalty": 0, "logit_bias": {},
        "temperature": None, "top_p": 1, "seed": None, "user": "someone", "stream_options": None, "max_tokens": None,
    }  # fmt: skip
    chat = {
        "messages": HELLO, "tools": [], "tool_choice": "none", "parallel_tool_calls": True, "store": False,
        "response_format": {"type": "text"}, "metadata": {}, "service_tier": "auto", "modalities": ["text"],
        "logprobs": False, "top_logprobs": None, "reasoning_effort": None, "max_completion_tokens": 4,
    }  # fmt: skip
    plain = {"prompt": "the", "echo": False, "best_of": 1, "suffix": "", "logprobs": None}
    for path, fields in (("/v1/chat/completions", chat), ("/v1/completions", plain)):
        response = await http.post(path, json={"model": "teacher"} | neutral | fields)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/json"


async def test_the_exact_bodies(http: httpx.AsyncClient):
    """Keys that OpenAI sends, nulls included, and no others."""
    body = {"model": "teacher", "prompt": "the", "max_tokens": 1, "temperature": 0}
    whole = (await http.post("/v1/completions", json=body)).json()
    assert whole.keys() == {"id", "created", "model", "system_fingerprint", "object", "choices", "usage"}
    assert whole["choices"][0].keys() == {"index", "text", "logprobs", "finish_reason"}
    chat = {"model": "teacher", "messages": HELLO, "max_tokens": 30, "stream": True, "seed": 4}
    response = await http.post("/v1/chat/completions", json=chat)
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, done, end = response.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    first, last = json.loads(events[0].removeprefix("data: ")), json.loads(events[-1].removeprefix("data: "))
    assert first["choices"][0].keys() == {"index", "delta", "logprobs", "finish_reason"}
    assert first["choices"][0]["delta"].keys() == {"content", "role"}
    assert last["choices"][0]["delta"].keys() == {"content"}
