"""ToolBench's layout."""

from collections.abc import Sequence

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
