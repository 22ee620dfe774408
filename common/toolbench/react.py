"""One assistant turn in ToolBench's ReAct form: a Thought, an Action and its input.

Rendered as "\\nThought: …\\nAction: …\\nAction Input: …", with the leading newline that ToolBench's training data has.
"""

import re
from dataclasses import dataclass

THOUGHT, ACTION, ACTION_INPUT = "Thought: ", "\nAction: ", "\nAction Input: "
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
    """Read a step back: text before the Thought is ignored, as in ToolBench.

    A Thought may itself hold a line that begins with "Action: " (recorded ones do): the action is the last such line
    before the Action Input. Windows' line ends before labels count as "\\n". Raises ParseError naming the label that is
    missing.
    """
    _, has_thought, rest = unix_labels(text).partition(THOUGHT)
    before_input, has_input, action_input = rest.partition(ACTION_INPUT)
    thought, has_action, action = before_input.rpartition(ACTION)
    found = {THOUGHT: has_thought, ACTION: has_action, ACTION_INPUT: has_input}
    missing = [label.strip() for label, present in found.items() if not present]
    if missing:
        raise ParseError(f"{missing[0]!r} is missing")
    return Step(thought, action, action_input)
