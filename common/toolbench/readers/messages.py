"""Recorded messages in OpenAI's form as turns: each call becomes a step, with the text beside it as its Thought."""

import json
from collections.abc import Sequence
from typing import Any

from common.toolbench.fields import BadRecord, items, take, take_role
from common.toolbench.react import THOUGHT, Step, render_step
from common.toolbench.rows import Turn

Message = dict[str, Any]


def calls_of(message: Message, inside: str) -> list[tuple[str, Message]]:
    """The calls in `tool_calls`, else in `function_call`, each with its place; null in either is none.

    Raises BadRecord when they are of another form.
    """
    if message.get("tool_calls"):
        return [
            (f"{place}.function", take(call, "function", dict, place))
            for place, call in items(message, "tool_calls", inside)
        ]
    if message.get("function_call") is None:
        return []
    return [(f"{inside}.function_call", take(message, "function_call", dict, inside))]


def to_turns(messages: Sequence[Any], place: str) -> list[Turn]:
    """The messages as turns; `place` says where they stand, for errors.

    Text alone waits for the call that follows it. Of several calls in one message each waits for the observation of the
    one before it; those behind the last observation are not among the turns. Raises BadRecord, "no_observation" where
    such calls are followed by more messages.
    """
    turns: list[Turn] = []
    thoughts: list[str] = []
    waiting: list[Turn] = []
    for index, message in enumerate(messages):
        inside = f"{place}[{index}]"
        role = take_role(message, "role", inside)
        if role == "assistant":
            if waiting:
                raise BadRecord("no_observation", f"the calls before {inside!r} have fewer observations than they are")
            thoughts += [take(message, "content", str, inside)] if message.get("content") else []
            waiting = _steps(message, thoughts, inside)
            if not waiting:
                continue
            turns.append(waiting.pop(0))
        else:
            turns += [Turn("assistant", f"\n{THOUGHT}{_join(thoughts)}")] if thoughts else []
            turns.append(Turn(role, take(message, "content", str, inside)))
            if role == "function" and waiting:
                turns.append(waiting.pop(0))
        thoughts = []
    return turns


def _steps(message: Message, thoughts: list[str], inside: str) -> list[Turn]:
    """One assistant turn per call, the first with the thoughts."""
    steps = []
    for number, (place, call) in enumerate(calls_of(message, inside)):
        thought = "" if number else _join(thoughts)
        step = Step(thought, take(call, "name", str, place), _arguments(call, place))
        steps.append(Turn("assistant", render_step(step)))
    return steps


def _arguments(call: Message, place: str) -> str:
    """The arguments as JSON text, which is what OpenAI's form has; some write the object itself."""
    if isinstance(call.get("arguments"), dict):
        return json.dumps(call["arguments"], ensure_ascii=False)
    return take(call, "arguments", str, place)


def _join(thoughts: list[str]) -> str:
    """Several thoughts before one action, as ToolBench writes them."""
    return f"\n{THOUGHT}".join(thoughts)
