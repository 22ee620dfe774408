"""A turn that may call functions, read as OpenAI's clients know it: content, reasoning, calls.

The turn is read from its own ids by the layout that the model was trained in. What is no valid call is text, and says
so in a field of its own.
"""

import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic_core import from_json

from common.render import Renderer
from common.tool_calls import ParsedTurn, ToolCall
from common.toolbench.react import read_object
from teacher_server.openai.chat.protocol import ChatBody

NAME = re.compile("[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Call:
    """A function called with arguments: a JSON object as text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class SpokenTurn:
    """What a turn says to OpenAI's clients."""

    reasoning: str
    content: str | None
    calls: tuple[Call, ...] = ()
    invalid: str | None = None
    """Why there is text alone where a call was wanted or tried."""


@dataclass(frozen=True)
class CallRules:
    """What a request wants of calls: to which functions, whether there must be one, and whether at most one."""

    offered: tuple[str, ...]
    required: bool
    single: bool

    @classmethod
    def of(cls, body: ChatBody) -> "CallRules":
        """Those of a request. Where nothing is offered to this turn, nothing may be called."""
        required = body.tool_choice not in (None, "none", "auto")
        return cls(tuple(body.offered if body.offers else ()), required, body.parallel_tool_calls is False)


class TurnReader:
    """Reads the turns of one request. `prefix` holds ids that the turn was begun with; `stops` end its text."""

    def __init__(self, renderer: Renderer, rules: CallRules, prefix: Sequence[int], stops: Sequence[str]) -> None:
        self._renderer = renderer
        self._rules = rules
        self._prefix = list(prefix)
        self._stops = stops

    def read(self, token_ids: Sequence[int]) -> SpokenTurn:
        """The turn whose written ids these are, a terminator at their end or not."""
        text = self._text(token_ids)
        parsed = self._renderer.parse_turn(text, finish_offered="Finish" in self._rules.offered)
        if not parsed.valid:
            return SpokenTurn(parsed.reasoning, parsed.content, invalid=f"not a turn in the {self._layout}")
        if parsed.calls:
            return self._calling(parsed, text)
        missing = "the turn calls no function, and one was required" if self._rules.required else None
        return SpokenTurn(parsed.reasoning, parsed.content, invalid=missing)

    def _calling(self, parsed: ParsedTurn, text: str) -> SpokenTurn:
        calls = parsed.calls[:1] if self._rules.single else parsed.calls
        arguments = [_strict(call.arguments) for call in calls]
        if objection := self._objection(calls, arguments):
            said = text.partition("</think>")[2].lstrip() if parsed.reasoning else text
            return SpokenTurn(parsed.reasoning, said, invalid=objection)
        made = tuple(
            Call(f"call_{uuid.uuid4().hex}", call.name, json_text or "")
            for call, json_text in zip(calls, arguments, strict=True)
        )
        return SpokenTurn(parsed.reasoning, parsed.content or None, made)

    def _objection(self, calls: Sequence[ToolCall], arguments: Sequence[str | None]) -> str | None:
        """What keeps these from being calls. A name that isn't offered doesn't: the caller's world answers it."""
        if not self._rules.offered:
            return "the turn calls a function, and none is offered"
        if odd := [call.name for call in calls if not NAME.fullmatch(call.name)]:
            return f"got the function name {odd[0][:80]!r}, expected 1 to 64 letters, digits, '_' and '-'"
        return "the arguments are no JSON object" if None in arguments else None

    def _text(self, token_ids: Sequence[int]) -> str:
        """The turn without its terminator, up to the first stop string, an unfinished last character left out."""
        text = self._renderer.text([*self._prefix, *token_ids])
        begin = len(self._renderer.text(self._prefix))
        ends = [place for stop in self._stops if (place := text.find(stop, begin)) >= 0]
        return text[: min(ends)] if ends else text.rstrip("\ufffd")

    @property
    def _layout(self) -> str:
        return f"layout {self._renderer.template!r}, so that it comes as it was written"


def _strict(arguments: str) -> str | None:
    """The arguments as JSON that any parser takes, as written where they are that; None where they are no object."""
    try:
        return arguments if isinstance(from_json(arguments, allow_inf_nan=False), dict) else None
    except ValueError:
        lenient = read_object(arguments)  # ToolBench's environment takes line breaks inside of strings
    try:
        return None if lenient is None else json.dumps(lenient, allow_nan=False, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None
