"""What is refused of tools, calls and results, and in which words."""

import re
from typing import Any

import pytest

from tests.unit.teacher_server.asking import connect, error_of, make_app
from tests.unit.teacher_server.openai.chat.scripted import ASK, WEATHER, ScriptedEngine, react

pytestmark = pytest.mark.anyio
CALL = {"id": "a", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "a", "content": "rain"}


def offering(**changes: Any) -> list[Any]:
    return [WEATHER | {"function": WEATHER["function"] | changes}]


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels - 1):
        schema = {"items": schema}
    return schema


def many(count: int) -> list[Any]:
    return [{"type": "function", "function": {"name": f"f{number}"}} for number in range(count)]


async def answer(messages: Any = (), **fields: Any) -> Any:
    body = {"model": "teacher", "messages": [ASK, *messages], "tools": [WEATHER]} | fields
    async with connect(make_app(ScriptedEngine(react("get_weather", "{}")))) as http:
        return await http.post(
            "/v1/chat/completions", json={name: value for name, value in body.items() if value != ()}
        )


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": many(128)},
        {"tools": offering(parameters=nested(16), strict=False)},
        {"tools": offering(parameters=None, description=None)},
        {"tools": offering(name="A-z_09" * 10)},
        {"tools": offering(description="x" * 65_000)},
        {"parallel_tool_calls": False, "tool_choice": "auto"},
        {"messages": [CALLED, RESULT | {"name": "get_weather", "content": [{"type": "text", "text": "rain"}]}]},
        {"messages": [CALLED | {"content": "look", "reasoning_content": "hm", "invalid_tool_call": "?"}, RESULT]},
        {"messages": [CALLED | {"content": "", "refusal": None, "annotations": [], "audio": None}, RESULT]},
    ],
)
async def test_what_is_taken(fields: dict[str, Any]):
    response = await answer(**fields)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"tools": many(129)}, "tools", "at most 128"),
        ({"tools": offering(description="x" * 66_000)}, "tools", "bytes of tools as JSON, expected at most 65536"),
        ({"tools": offering(parameters=nested(17))}, "tools.0.function.parameters", "more than 16 levels"),
        ({"tools": offering(response=nested(17))}, "tools.0.function.response", "more than 16 levels"),
        ({"tools": offering(parameters=nested(40))}, None, "deeper than 20 levels"),
        ({"tools": [*many(1), *many(1)]}, "tools", "second function named 'f0'"),
        ({"tools": offering(name="get weather")}, "tools.0.function.name", "match pattern"),
        ({"tools": offering(name="get_weather\n")}, "tools.0.function.name", "match pattern"),
        ({"tools": offering(name="f" * 65)}, "tools.0.function.name", "match pattern"),
        ({"tools": offering(name="")}, "tools.0.function.name", "match pattern"),
        ({"tools": offering(strict=True)}, "tools.0.function.strict", "leave it out or send false"),
        ({"tools": offering(parameters=[])}, "tools.0.function.parameters", "valid dictionary"),
        ({"tools": offering(parameters={"required": 1})}, "tools", "'function get_weather.parameters.required'"),
        ({"tools": offering(code="x")}, "tools.0.function.code", "unknown field"),
        ({"tools": [WEATHER | {"type": "web_search"}]}, "tools.0.type", "'function'"),
        ({"tools": [{"type": "function"}]}, "tools.0.function", "required and missing"),
        ({"tools": [WEATHER["function"]]}, "tools.0.name", "unknown field"),
        ({"tools": "get_weather"}, "tools", "valid list"),
        ({"tools": offering(name="Finish")}, "tools", "'Finish' and has no 'return_type'"),
        ({"tool_choice": "always"}, "tool_choice.mode", "'none', 'auto' or 'required'"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, None, "'f', expected one of get_weather"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.named.type", "'function'"),
        ({"tool_choice": "required", "tools": []}, None, "tool_choice: only with tools"),
        ({"parallel_tool_calls": 1}, "parallel_tool_calls", "valid boolean"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema", "unknown"),
        ({"chat_template": "{{ x }}"}, "chat_template", "unknown field"),
        ({"functions": [{"name": "f"}]}, "functions", "doesn't support it"),
        ({"messages": [CALLED]}, "messages", "last message's calls have no result"),
        ({"messages": [CALLED, ASK]}, "messages", r"calls \['a'\] of messages\[1\] have no result"),
        ({"messages": [RESULT]}, "messages", r"messages\[1\] is the result of no call"),
        ({"messages": [CALLED, RESULT, RESULT]}, "messages", "second result|no call before it"),
        ({"messages": [CALLED, RESULT | {"tool_call_id": "b"}]}, "messages", "tool_call_id 'b'"),
        ({"messages": [CALLED, {"role": "tool", "content": "rain"}]}, "messages.2", "tool_call_id: a tool's message"),
        ({"messages": [CALLED, RESULT | {"content": None}]}, "messages.2", "content: a message of the role tool"),
        ({"messages": [ASK | {"tool_call_id": "a"}]}, "messages.1", "tool_call_id: only in messages of the role tool"),
        ({"messages": [ASK | {"tool_calls": [CALL]}]}, "messages.1", "tool_calls: only in .* role assistant"),
        ({"messages": [CALLED | {"tool_calls": [CALL | {"id": ""}]}]}, "messages.1.tool_calls.0.id", "at least 1"),
        (
            {"messages": [CALLED | {"tool_calls": [CALL, CALL]}, RESULT]},
            "messages",
            "calls of the ids",
        ),
        ({"messages": [CALLED | {"tool_calls": [{"id": "a"}]}]}, "messages.1.tool_calls.0.type", "missing"),
        ({"messages": [{"role": "assistant", "tool_calls": []}]}, "messages.1", "content: a message of the role assis"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages.1.role", "or 'tool'"),
    ],
)
async def test_a_refusal_names_the_field(fields: dict[str, Any], param: str | None, message: str):
    response = await answer(**fields)
    assert response.status_code == (400 if "deeper" in message else 422), response.text
    assert error_of(response)["param"] == param
    assert re.search(message, error_of(response)["message"]), error_of(response)["message"]


@pytest.mark.parametrize("fields", [{}, {"messages": [CALLED, RESULT], "tools": []}])
async def test_without_a_layout_in_the_settings_tools_are_refused(fields: dict[str, Any]):
    body = {"model": "teacher", "messages": [ASK, *fields.get("messages", [])], "tools": fields.get("tools", [WEATHER])}
    engine = ScriptedEngine("hi", layout=None)
    async with connect(make_app(engine)) as http:
        response = await http.post("/v1/chat/completions", json=body)
        plain = await http.post("/v1/chat/completions", json={"model": "teacher", "messages": [ASK]})
    assert (response.status_code, error_of(response)["code"]) == (422, "no_tool_layout")
    assert "set tool_layout there" in error_of(response)["message"]
    assert plain.json()["choices"][0]["message"]["content"] == "hi"
