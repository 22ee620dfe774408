"""Recorded messages in OpenAI's form as turns: each call becomes a step, with the text beside it as its Thought."""

from collections.abc import Sequence
from typing import Any

from common.toolbench.fields import BadRecord, take, take_role
from common.toolbench.react import THOUGHT, render_step
from common.toolbench.readers.calls import Message, calls_of
from common.toolbench.rows import Turn


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
    steps = [call.step("" if number else _join(thoughts)) for number, call in enumerate(calls_of(message, inside))]
    return [Turn("assistant", render_step(step)) for step in steps]


def _join(thoughts: list[str]) -> str:
    """Several thoughts before one action, as ToolBench writes them."""
    return f"\n{THOUGHT}".join(thoughts)
