"""ToolBench's layout, and how what is said in a layout of plain words is kept from opening a turn.

Where turns begin with special tokens nothing that is said can begin one, since it makes no special token. Where they
begin with plain words, as "Assistant:" does here, a line of those words is moved by a space: it reads the same, and no
line but the layout's own begins with them.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from common.layouts.segments import Completion, TextSegment
from common.tool_calls import ParsedTurn, parse_react
from common.toolbench.react import Span, part_starts
from common.toolbench.rows import ROLES, Turn


class ToolBenchLayout:
    """ToolBench's layout: "System: …\\nUser: …\\nFunction: …\\nAssistant: ", then the completion."""

    openings = tuple(f"{role.capitalize()}:" for role in ROLES)

    def prompt(self, turns: Sequence[Turn]) -> list[TextSegment]:
        """As `Layout.prompt`."""
        segments: list[TextSegment] = []
        newline = ""
        for turn in turns:
            segments += [TextSegment(f"{newline}{turn.role.capitalize()}: ", True), TextSegment(turn.content, False)]
            newline = "\n"
        return [*segments, TextSegment(f"{newline}Assistant: ", True)]

    def completion(self, turns: Sequence[Turn], text: str) -> Completion:
        """As `Layout.completion`; the tokenizer's end of sequence follows."""
        return Completion([TextSegment(text, False)], [])

    def parse(self, text: str, finish_offered: bool = False) -> ParsedTurn:
        """As `Layout.parse`."""
        return parse_react(text, finish_offered)

    def react(self, text: str) -> str:
        """As `Layout.react`."""
        return text

    def part_starts(self, text: str) -> Span:
        """As `Layout.part_starts`."""
        return part_starts(text)


def kept_apart(turns: Iterable[Turn], openings: Sequence[str]) -> tuple[Turn, ...]:
    """The turns, with a space before each line of theirs that begins as one of a layout's `openings` does."""
    if not openings:
        return tuple(turns)
    return tuple(replace(turn, content=texts_kept_apart(turn.content, openings)) for turn in turns)


def texts_kept_apart(value: Any, openings: Sequence[str]) -> Any:
    """`value`, JSON as Python has it, with the same done to all its texts."""
    if not openings:
        return value
    if isinstance(value, dict):
        return {texts_kept_apart(key, openings): texts_kept_apart(each, openings) for key, each in value.items()}
    if isinstance(value, list):
        return [texts_kept_apart(each, openings) for each in value]
    if not isinstance(value, str):
        return value
    return re.sub(f"^(?={'|'.join(map(re.escape, openings))})", " ", value, flags=re.MULTILINE)
