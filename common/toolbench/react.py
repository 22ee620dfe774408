"""One assistant turn in ToolBench's ReAct form: a Thought, an Action and its input.

Rendered as "\\nThought: …\\nAction: …\\nAction Input: …", with the leading newline that ToolBench's training data has.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

THOUGHT, ACTION, ACTION_INPUT = "Thought: ", "\nAction: ", "\nAction Input: "
REASONING = re.compile(r"\s*<think>(.*?)(?:</think>\s*|\Z)", re.DOTALL)
LABELS = tuple(re.compile(pattern) for pattern in ("Thought: ", r"\r?\nAction: ", r"\r?\nAction Input: "))
WINDOWS_LABEL = re.compile(r"\r\n(?=(?:Thought|Action|Action Input): )")


Part = Literal["thought", "action", "action_input"]
PARTS: tuple[Part, ...] = get_args(Part)
Span = tuple[int, int]
"""Characters of a text: the first one, and the first one behind."""


class ParseError(ValueError):
    """Text that isn't a Thought, an Action and an Action Input in this order; the message names what is missing."""


@dataclass(frozen=True)
class Step:
    """What the model thinks, which function it calls, and with which arguments (JSON text, as written)."""

    thought: str
    action: str
    action_input: str


@dataclass(frozen=True)
class Labels:
    """Where a step's labels stand in a text, line ends included; None where one is missing in its place."""

    thought: Span | None
    action: Span | None
    action_input: Span | None


def render_step(step: Step) -> str:
    """The step as ToolBench trains on it."""
    return f"\n{THOUGHT}{step.thought}{ACTION}{step.action}{ACTION_INPUT}{step.action_input}"


def unix_labels(text: str) -> str:
    """`text` with "\\n" before its labels where it has Windows' "\\r\\n"; what it says stays as it is."""
    return WINDOWS_LABEL.sub("\n", text)


def find_labels(text: str) -> Labels:
    """Where `parse_step` sees a step's labels.

    That is the first Thought behind what was thought aloud, the first Action Input behind that, and the last Action
    between the two.
    """
    thought_label, action_label, input_label = LABELS
    reasoning = REASONING.match(text)
    start = reasoning.end() if reasoning else 0
    thought = thought_label.search(text, start)
    start = thought.end() if thought else start
    action_input = input_label.search(text, start)
    *_, action = None, *action_label.finditer(text, start, action_input.start() if action_input else len(text))
    return Labels(*(label.span() if label else None for label in (thought, action, action_input)))


def part_starts(text: str) -> Span:
    """Where in a turn its Action begins and where its Action Input does, each with its label; what stands before is the
    Thought, and all of a turn that isn't a step."""
    found = find_labels(text)
    if found.thought is None or found.action is None or found.action_input is None:
        return len(text), len(text)
    return found.action[0], found.action_input[0]


def parse_step(text: str) -> Step:
    """Read a step back: reasoning and other text before the Thought are ignored, as in ToolBench.

    A Thought may itself hold a line that begins with "Action: " (recorded ones do): the action is the last such line
    before the Action Input. Windows' line ends before labels count as "\\n". Raises ParseError naming the label that is
    missing.
    """
    found = find_labels(text)
    if found.thought is None or found.action is None or found.action_input is None:
        named = {THOUGHT: found.thought, ACTION: found.action, ACTION_INPUT: found.action_input}
        raise ParseError(f"{next(label.strip() for label, span in named.items() if span is None)!r} is missing")
    (_, thought), (thought_end, action), (action_end, action_input) = found.thought, found.action, found.action_input
    parts = text[thought:thought_end], text[action:action_end], text[action_input:]
    return Step(*map(unix_labels, parts))


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
