"""ToolBench's turns as OpenAI's messages and tools: what `conversations` reads, written back."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from common.toolbench.finish import said_to_user
from common.toolbench.functions import Record
from common.toolbench.react import THOUGHT, ParseError, parse_step
from common.toolbench.rows import Turn
from common.toolbench.system_prompt import FUNCTIONS_LABEL, is_finish, offered_functions, own_system_text, task_of

Message = dict[str, Any]


class OpenAIChat(NamedTuple):
    """Messages and the functions that they may call, without OpenAI's wrapper."""

    messages: list[Message]
    functions: list[Record]


def to_openai(turns: Sequence[Turn]) -> OpenAIChat:
    """The chat that `turns` hold: the system prompt's list as functions, steps as calls, Finish as text.

    A Thought stands beside its call, or before the answer that it leads to. Ids count the calls, in the nine characters
    that some chat templates ask for. Turns that don't begin with a system prompt that offers functions are messages as
    they are. Raises BadRecord where the list can't be read.
    """
    if not turns or turns[0].role != "system" or FUNCTIONS_LABEL not in turns[0].content:
        plain = [(("tool" if turn.role == "function" else turn.role), turn.content) for turn in turns]
        return OpenAIChat([{"role": role, "content": content} for role, content in plain], [])
    functions = _functions(turns[0].content)
    own = own_system_text(turns[0].content)
    messages: list[Message] = [{"role": "system", "content": own}] if own else []
    asked, calls = False, 0
    for turn in turns[1:]:
        if turn.role == "assistant":
            messages.append(_said(turn.content, calls))
            calls += "tool_calls" in messages[-1]
        elif turn.role == "function":
            messages.append(_result(turn.content, messages))
        else:
            first = turn.role == "user" and not asked
            messages.append({"role": turn.role, "content": task_of(turn.content) if first else turn.content})
            asked |= first
    return OpenAIChat(messages, list(functions))


@lru_cache(maxsize=32)
def _functions(system_prompt: str) -> tuple[Record, ...]:
    """What the prompt offers beside Finish; the steps of a conversation share it."""
    return tuple(each for each in offered_functions(system_prompt) if not is_finish(each))


def _said(text: str, calls: int) -> Message:
    """The assistant's message behind `calls` calls."""
    try:
        step = parse_step(text)
    except ParseError:
        return {"role": "assistant", "content": text.lstrip("\n").removeprefix(THOUGHT)}
    answer = said_to_user(step)
    if answer is not None:
        return {"role": "assistant", "content": "\n\n".join(part for part in (step.thought, answer) if part)}
    call = {"name": step.action.strip(), "arguments": step.action_input}
    id = f"call{calls:05}"
    return {
        "role": "assistant",
        "content": step.thought,
        "tool_calls": [{"id": id, "type": "function", "function": call}],
    }


def _result(text: str, messages: Sequence[Message]) -> Message:
    """The result of the call that stands before it; of no call where a turn was none and is answered all the same."""
    calls = messages[-1].get("tool_calls") if messages else None
    if not calls:
        return {"role": "tool", "content": text}
    return {"role": "tool", "tool_call_id": calls[0]["id"], "name": calls[0]["function"]["name"], "content": text}
