"""How a chat template writes tool calls, told from what it makes of a known one.

So what a model wrote is read back without a list of models.
"""

import json
import re
from dataclasses import dataclass
from re import Pattern
from typing import Any

from common.tool_calls import ParsedTurn, ToolCall
from common.toolbench.react import Span, split_reasoning

NAMES = ("probe_first", "probe_second")
ARGUMENTS = {"probe_key": 'it\'s "so"\n'}
IDS = ("call00000", "call00001")
NAME = re.compile(r'[^\s"]+')
SPACE = r"\s*"
_DECODER = json.JSONDecoder(strict=False)


@dataclass(frozen=True)
class CallForm:
    """What stands before a call's name, between its name and its arguments, and behind them, with any white space.

    `following` leads to the name of another call in the same turn; None where a template writes one call alone.
    """

    before: Pattern[str]
    between: Pattern[str]
    behind: Pattern[str]
    following: Pattern[str] | None

    def parse(self, text: str) -> ParsedTurn:
        """The turn `text`, whatever was thought aloud before it; what begins no call is an answer."""
        reasoning, rest = split_reasoning(text)
        start = self.before.search(rest)
        if start is None:
            return ParsedTurn(reasoning, rest, (), bool(rest.strip()))
        calls = self._calls(rest, start.end())
        return ParsedTurn(reasoning, rest[: start.start()].strip() if calls else rest, calls, bool(calls))

    def starts(self, text: str, position: int) -> Span | None:
        """Where the first call from `position` on begins, and where what leads from its name to its arguments does."""
        before = self.before.search(text, position)
        between = self.between.search(text, before.end()) if before else None
        return (before.start(), between.start()) if before and between else None

    def _calls(self, text: str, position: int) -> tuple[ToolCall, ...]:
        """The calls from the first one's name on; none where they or what follows them have another form."""
        calls: list[ToolCall] = []
        while between := self.between.search(text, position):
            name = text[position : between.start()].strip()
            arguments, end = _object_at(text, between.end())
            if arguments is None or not NAME.fullmatch(name):
                break
            calls.append(ToolCall(name, text[between.end() : end]))
            if (behind := self.behind.match(text, end)) and not text[behind.end() :].strip():
                return tuple(calls)
            following = self.following.match(text, end) if self.following else None
            if following is None:
                break
            position = following.end()
        return ()


def derive_call_form(one: str, two: str, end: str) -> CallForm | None:
    """The form of calls, from a turn with a call of NAMES[0] and ARGUMENTS, and a turn with both calls, if not empty.

    `end` closes a turn. None where the name is missing or the arguments can't be read back as JSON.
    """
    before, _, rest = split_reasoning(one)[1].partition(NAMES[0])
    found = _find_arguments(rest)
    if found is None or not before.strip():
        return None
    start, stop = found
    closing = rest[stop:].removesuffix(end)
    before, between, behind = (_pattern(words) for words in (before, rest[:start], closing))
    following = _between_calls(two)
    return CallForm(re.compile(before), re.compile(between), re.compile(SPACE + behind), following)


def _between_calls(two: str) -> Pattern[str] | None:
    """What stands between the first call's arguments and the second one's name."""
    rest = two.partition(NAMES[0])[2]
    found = _find_arguments(rest)
    words, name, _ = rest[found[1] :].partition(NAMES[1]) if found else ("", "", "")
    return re.compile(SPACE + _pattern(words)) if name else None


def _find_arguments(text: str) -> tuple[int, int] | None:
    """Where the first ARGUMENTS in `text` begin and end."""
    for brace in re.finditer("{", text):
        arguments, end = _object_at(text, brace.start())
        if arguments == ARGUMENTS:
            return brace.start(), end
    return None


def _object_at(text: str, position: int) -> tuple[dict[str, Any] | None, int]:
    """The JSON object that begins at `position`, and where it ends."""
    try:
        value, end = _DECODER.raw_decode(text, position)
    except (ValueError, RecursionError):
        return None, position
    return (value, end) if isinstance(value, dict) else (None, position)


def _pattern(literal: str) -> str:
    """What matches `literal` with any white space between its words; a call's id, up to its end, may be missing."""
    words = re.findall(r"\w+|[^\w\s]", literal)
    escaped = [r"[\w-]+" if word in IDS else re.escape(word) for word in words]
    id = next((at for at, word in enumerate(words) if word in IDS), None)
    if id is not None:
        end = id + (2 if words[id + 1 : id + 2] == ['"'] else 1)
        escaped = [rf"(?:{SPACE.join(escaped[:end])})?", *escaped[end:]]
    return SPACE.join([*escaped, ""])
