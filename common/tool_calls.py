"""Tool calls as OpenAI's API has them: a chat as the turns that are rendered, and a written turn as content and calls.

`Renderer.parse_turn` reads a turn in the layout that the model was trained in; `parse_react` is ToolBench's.
"""

from dataclasses import dataclass

from common.toolbench.conversations import conversation_turns
from common.toolbench.finish import said_to_user
from common.toolbench.react import ParseError, parse_step, read_object, split_reasoning

__all__ = ["ParsedTurn", "ToolCall", "conversation_turns", "parse_react"]


@dataclass(frozen=True)
class ToolCall:
    """A function called with arguments: JSON text, as written."""

    name: str
    arguments: str


@dataclass(frozen=True)
class ParsedTurn:
    """A written turn. Without a call its content is the answer to the user."""

    reasoning: str
    """What was thought aloud before the rest, between `<think>` and `</think>`."""
    content: str
    calls: tuple[ToolCall, ...]
    valid: bool
    """Whether it has the form of its layout, and its arguments are JSON objects; if not, `content` is all of it."""


def parse_react(text: str, finish_offered: bool = False) -> ParsedTurn:
    """A turn in ToolBench's form: a Thought, which is the content beside a call, and the call.

    Finish is an answer without a call, unless the caller offers a function of that name himself.
    """
    reasoning, rest = split_reasoning(text)
    try:
        step = parse_step(rest)
    except ParseError:
        return ParsedTurn(reasoning, rest, (), False)
    call = ToolCall(step.action.strip(), step.action_input)
    if read_object(call.arguments) is None or not call.name:
        return ParsedTurn(reasoning, rest, (), False)
    answer = None if finish_offered else said_to_user(step)
    if answer is None:
        return ParsedTurn(reasoning, step.thought, (call,), True)
    return ParsedTurn(reasoning, answer, (), True)
