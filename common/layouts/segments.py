"""Segments of a rendered text, and how they are told apart in what a chat template renders.

Trusted segments are the layout's own words, in which special tokens count as such; the others are what users, tools and
models said, in which "</s>" is four characters and nothing more.
"""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from transformers import PreTrainedTokenizerFast

from common.errors import UserError
from common.tool_calls import ParsedTurn
from common.toolbench.react import Span
from common.toolbench.rows import Turn


class TemplateMisfit(UserError):
    """Turns that a chat template refuses, or words in a way that training and generation can't share."""


class TextSegment(NamedTuple):
    """A piece of the text that is tokenised by itself."""

    text: str
    trusted: bool


class Completion(NamedTuple):
    """What stands behind a prompt: the assistant's turn, and the layout's words that close it."""

    turn: list[TextSegment]
    end: list[TextSegment]


class Layout(Protocol):
    """How turns become text, and what a model wrote becomes content and calls."""

    @property
    def openings(self) -> Sequence[str]:
        """Plain words with which a line begins a turn; none where special tokens do."""

    def prompt(self, turns: Sequence[Turn]) -> list[TextSegment]:
        """Segments up to where the next assistant turn is generated. Raises TemplateMisfit."""

    def completion(self, turns: Sequence[Turn], text: str) -> Completion:
        """The assistant's `text` after `turns`: what follows `prompt(turns)`. Raises TemplateMisfit."""

    def parse(self, text: str, finish_offered: bool = False) -> ParsedTurn:
        """What a model wrote, without its terminator."""

    def react(self, text: str) -> str:
        """What a model wrote, without its terminator, in ToolBench's form: as it is where it has no form."""

    def part_starts(self, text: str) -> Span:
        """Where in a completion's text the call begins, and where its input does; as `react.part_starts`."""


class Said(NamedTuple):
    """A text that isn't the template's own, and whose; only where `optional` may a template leave it out."""

    text: str
    role: str
    optional: bool


class Marks:
    """Marks that stand for texts while a template renders, so that its own words show."""

    OPENING = "\ue000"
    MARK = re.compile(f"{OPENING}([0-9]+)\ue001")

    def __init__(self) -> None:
        self._said: list[Said] = []

    def put(self, text: str, role: str, optional: bool = False) -> str:
        """A mark for `text`; none for no text, which templates may treat differently."""
        if not text:
            return text
        self._said.append(Said(text, role, optional))
        return f"{self.OPENING}{len(self._said) - 1}\ue001"

    def segments(self, text: str, marked: str) -> list[TextSegment]:
        """The rendering `text`, cut where texts begin and end: as they do in the `marked` rendering of the same turns.

        Templates may strip a text on either side, or write it inside JSON. Raises TemplateMisfit where anything else
        became of one.
        """
        words, *rest = self.MARK.split(marked)
        found = [(int(number), after) for number, after in zip(rest[::2], rest[1::2], strict=True)]
        self._check_all_are_there({number for number, _ in found})
        segments: list[TextSegment] = []
        position = 0
        for number, after in found:
            said = self._said[number]
            if not text.startswith(words, position):
                raise misfit(f"drops or rewords a {said.role} turn")
            position += len(words)
            form = _form_at(text, position, said.text, after)
            if form is None:
                raise misfit(f"alters a {said.role} turn's text")
            position += len(form)
            segments += [TextSegment(words, True), TextSegment(form, False)]
            words = after
        if text[position:] != words:
            raise TemplateMisfit("the chat template's last words depend on what the turns say; use template: toolbench")
        return [*segments, TextSegment(words, True)]

    def _check_all_are_there(self, found: set[int]) -> None:
        for number, said in enumerate(self._said):
            if number not in found and not said.optional:
                raise misfit(f"drops or rewords a {said.role} turn")


def misfit(does: str) -> TemplateMisfit:
    """What a chat template does to some turns."""
    return TemplateMisfit(f"the chat template {does}; use template: toolbench")


def behind(segments: Sequence[TextSegment], length: int) -> list[TextSegment]:
    """The segments of the text behind its first `length` characters; the last one even if it is empty."""
    left: list[TextSegment] = []
    for segment in segments:
        rest, length = segment.text[length:], max(0, length - len(segment.text))
        left += [TextSegment(rest, segment.trusted)] if rest or segment is segments[-1] else []
    return left


def special_tokens(tokenizer: PreTrainedTokenizerFast) -> re.Pattern[str]:
    """What finds a special token's text, with the white space that some take in on either side."""
    special = [token for token in tokenizer.added_tokens_decoder.values() if token.special and token.content]
    longest_first = sorted(special, key=lambda token: len(token.content), reverse=True)
    forms = ["\\s*" * token.lstrip + re.escape(token.content) + "\\s*" * token.rstrip for token in longest_first]
    return re.compile(f"({'|'.join(forms) or '(?!)'})")


def joined(segments: Sequence[TextSegment], special: re.Pattern[str]) -> list[TextSegment]:
    """The same text cut around the `special` tokens of trusted segments alone.

    Everything between two of them is tokenised as one text, as tokenizers do; untrusted, which is the same for words
    that hold none.
    """
    whole: list[TextSegment] = []
    text = ""
    for segment in segments:
        pieces = special.split(segment.text) if segment.trusted else [segment.text]
        text += pieces[0]
        for token, words in zip(pieces[1::2], pieces[2::2], strict=True):
            whole += [TextSegment(text, False), TextSegment(token, True)]
            text = words
    return [segment for segment in (*whole, TextSegment(text, False)) if segment.text]


def _form_at(text: str, position: int, content: str, words_after: str) -> str | None:
    """The form of `content` that stands in `text` at `position` with `words_after` behind it."""
    stripped = _stripped_at(text, position, content, words_after)
    quoted = json.dumps(content, ensure_ascii=False)[1:-1]
    return quoted if stripped is None and text.startswith(quoted + words_after, position) else stripped


def _stripped_at(text: str, position: int, content: str, words_after: str) -> str | None:
    """`content` less white space on either side, as little as lets it stand there."""
    core = content.strip()
    before, _, after = content.partition(core) if core else ("", "", content)
    start = position
    while core and text[start : start + 1].isspace():
        start += 1
    if not (before.endswith(text[position:start]) and text.startswith(core, start)):
        return None
    end = start + len(core)
    kept = (length for length in range(len(after), -1, -1) if text.startswith(after[:length] + words_after, end))
    return next((text[position : end + length] for length in kept), None)
