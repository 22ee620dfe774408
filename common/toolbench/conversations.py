"""Conversations of any chat as ToolBench's turns: OpenAI's `messages` and `tools`, and the variants that people have.

With tools the first turn is a system prompt: the caller's own text, ToolBench's instructions, and the list of functions
with Finish last. Each call is a step in ReAct's form with the text beside it as its Thought, parallel calls a step
each; an assistant's text without a call is the call Finish with that text as its final answer. The first user turn is
worded as ToolBench words it. Without tools every message is a turn as it is.

What an assistant thought aloud (`<think>…</think>`, `reasoning_content`) is no part of later prompts.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from common.toolbench.fields import BadRecord
from common.toolbench.finish import finish_with
from common.toolbench.functions import Record, read_tools
from common.toolbench.react import ACTION_INPUT, render_step, with_reasoning
from common.toolbench.readers.chat_messages import ChatMessage, read_messages
from common.toolbench.rows import Turn
from common.toolbench.system_prompt import chat_system_prompt, task_turn

FORGED_INPUT = re.compile(f"\n(?={ACTION_INPUT.lstrip()})")
"""A line beside a call that would read as its input: it is moved by a space."""


@dataclass(frozen=True)
class Spoken:
    """A turn, what was thought aloud before it, and whether it is one to learn from."""

    turn: Turn
    reasoning: str = ""
    trained: bool = True

    @property
    def with_reasoning(self) -> Turn:
        """The turn as it is trained on."""
        return replace(self.turn, content=with_reasoning(self.reasoning, self.turn.content))


@dataclass
class Conversation:
    """What was said, in order. `unanswered` counts calls of the last message that no turn stands for: those behind its
    first, when none has a result."""

    spoken: list[Spoken] = field(default_factory=list)
    unanswered: int = 0


def conversation_turns(messages: Any, tools: Any = None) -> tuple[Turn, ...]:
    """OpenAI's `messages` and `tools` as turns; what a last message of the assistant's thought aloud is kept.

    Of several calls in a last message only the first is a turn. Raises BadRecord naming the message or the tool.
    """
    spoken = read_conversation(messages, tools).spoken
    return (*(each.turn for each in spoken[:-1]), spoken[-1].with_reasoning)


def read_conversation(messages: Any, tools: Any = None) -> Conversation:
    """The conversation of `messages` and `tools`. Raises BadRecord as `conversation_turns`."""
    try:
        functions, read = read_tools(tools), read_messages(messages)
        return _with_tools(read, functions) if functions else _plain(read)
    except RecursionError:
        raise BadRecord("too_deep", "the tools or a call's arguments nest too deep to be written as text") from None


def _plain(messages: Sequence[ChatMessage]) -> Conversation:
    if called := next((message for message in messages if message.calls), None):
        raise BadRecord("no_tools", f"{called.place} calls a function, but the conversation has no 'tools'; add them")
    return Conversation([Spoken(Turn(each.role, each.content), each.reasoning, each.trained) for each in messages])


def _with_tools(messages: Sequence[ChatMessage], functions: Sequence[Record]) -> Conversation:
    own = messages[0].content if messages[0].role == "system" else ""
    conversation = Conversation([Spoken(Turn("system", chat_system_prompt(own, functions)))])
    asked = False
    for message, results in _with_results(messages[messages[0].role == "system" :]):
        if message.calls:
            conversation.spoken += _steps(message, results, at_end=message is messages[-1])
        elif results or message.role == "function":
            raise BadRecord("unknown_call", f"{(results or [message])[0].place} is the result of no call before it")
        elif message.role == "assistant":
            step = message.content if message.as_written else render_step(finish_with(message.content))
            conversation.spoken.append(Spoken(Turn("assistant", step), message.reasoning, message.trained))
        else:
            first = message.role == "user" and not asked
            content = task_turn(message.content) if first else message.content
            conversation.spoken.append(Spoken(Turn(message.role, content)))
            asked |= first
    conversation.unanswered = max(0, len(messages[-1].calls) - 1)
    return conversation


def _with_results(messages: Sequence[ChatMessage]) -> Iterator[tuple[ChatMessage, list[ChatMessage]]]:
    """Each message with the results that directly follow it; those that begin a conversation follow the first."""
    starts = [at for at, message in enumerate(messages) if at == 0 or message.role != "function"]
    for start, end in pairwise([*starts, len(messages)]):
        yield messages[start], list(messages[start + 1 : end])


def _steps(message: ChatMessage, results: Sequence[ChatMessage], at_end: bool) -> list[Spoken]:
    """A step per call, each with its result behind it; the first call alone where nothing follows it yet."""
    ids = _ids(message)
    ordered = [] if at_end else _in_order(message, ids, results)
    thought = FORGED_INPUT.sub("\n ", message.content)
    first, *others = [call.step("" if number else thought) for number, call in enumerate(message.calls)]
    spoken = [Spoken(Turn("assistant", render_step(first)), message.reasoning, message.trained)]
    for number, result in enumerate(ordered):
        spoken.append(Spoken(Turn("function", result.content)))
        spoken += [Spoken(Turn("assistant", render_step(step)), "", message.trained) for step in others[number:][:1]]
    return spoken


def _ids(message: ChatMessage) -> list[int | str]:
    """What results name the message's calls by: their ids, or their places where they have none."""
    ids = [number if call.id is None else call.id for number, call in enumerate(message.calls)]
    if len(set(ids)) < len(ids):
        raise BadRecord(
            "duplicate_call", f"{message.place} has calls of the ids {ids}, expected one of its own in each"
        )
    return ids


def _in_order(message: ChatMessage, ids: Sequence[int | str], results: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The results in the order of the message's calls. Raises BadRecord where they don't belong to each other."""
    answered: dict[int | str, ChatMessage] = {}
    for number, result in enumerate(results):
        id = number if result.call_id is None else result.call_id
        if id not in ids:
            said = f"{result.place} has the tool_call_id {result.call_id!r}, expected one of {ids}"
            raise BadRecord("unknown_call", said)
        if id in answered:
            raise BadRecord("duplicate_result", f"{result.place} is a second result of the call {id!r}")
        answered[id] = result
    if missing := [id for id in ids if id not in answered]:
        raise BadRecord("no_observation", f"the calls {missing} of {message.place} have no result behind them")
    return [answered[id] for id in ids]
