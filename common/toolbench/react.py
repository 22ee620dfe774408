"""One assistant turn in ToolBench's ReAct form: a Thought, an Action and its input.

Rendered as "\\nThought: …\\nAction: …\\nAction Input: …", with the leading newline that ToolBench's training data has.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

THOUGHT, ACTION, ACTION_INPUT = "Thought: ", "\nAction: ", "\nAction Input: "
REASONING = re.compile(r"\s*<think>(.*?)(?:</think>\s*|\Z)", re.DOTALL)
WINDOWS_LABEL = re.compile(r"\r\n(?=(?:Thought|Action|Action Input): )")


class ParseError(ValueError):
    """Text that isn't a Thought, an Action and an Action Input in this order; the message names what is missing."""


@dataclass(frozen=True)
class Step:
    """What the model thinks, which function it calls, and with which arguments (JSON text, as written)."""

    thought: str
    action: str
    action_input: str


def render_step(step: Step) -> str:
    """The step as ToolBench trains on it."""
    return f"\n{THOUGHT}{step.thought}{ACTION}{step.action}{ACTION_INPUT}{step.action_input}"


def unix_labels(text: str) -> str:
    """`text` with "\\n" before its labels where it has Windows' "\\r\\n"; what it says stays as it is."""
    return WINDOWS_LABEL.sub("\n", text)


def parse_step(text: str) -> Step:
    """Read a step back: reasoning and other text before the Thought are ignored, as in ToolBench.

    A Thought may itself hold a line that begins with "Action: " (recorded ones do): the action is the last such line
    before the Action Input. Windows' line ends before labels count as "\\n". Raises ParseError naming the label that is
    missing.
    """
    _, has_thought, rest = unix_labels(split_reasoning(text)[1]).partition(THOUGHT)
    before_input, has_input, action_input = rest.partition(ACTION_INPUT)
    thought, has_action, action = before_input.rpartition(ACTION)
    found = {THOUGHT: has_thought, ACTION: has_action, ACTION_INPUT: has_input}
    missing = [label.strip() for label, present in found.items() if not present]
    if missing:
        raise ParseError(f"{missing[0]!r} is missing")
    return Step(thought, action, action_input)


def with_reasoning(reasoning: str, text: str) -> str:
    """A turn's `text` behind what was thought aloud before it, which is nothing where `reasoning` is empty."""
    return f"<think>\n{reasoning}\n</think>\n\n" + text.lstrip("\n") if reasoning else text


def split_reasoning(text: str) -> tuple[str, str]:
    """What was thought aloud at the beginning of a turn, and the rest; where it has no end, there is no rest."""
    match = REASONING.match(text)
    return (match[1].strip(), text[match.end() :]) if match else ("", text)


def read_object(text: str) -> dict[str, Any] | None:
    """The JSON object in an action input; line breaks inside strings pass, as ToolBench's environment lets them.

    None where there is none, or one that holds half a character, which no text can.
    """
    try:
        value = json.loads(text, strict=False)
        if r"\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
