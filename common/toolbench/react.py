"""One assistant turn in ToolBench's ReAct form: a Thought, an Action and its input.

Rendered as "\\nThought: …\\nAction: …\\nAction Input: …", with the leading newline that ToolBench's training data has.
"""

from dataclasses import dataclass

THOUGHT, ACTION, ACTION_INPUT = "Thought: ", "\nAction: ", "\nAction Input: "


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


def parse_step(text: str) -> Step:
    """Read a step back as ToolBench does: each part runs from its label to the next; text before the first is ignored.

    Raises ParseError naming the label that is missing.
    """
    _, rest = _after(text, THOUGHT)
    thought, rest = _after(rest, ACTION)
    action, action_input = _after(rest, ACTION_INPUT)
    return Step(thought, action, action_input)


def _after(text: str, label: str) -> tuple[str, str]:
    before, found, after = text.partition(label)
    if not found:
        raise ParseError(f"{label.strip()!r} is missing")
    return before, after
