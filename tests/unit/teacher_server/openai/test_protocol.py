"""What OpenAI's API refuses and in which words; overload, disconnects and an engine that dies."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from common.api import MAX_SAMPLES
from teacher_server.openai import sampling
from teacher_server.settings import LimitSettings
from tests.loopback import serving
from tests.service import MemoryRecorder, make_service
from tests.stand_in_engine import StandInEngine
from tests.stand_in_tokenizer import make_tokenizer
from tests.unit.teacher_server.asking import TOKEN, connect, error_of

pytestmark = pytest.mark.anyio
CHAT: dict[str, Any] = {
    "model": "teacher",
    "messages": [{"role": "user", "content": "the"}],
    "max_tokens": 30,
    "seed": 4,
}
TEXT: dict[str, Any] = {"model": "teacher", "prompt": "the", "max_tokens": 30, "seed": 4}


@pytest.fixture
async def client(engine: StandInEngine) -> AsyncIterator[AsyncOpenAI]:
    """A client over a real socket of a teacher that takes one request at a time."""
    async with (
        serving(make_service(engine, LimitSettings(max_requests=1))) as url,
        AsyncOpenAI(base_url=url + "/v1", api_key=TOKEN, max_retries=0) as client,
    ):
        yield client


def said(content: Any, **fields: Any) -> dict[str, Any]:
    return CHAT | {"messages": [{"role": "user", "content": content} | fields]}


IMAGE = [{"type": "image_url", "image_url": {"url": "http://internal/"}}]


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        (CHAT | {"model": "nobody"}, "model", "this teacher serves teacher, expert"),
        (CHAT | {"temprature": 1}, "temprature", "unknown field 'temprature'"),
        (CHAT | {"response_format": {"type": "json_object"}}, "response_format.type", "should be 'text'"),
        (CHAT | {"logit_bias": {"5": 1}}, "logit_bias", "doesn't support it"),
        (CHAT | {"presence_penalty": 0.5}, "presence_penalty", "leave it out or send 0"),
        (CHAT | {"reasoning_effort": "low"}, "reasoning_effort", "doesn't support it"),
        (CHAT | {"top_logprobs": 2}, None, "only with logprobs: true"),
        (CHAT | {"logprobs": True, "top_logprobs": 9}, "logprobs", "got 9, .*at most 8"),
        (CHAT | {"logprobs": True, "top_logprobs": 21}, "top_logprobs", "less than or equal to 20"),
        (CHAT | {"max_completion_tokens": 3}, None, "two different limits"),
        (CHAT | {"stream_options": {}}, None, "only with stream: true"),
        (CHAT | {"n": MAX_SAMPLES + 1}, "n", "less than or equal to 128"),
        (CHAT | {"seed": 2**63}, "seed", "less than"),
        (CHAT | {"temperature": 2.5}, "temperature", "less than or equal to 2"),
        (CHAT | {"chat_template": "{{ x }}"}, "chat_template", "unknown field"),
        (CHAT | {"messages": []}, "messages", "at least 1 item"),
        (said(IMAGE), "messages.0.content.0.image_url", "unknown field"),
        (said(None), "messages.0", "content: a message of the role user needs a text"),
        (CHAT | {"messages": [{"role": "bot", "content": "x"}]}, "messages.0.role", "'user', 'assistant' or 'tool'"),
        (said("e" * 40), None, "42 prompt tokens and 30 for the completion.*at most 64"),
        (said("e" * 70) | {"max_tokens": None}, None, "72 prompt tokens and 1 for"),
        (said("buzz"), None, "refuses that token"),
        (TEXT | {"prompt": ""}, None, "empty prompt"),
        (TEXT | {"prompt": []}, None, "empty prompt"),
        (TEXT | {"prompt": [5, 32]}, None, "token id 32"),
        (TEXT | {"prompt": ["the", 5]}, "prompt.1.ids", "valid list"),
        (TEXT | {"prompt": ["the"] * 257}, "prompt", "at most 256"),
        (TEXT | {"prompt": ["the"] * 3, "n": 100}, None, "300 answers"),
        (TEXT | {"prompt": ["the", "z"]}, None, "refuses that token"),
        (TEXT | {"echo": "yes"}, "echo", "valid boolean"),
        (TEXT | {"max_tokens": 0}, None, "max_tokens: 0 only with echo: true"),
        (CHAT | {"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        (TEXT | {"echo": True, "prompt": []}, None, "empty prompt"),
        (TEXT | {"echo": True, "prompt": [5, 10**6]}, None, "token id 1000000"),
        (TEXT | {"echo": True, "prompt": [5] * 65, "max_tokens": 0}, None, "65 prompt tokens and 0 for"),
        (TEXT | {"echo": True, "truncate_prompt_tokens": 2}, None, "truncate_prompt_tokens: not with echo"),
        (TEXT | {"truncate_prompt_tokens": 0}, "truncate_prompt_tokens", "0 would leave no prompt"),
        (TEXT | {"truncate_prompt_tokens": -2}, "truncate_prompt_tokens", "greater than or equal to -1"),
        (TEXT | {"truncate_prompt_tokens": 40, "prompt": "e" * 50}, None, "40 prompt tokens and 30 for"),
        (CHAT | {"top_k": -2}, "top_k", "greater than or equal to -1"),
        (CHAT | {"top_k": 1.5}, "top_k", "valid integer"),
        (CHAT | {"min_tokens": 31}, "min_tokens", "got 31, expected at most the 30"),
        (TEXT | {"min_tokens": 17, "max_tokens": None}, "min_tokens", "got 17, expected at most the 16"),
        (CHAT | {"ignore_eos": 1}, "ignore_eos", "valid boolean"),
        (CHAT | {"repetition_penalty": 1.1, "min_p": 0.1}, "repetition_penalty", "fields '.*penalty', 'min_p'"),
        (TEXT | {"max_tokens": "5"}, "max_tokens", "valid integer"),
        (CHAT | {"temperature": True}, "temperature", "valid number"),
        (CHAT | {"stream": "yes"}, "stream", "valid boolean"),
        (TEXT | {"best_of": 2}, "best_of", "leave it out or send 1"),
        (TEXT | {"stop": ""}, "stop.0", "at least 1"),
        (TEXT | {"logprobs": 21}, "logprobs", "less than or equal to 20"),
        (TEXT | {"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation", "send false"),
    ],
)
async def test_a_refusal_names_the_field(
    http: httpx.AsyncClient, body: dict[str, Any], param: str | None, message: str
):
    path = "/v1/completions" if "prompt" in body else "/v1/chat/completions"
    response = await http.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert response.status_code == (404 if body["model"] == "nobody" else 422), response.text
    error = response.json()["error"]
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert re.search(message, error["message"]), error["message"]


async def test_a_model_without_chat_template_says_so(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(make_tokenizer(), "chat_template", None)
    response = await http.post("/v1/chat/completions", json=CHAT)
    assert response.status_code == 422
    assert "no chat template" in response.json()["error"]["message"]
    assert (await http.post("/v1/completions", json=TEXT)).status_code == 200


async def test_messages_that_the_template_refuses(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch):
    strict = "{% if messages[0].role != 'user' %}{{ raise_exception('users begin; always') }}{% endif %}"
    monkeypatch.setattr(make_tokenizer(), "chat_template", strict + str(make_tokenizer().chat_template))
    response = await http.post("/v1/chat/completions", json=CHAT | {"messages": [{"role": "system", "content": "x"}]})
    assert response.status_code == 422
    assert response.json()["error"]["message"].endswith("users begin; always; or send /v1/completions a prompt")


async def test_the_client_knows_the_errors_by_type(client: AsyncOpenAI, engine: StandInEngine):
    with pytest.raises(openai.AuthenticationError, match="no valid token"):
        await client.with_options(api_key="wrong").models.list()
    with pytest.raises(openai.NotFoundError, match="'nobody'"):
        await client.completions.create(**TEXT | {"model": "nobody"})
    with pytest.raises(openai.UnprocessableEntityError, match="tools"):
        await client.chat.completions.create(**CHAT, tools=[{"type": "function", "function": {"name": "f"}}])
    engine.dead = True
    with pytest.raises(openai.InternalServerError, match="engine can't answer") as caught:
        await client.completions.create(**TEXT)
    assert (caught.value.status_code, caught.value.response.headers["Retry-After"]) == (503, "1")


async def test_overload_holds_for_the_whole_life_of_a_stream(client: AsyncOpenAI, engine: StandInEngine):
    engine.pen = asyncio.Event()
    stream = await client.chat.completions.create(stream=True, **CHAT)
    with pytest.raises(openai.InternalServerError, match="come again later") as caught:
        await client.completions.create(**TEXT)
    assert caught.value.status_code == 503
    engine.pen.set()
    assert [chunk async for chunk in stream]
    assert (await client.completions.create(**TEXT)).choices


async def test_pieces_are_sent_as_they_are_written(client: AsyncOpenAI, engine: StandInEngine):
    engine.pen = asyncio.Event()
    stream = await client.completions.create(stream=True, **TEXT | {"prompt": ["the", "day"]})
    first = [await anext(stream), await anext(stream)]
    assert sorted(chunk.choices[0].index for chunk in first) == [0, 1]
    assert engine.working == 2
    engine.pen.set()
    assert [chunk async for chunk in stream][-1].choices[0].finish_reason is not None


async def test_a_client_that_goes_away_cancels_its_stream(client: AsyncOpenAI, engine: StandInEngine):
    engine.pen = asyncio.Event()
    stream = await client.completions.create(stream=True, n=3, **TEXT)
    await anext(stream)
    await _until(lambda: engine.working == 3)
    await stream.close()
    await _until(lambda: engine.working == 0)
    assert engine.cancelled == 3
    await _assert_place_is_free(client, engine)


async def test_a_client_that_goes_away_cancels_what_it_waited_for(client: AsyncOpenAI, engine: StandInEngine):
    engine.pen = asyncio.Event()
    asking = asyncio.create_task(client.chat.completions.create(n=3, **CHAT))
    await _until(lambda: engine.working == 3)
    asking.cancel()
    await _until(lambda: engine.working == 0)
    assert engine.cancelled == 3
    await _assert_place_is_free(client, engine)


@pytest.mark.parametrize("n", [1, 3])
async def test_an_engine_that_dies_midway_is_an_error_in_the_stream(client: AsyncOpenAI, engine: StandInEngine, n: int):
    engine.pen = asyncio.Event()
    stream = await client.chat.completions.create(stream=True, n=n, **CHAT)
    await anext(stream)
    engine.dead = True
    engine.pen.set()
    with pytest.raises(openai.APIError, match="the engine is dead; try again later"):
        _ = [chunk async for chunk in stream]
    assert engine.working == 0


async def _assert_place_is_free(client: AsyncOpenAI, engine: StandInEngine) -> None:
    engine.pen = None
    assert (await client.completions.create(**TEXT)).choices


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_the_limits_of_requests_hold_here_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sampling, "MAX_SHOWN", 2 * 30 * 3)
    many = TEXT | {"n": 2, "logprobs": 2}
    for limits, body, refused in [
        ({"max_request_tokens": 60}, many, "max_tokens"),
        ({"max_request_entries": 119}, many, "logprobs"),
        ({}, many | {"logprobs": 3}, "logprobs"),  # more than one JSON document may hold
        ({}, many | {"logprobs": 3, "stream": True}, None),
        ({}, many, None),
    ]:
        async with connect(make_service(StandInEngine(), LimitSettings(**limits))) as http:
            response = await http.post("/v1/completions", json=body)
        assert response.status_code == (422 if refused else 200), body
        if refused:
            assert (error_of(response)["code"], error_of(response)["param"]) == ("request_too_large", refused)


@pytest.mark.parametrize(("path", "body"), [("/v1/completions", TEXT), ("/v1/chat/completions", CHAT)])
async def test_tokens_sequences_and_outcomes_are_counted(path: str, body: dict[str, Any]):
    engine, recorder, limits = StandInEngine(pen=asyncio.Event()), MemoryRecorder(), LimitSettings(max_tokens=100)
    assert engine.pen is not None
    async with connect(make_service(engine, limits, recorder=recorder)) as http:
        held = asyncio.create_task(http.post(path, json=body | {"n": 2, "max_tokens": 40}))
        await _until(lambda: engine.working == 2)
        assert error_of(await http.post(path, json=body))["code"] == "overloaded"
        engine.pen.set()
        answer = (await held).json()
        assert (await http.post(path, json=body | {"stream": True})).status_code == 200
    values = recorder.values
    assert sum(value for key, value in values.items() if key[0] == "teacher_sequences") == 3
    assert (
        sum(value for key, value in values.items() if key[0] == "teacher_positions")
        > answer["usage"]["completion_tokens"]
    )
    assert values["teacher_first_row_seconds", "teacher"] > 0
