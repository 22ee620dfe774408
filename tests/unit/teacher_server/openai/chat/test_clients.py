"""What agent frameworks and StableToolBench's client send, in the steps of their own code, and what they need back."""

import json
from typing import Any

import pytest

from common.toolbench.system_prompt import AUTOGPT, FINISH, complete_system_message
from tests.unit.teacher_server.asking import connect, make_app
from tests.unit.teacher_server.openai.chat.scripted import WEATHER, ScriptedEngine, client_of, react

pytestmark = pytest.mark.anyio
OSLO = '{"city": "Oslo"}'
CALL = react("get_weather", OSLO)
ANSWER = react("Finish", '{"return_type": "give_answer", "final_answer": "It rains"}')
HALLUCINATED = "invalid_hallucination_function_name"
PARAMETERS = WEATHER["function"]["parameters"]


async def test_stabletoolbenchs_chain():
    """Its `chat_completion_request` and `do_chain`: Finish is a call, answers come back with all of their fields."""
    engine = ScriptedEngine(CALL, react("get_wether", "{}"), ANSWER)
    client = client_of(engine)
    tools = [WEATHER, {"type": "function", "function": FINISH}]
    system = f"{AUTOGPT}1.weather: Weather of cities\n"
    messages: list[Any] = [{"role": "system", "content": system}, {"role": "user", "content": "\nRain?\nBegin!\n"}]
    names: list[str] = []
    while "Finish" not in names and len(names) < 4:
        for message in messages:
            message.pop("function_call", None)
        asked = {"model": "teacher", "messages": messages, "max_tokens": 1024, "tools": tools}
        response = (await client.chat.completions.create(**asked, frequency_penalty=0, presence_penalty=0)).model_dump()
        assert response["usage"]["total_tokens"] > 0
        message = response["choices"][0]["message"]
        messages.append(message)
        for call in message["tool_calls"]:
            names.append(call["function"]["name"])
            if names[-1] == "get_wether":
                call["function"]["name"] = HALLUCINATED
            result = {"role": "tool", "name": call["function"]["name"], "content": '{"error": "", "response": "rain"}'}
            messages.append(result | {"tool_call_id": call["id"]})
    assert names == ["get_weather", "get_wether", "Finish"]
    functions = [WEATHER["function"], FINISH]
    assert (
        engine.texts[0] == f"System: {complete_system_message(system, functions)}\nUser: \nRain?\nBegin!\n\nAssistant: "
    )
    observed = 'Function: {"error": "", "response": "rain"}'
    wrong = CALL.replace("get_weather", HALLUCINATED).replace(OSLO, "{}")
    assert engine.texts[2].endswith(f"Assistant: {CALL}\n{observed}\nAssistant: {wrong}\n{observed}\nAssistant: ")


CALLED = {"type": "function", "id": "call_1", "function": {"name": "get_weather", "arguments": OSLO}}
LANGCHAIN = {
    "messages": [
        {"content": "Be fair.", "role": "system"},
        {"content": "Rain?", "role": "user"},
        {"content": None, "role": "assistant", "tool_calls": [CALLED]},
        {"content": "rain", "role": "tool", "tool_call_id": "call_1"},
    ],
    "model": "teacher",
    "stream": False,
    "tools": [{"type": "function", "function": {"name": "get_weather", "description": "", "parameters": PARAMETERS}}],
}
OPENAI_AGENTS = {
    "model": "teacher",
    "messages": [
        {"content": "Be fair.", "role": "system"},
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": "look", "tool_calls": [CALLED]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        {"role": "assistant", "tool_calls": [CALLED | {"id": "call_2"}]},
        {"role": "tool", "tool_call_id": "call_2", "content": "3.5"},
    ],
    "tools": [{"type": "function", "function": WEATHER["function"] | {"strict": False}}],
    "stream": True,
    "stream_options": {"include_usage": True},
    "parallel_tool_calls": False,
    "store": False,
}
SMOLAGENTS = {
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "Be fair."}]},
        {"role": "user", "content": [{"type": "text", "text": "Rain?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Calling tools:\n[]"}]},
        {"role": "user", "content": [{"type": "text", "text": "Observation:\nrain"}]},
    ],
    "model": "teacher",
    "stop": ["Observation:", "Calling tools:"],
    "tools": [{"type": "function", "function": {"name": "get_weather", "description": "", "parameters": PARAMETERS}}],
    "tool_choice": "required",
}


BFCL = {
    "messages": [
        {"role": "user", "content": "Rain?"},
        {"content": "look", "refusal": None, "role": "assistant", "tool_calls": [CALLED]},
        {"role": "tool", "content": '{"rain": true}', "tool_call_id": "call_1"},
        {"content": "It rains", "refusal": None, "role": "assistant"},
        {"role": "user", "content": "And now?"},
    ],
    "model": "teacher",
    "store": False,
    "temperature": 0.001,
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "description": "Weather. Note that the provided function is in Python 3 syntax.",
                "parameters": {
                    "type": "object",
                    "properties": {"days": {"type": "number", "format": "float", "description": "", "default": 1.5}},
                    "required": [],
                },
                "response": {"type": "dict", "properties": {"rain": {"type": "boolean", "description": "or not"}}},
            },
        }
    ],
}


@pytest.mark.parametrize(
    "body",
    [LANGCHAIN, OPENAI_AGENTS, SMOLAGENTS, BFCL],
    ids=["langchain", "openai-agents", "smolagents", "bfcl"],
)
@pytest.mark.parametrize("layout", ["toolbench", "chat"])
async def test_frameworks_get_their_calls(body: dict[str, Any], layout: Any):
    async with connect(make_app(ScriptedEngine(CALL, layout=layout))) as http:
        response = await http.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    if not body.get("stream"):
        (choice,) = response.json()["choices"]
        (call,) = choice["message"]["tool_calls"]
        assert choice["finish_reason"] == "tool_calls"
    else:
        events = [json.loads(event.removeprefix("data: ")) for event in response.text.split("\n\n")[:-2]]
        deltas = [choice["delta"] for event in events for choice in event["choices"]]
        call, *rest = [part for delta in deltas for part in delta.get("tool_calls", [])]
        call["function"]["arguments"] += "".join(part["function"]["arguments"] for part in rest)
        assert events[-1]["usage"]["completion_tokens"] > 0
    assert (call["type"], call["function"]) == ("function", {"name": "get_weather", "arguments": OSLO})
