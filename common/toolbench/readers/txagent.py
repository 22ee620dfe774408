"""TxAgent's traces as OpenAI's messages and functions.

A step is text, `[TOOL_CALLS]` and the calls as a JSON list of `{"name", "arguments"}`; in a history the list may stand
apart, as JSON text in `tool_calls`, each call with a `call_id` that its result repeats: `{"content", "call_id"}`. The
call `Finish` has no arguments, its answer is the text behind `[FinalAnswer]`. Functions are described as ToolUniverse
does it: `parameter`, with `required` in each property. A special tool that is called is offered, listed or not.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from common.toolbench.fields import BadRecord, items, take
from common.toolbench.finish import NAME, finish_with
from common.toolbench.functions import Record, read_tools
from common.toolbench.react import read_object
from common.toolbench.readers.calls import Message
from common.toolbench.system_prompt import FINISH

CALLS, ANSWER = "[TOOL_CALLS]", "[FinalAnswer]"
SPECIAL = {
    "Tool_RAG": ("Find tools that fit a description.", {"description": "string", "limit": "integer"}),
    "CallAgent": ("Let another agent carry out a plan.", {"solution": "string"}),
    "DirectResponse": ("Answer a question that needs no tools.", {"respose": "string"}),
    "RequireClarification": ("Ask the user about a question that is unclear.", {"unclear_question": "string"}),
}
"""Special tools beside Finish with the types of their arguments, all required; TxAgent's spelling is the format."""


def is_txagent(messages: Any) -> bool:
    """Whether a step among the messages has TxAgent's form."""
    said = [each for each in messages if isinstance(each, dict)] if isinstance(messages, list) else []
    return any(
        isinstance(each.get("tool_calls"), str)
        or (each.get("role") == "assistant" and any(mark in str(each.get("content")) for mark in (CALLS, ANSWER)))
        for each in said
    )


def from_txagent(messages: Sequence[Any], tools: Any) -> tuple[list[Any], list[Record]]:
    """The trace as OpenAI's messages, and the functions that it offers, ToolBench's Finish among them.

    Raises BadRecord naming the message.
    """
    read = list(_read(messages))
    functions = {each["name"]: _schema(each) for each in read_tools(tools) if each["name"] != NAME}
    called = {call["function"]["name"] for message in read for call in message.get("tool_calls", ())}
    missing = [special_tool(name) for name in SPECIAL if name in called - functions.keys()]
    return read, [*functions.values(), *missing, FINISH]


def special_tool(name: str) -> Record:
    """The function of one of TxAgent's SPECIAL tools."""
    description, arguments = SPECIAL[name]
    properties = {argument: {"type": kind} for argument, kind in arguments.items()}
    parameters = {"type": "object", "properties": properties, "required": list(arguments)}
    return {"name": name, "description": description, "parameters": parameters}


def _read(messages: Sequence[Any]) -> Iterator[Message]:
    has_ids = False
    for index, message in enumerate(messages):
        place = f"messages[{index}]"
        role = take(message, "role", str, place)
        if role == "assistant":
            message = _step(message, place)
            has_ids = any(call["id"] is not None for call in message.get("tool_calls", ()))
        yield _result(message, has_ids) if role == "tool" else message


def _step(message: Message, place: str) -> Message:
    """The assistant's message with its calls in OpenAI's form, and ToolBench's Finish where it ends."""
    content = "" if message.get("content") is None else take(message, "content", str, place)
    text, marked, listed = content.partition(CALLS)
    if not marked:
        listed = take(message, "tool_calls", str, place) if message.get("tool_calls") is not None else "[]"
    calls = _calls(listed, place)
    ends = any(call["function"]["name"] == NAME for call in calls)
    if ends and len(calls) > 1:
        raise BadRecord("calls_beside_finish", f"{place} calls other functions beside {NAME}, expected that alone")
    if ends or ANSWER in text:
        text, _, answer = text.rpartition(ANSWER)
        finish = finish_with(answer.strip())
        calls = [{"id": None, "function": {"name": finish.action, "arguments": finish.action_input}}]
    return message | {"content": text.strip(), "tool_calls": calls}


def _calls(text: str, place: str) -> list[Message]:
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRecord("broken_json", f"{place} has no list of calls as JSON behind {CALLS} ({error})") from None
    calls = {"tool_calls": listed if isinstance(listed, list) else [] if listed is None else [listed]}
    return [_call(call, inside) for inside, call in items(calls, "tool_calls", place)]


def _call(call: Any, place: str) -> Message:
    name, id = take(call, "name", str, place), call.get("call_id")
    function = {"name": name} | {key: call[key] for key in call if key == "arguments"}
    return {"id": None if id is None else str(id), "function": function}


def _result(message: Message, has_ids: bool) -> Message:
    """A result without what it is wrapped in; its id counts only where calls have theirs."""
    wrapped = read_object(message["content"]) if isinstance(message.get("content"), str) else None
    if wrapped is None or "content" not in wrapped or wrapped.keys() - {"content", "call_id"}:
        return message
    content, id = wrapped["content"], wrapped.get("call_id")
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return message | {"content": text} | ({"tool_call_id": str(id)} if has_ids and id is not None else {})


def _schema(function: Record) -> Record:
    """The function with its parameters as a JSON schema, where ToolUniverse marks each that is required."""
    if "parameters" in function or not isinstance(function.get("parameter"), dict):
        return function
    parameter = function["parameter"]
    properties = parameter.get("properties")
    described = {name: each for name, each in (properties or {}).items() if isinstance(each, dict)}
    required = [name for name, each in described.items() if each.get("required") is True]
    bare = {name: {key: value for key, value in each.items() if key != "required"} for name, each in described.items()}
    others = {key: value for key, value in function.items() if key != "parameter"}
    return others | {"parameters": {"type": "object", "properties": bare, "required": required}}
