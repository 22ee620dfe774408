"""Function calls in recorded messages, of yesterday's form and today's."""

import json
from dataclasses import dataclass
from typing import Any

from common.toolbench.fields import BadRecord, items, take
from common.toolbench.react import Step

Message = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """A function called with arguments, JSON text as written; `id` where the message has one."""

    id: str | None
    name: str
    arguments: str

    def step(self, thought: str = "") -> Step:
        """The call with a Thought before it."""
        return Step(thought, self.name, self.arguments)


def calls_of(message: Message, inside: str) -> list[Call]:
    """The calls in `tool_calls`, else in `function_call`; null in either is none.

    Raises BadRecord when they are of another form.
    """
    if message.get("tool_calls"):
        return [_tool_call(call, place) for place, call in items(message, "tool_calls", inside)]
    if message.get("function_call") is None:
        return []
    return [read_call(take(message, "function_call", dict, inside), f"{inside}.function_call")]


def read_call(call: Message, place: str, id: str | None = None) -> Call:
    """The call of an object with `name` and `arguments`: JSON text, which is OpenAI's form, or the object itself.

    Raises BadRecord ("missing_field", "wrong_type", "bad_text", "bad_name").
    """
    name = take(call, "name", str, place)
    if len(name.split()) != 1:
        raise BadRecord("bad_name", f"the field '{place}.name' holds {name!r:.80}, expected the name of a function")
    if isinstance(call.get("arguments"), dict):
        call = call | {"arguments": json.dumps(call["arguments"], ensure_ascii=False)}
    return Call(id, name, take(call, "arguments", str, place))


def _tool_call(call: Any, place: str) -> Call:
    """A call with its id; some leave OpenAI's wrapper `function` out."""
    function, inside = call, place
    if not isinstance(call, dict) or "name" not in call:
        function, inside = take(call, "function", dict, place), f"{place}.function"
    id = take(call, "id", str, place) if call.get("id") is not None else None
    return read_call(function, inside, id)


def unpack_call(text: str, place: str) -> Call:
    """The call that is written as JSON in a message's content, as ms-swift has it.

    Raises BadRecord ("broken_json"), and as `read_call`.
    """
    try:
        call = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRecord("broken_json", f"{place}.content holds no call as JSON ({error})") from None
    return read_call(call, f"{place}.content")
