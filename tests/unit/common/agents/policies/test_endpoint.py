"""Any OpenAI endpoint as a policy: what it is sent over HTTP, and what becomes of each kind of answer."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import Response
from openai import AsyncOpenAI

from common.agents.environment import InfrastructureFailure
from common.agents.policies.chat_endpoint import ChatEndpoint
from common.agents.policies.endpoint import EndpointPolicy
from common.agents.policy import BoundReached, Sampling
from common.agents.types import WrittenTurn
from common.errors import UserError
from common.toolbench.finish import finish_with
from common.toolbench.react import Step, parse_step
from common.toolbench.rows import Turn
from common.toolbench.system_prompt import build_system_prompt
from tests.loopback import serving
from tests.unit.common.toolbench.records import query_record

TURNS = (
    Turn("system", build_system_prompt(query_record(1)["api_list"], {})),
    Turn("user", "\nWhere?\nBegin!\n"),
    Turn("assistant", "\nThought: look\nAction: look_for_a\nAction Input: {}"),
    Turn("function", "nowhere"),
)
ONE = Sampling(seed=2**40 + 3)
CALL = {"id": "x", "type": "function", "function": {"name": "look_for_a", "arguments": '{"at": 1}'}}


def answer(*messages: dict[str, Any], finish_reason: str = "stop") -> dict[str, Any]:
    choices = [
        {"index": index, "message": {"role": "assistant", "content": None} | message, "finish_reason": finish_reason}
        for index, message in enumerate(messages)
    ]
    usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    head = {"id": "1", "object": "chat.completion", "created": 0, "model": "big-1", "system_fingerprint": "f9"}
    return head | {"choices": choices, "usage": usage}


def write(
    body: object,
    status: int = 200,
    sampling: Sampling = ONE,
    turns: Sequence[Turn] = TURNS,
) -> tuple[list[WrittenTurn], dict[str, Any]]:
    """The turns, and the body that the endpoint was sent."""
    app, sent = FastAPI(), {}

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        sent.update(await request.json())
        return Response(json.dumps(body), status, media_type="application/json")

    async def asked() -> list[WrittenTurn]:
        async with serving(app) as url, AsyncOpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0) as client:
            return await EndpointPolicy(ChatEndpoint(client, "big"), "teacher").write(turns, sampling)

    return asyncio.run(asked()), sent


def test_turns_are_sent_as_messages_with_tools():
    _, sent = write(answer({"content": "It is nowhere."}))
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "tool"]
    assert sent["messages"][1]["tool_calls"][0]["function"] == {"name": "look_for_a", "arguments": "{}"}
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["look_for_a"]
    assert (sent["parallel_tool_calls"], sent["n"]) == (False, 1)
    assert 0 <= sent["seed"] < 2**31


def test_what_answers_a_turn_without_a_call_is_the_users():
    """OpenAI's API refuses a tool's message that answers no call."""
    _, sent = write(answer({"content": "a"}), turns=(*TURNS, Turn("assistant", "hm"), Turn("function", "no call")))
    assert sent["messages"][-1] == {"role": "user", "content": "no call"}


@pytest.mark.parametrize(
    ("message", "step"),
    [
        ({"content": "It is nowhere."}, finish_with("It is nowhere.")),
        ({"content": "Again.", "tool_calls": [CALL, CALL]}, Step("Again.", "look_for_a", '{"at": 1}')),
        ({"tool_calls": [CALL]}, Step("", "look_for_a", '{"at": 1}')),
        ({}, finish_with("")),
        ({"content": "half \ud83d"}, finish_with("half ?")),
        ({"tool_calls": [CALL | {"function": {"name": "f"}}]}, Step("", "f", "")),
    ],
)
def test_answers_become_steps(message: dict[str, Any], step: Step):
    [turn], _ = write(answer(message))
    assert parse_step(turn.text) == step
    assert (turn.revision, turn.prompt_tokens, turn.completion_tokens) == ("big-1@f9", 11, 5)


def test_text_that_was_cut_is_no_answer():
    [turn], _ = write(answer({"content": "It is no"}, finish_reason="length"))
    assert (turn.text, turn.finish_reason) == ("It is no", "length")


def test_reasoning_and_several_choices():
    thinking = {"content": "a", "reasoning_content": "hm"}
    turns, sent = write(answer(thinking, {"content": "b"}, finish_reason="length"), sampling=Sampling(seed=1, n=2))
    assert (sent["n"], [turn.reasoning for turn in turns]) == (2, ["hm", ""])
    assert [turn.finish_reason for turn in turns] == ["length"] * 2
    assert sum(turn.prompt_tokens for turn in turns) == 11


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (503, {"error": {"message": "busy"}}, InfrastructureFailure, "big answers 503"),
        (429, {"error": {"message": "slow down"}}, InfrastructureFailure, "big answers 429"),
        (401, {"error": {"message": "who are you"}}, UserError, "big answers 401.*mend the settings"),
        (400, {"error": {"message": "long", "code": "context_length_exceeded"}}, BoundReached, "max_length"),
        (200, answer(), InfrastructureFailure, "gave 0 choices, expected 1"),
        (200, {"nonsense": 1}, InfrastructureFailure, "gave 0 choices, expected 1"),
        (200, {"choices": [{"message": None}]}, InfrastructureFailure, "gave 0 choices, expected 1"),
        (200, [1], InfrastructureFailure, "expected a JSON object"),
        (200, None, InfrastructureFailure, "expected a JSON object"),
        (400, {"error": {"message": "the maximum context length is 9", "code": 400}}, BoundReached, "max_length"),
    ],
)
def test_failures_are_told_apart(status: int, body: object, error: type[Exception], said: str):
    with pytest.raises(error, match=said):
        write(body, status)


def test_an_endpoint_that_is_gone_is_infrastructure_and_a_prefix_is_refused():
    async def asked(prefix: str) -> None:
        async with AsyncOpenAI(api_key="k", base_url="http://127.0.0.1:1/v1", max_retries=0) as client:
            await EndpointPolicy(ChatEndpoint(client, "big"), "teacher").write(TURNS, Sampling(seed=1, prefix=prefix))

    with pytest.raises(InfrastructureFailure, match="big can't be reached"):
        asyncio.run(asked(""))
    with pytest.raises(UserError, match="can't go on from one"):
        asyncio.run(asked("\nThought: so"))


@pytest.mark.parametrize(("text", "kind"), [("<html>", "text/html"), ('{"id":', "application/json")])
def test_what_is_no_json_is_infrastructure(text: str, kind: str):
    """A proxy in front of an endpoint answers such a page, status 200."""
    answers = httpx.MockTransport(lambda request: httpx.Response(200, text=text, headers={"content-type": kind}))

    async def asked() -> None:
        http = httpx.AsyncClient(transport=answers)
        async with AsyncOpenAI(api_key="k", base_url="http://x/v1", max_retries=0, http_client=http) as client:
            await EndpointPolicy(ChatEndpoint(client, "big"), "teacher").write(TURNS, ONE)

    with pytest.raises(InfrastructureFailure, match=r"expected a JSON object|gave no JSON"):
        asyncio.run(asked())
