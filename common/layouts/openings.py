"""Lines in what was said that would read as the beginning of a turn.

Where turns begin with special tokens nothing that is said can begin one, since it makes no special token. Where they
begin with plain words, as "Assistant:" does in ToolBench's layout, a line of those words is moved by a space: it reads
the same, and no line but the layout's own begins with them.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from common.layouts.segments import TextSegment
from common.toolbench.rows import Turn


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


def openings_of(segments: Sequence[TextSegment], special: re.Pattern[str]) -> set[str]:
    """The last line of each of the layout's own segments, without white space, where it is of plain words.

    Words that stand within a line, behind what was said, are not among them.
    """
    lines = [segment.text.rstrip().rpartition("\n") for segment in segments if segment.trusted]
    begun = {line.strip() for number, (_, newline, line) in enumerate(lines) if newline or number == 0}
    return {line for line in begun if re.search(r"\w", line) and not special.search(line)}
