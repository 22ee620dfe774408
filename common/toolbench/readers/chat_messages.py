"""Messages of chats, in the forms that people have, read into one.

OpenAI's form of today (`tool_calls`, role `tool`) and of yesterday (`function_call`, role `function`), TRL's (calls
without ids, arguments as objects) and ms-swift's (roles `tool_call` and `tool_response`). Contents are text or lists of
text parts; reasoning stands in `<think>…</think>`, `reasoning_content`, `reasoning` or `thinking`.
"""

from dataclasses import dataclass, replace
from typing import Any

from common.toolbench.fields import BadRecord, take, take_role
from common.toolbench.react import split_reasoning
from common.toolbench.readers.calls import Call, Message, calls_of, unpack_call
from common.toolbench.rows import Role

ROLES = {"developer": "system", "tool_call": "assistant", "tool_response": "function"}
"""Roles of other names; `tool` is known to `take_role`."""
REASONING = ("reasoning_content", "reasoning", "thinking")


@dataclass(frozen=True)
class ChatMessage:
    """One message. `trained` is false where its `weight` is 0, as OpenAI's fine-tuning has it.

    `as_written` says that an assistant's content is a whole turn of its own, which a served model wrote and which is no
    valid call: our API flags such as `invalid_tool_call`.
    """

    place: str
    role: Role
    content: str
    reasoning: str = ""
    calls: tuple[Call, ...] = ()
    call_id: str | None = None
    trained: bool = True
    as_written: bool = False


def read_messages(messages: Any, place: str = "messages") -> list[ChatMessage]:
    """The messages; the assistant's text directly before its calls in a message of their own stands beside them.

    Raises BadRecord naming the message and the field.
    """
    if not isinstance(messages, list) or not messages:
        raise BadRecord("wrong_type", f"the field {place!r} holds no messages, expected a list of them")
    read: list[ChatMessage] = []
    for index, message in enumerate(messages):
        following = _read(message, f"{place}[{index}]")
        if read and following.calls and read[-1].role == "assistant" and _is_one(read[-1], message):
            following = _join(read.pop(), following)
        read.append(following)
    return read


def _is_one(before: ChatMessage, message: Message) -> bool:
    """Whether `message`, which calls, goes on with the one before it: that is text alone, or both are ms-swift's."""
    return not before.calls or (message["role"] == "tool_call" and all(call.id is None for call in before.calls))


def _join(before: ChatMessage, message: ChatMessage) -> ChatMessage:
    content = "\n".join(text for text in (before.content, message.content) if text)
    reasoning = before.reasoning or message.reasoning
    trained = before.trained and message.trained
    return replace(before, content=content, reasoning=reasoning, calls=before.calls + message.calls, trained=trained)


def _read(message: Any, place: str) -> ChatMessage:
    name = take(message, "role", str, place)
    role = take_role(message | {"role": ROLES.get(name, name)}, "role", place)
    content = _text(message, role, place)
    trained = message.get("weight") != 0
    if name == "tool_call":
        return ChatMessage(place, role, "", calls=(unpack_call(content, place),), trained=trained)
    if role != "assistant":
        id = None if message.get("tool_call_id") is None else take(message, "tool_call_id", str, place)
        return ChatMessage(place, role, content, call_id=id)
    reasoning, content = split_reasoning(content)
    given = next((field for field in REASONING if message.get(field)), None)
    if given:
        reasoning = take(message, given, str, place).strip("\n")
    as_written = bool(message.get("invalid_tool_call"))
    calls = tuple(calls_of(message, place))
    return ChatMessage(place, role, content, reasoning, calls, trained=trained, as_written=as_written)


def _text(message: Message, role: Role, place: str) -> str:
    """The content's text; none, as beside calls, is empty."""
    content = message.get("content")
    if content is None and role == "assistant":
        return ""
    if not isinstance(content, list):
        return take(message, "content", str, place)
    text = ""
    for number, part in enumerate(content):
        inside = f"{place}.content[{number}]"
        if (kind := take(part, "type", str, inside)) != "text":
            raise BadRecord("not_text", f"{inside} is of type {kind!r}, expected text")
        text += take(part, "text", str, inside)
    return text
