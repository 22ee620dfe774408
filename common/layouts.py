"""Layouts: how turns become text. ToolBench's own single-round layout, and a tokenizer's chat template.

A layout gives segments. Trusted segments are the layout's own words, in which special tokens count as such; the others
are what users, tools and models said, in which "</s>" is four characters and nothing more.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

import jinja2
from transformers import PreTrainedTokenizerFast

from common.errors import UserError
from common.tool_calls import ParsedTurn, parse_react
from common.toolbench.rows import Role, Turn

TEMPLATE_DATE = "26 Jul 2024"
"""Llama's templates print the day: a fixed one, their own default, keeps strings equal from day to day."""


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


class ToolBenchLayout:
    """ToolBench's layout: "System: …\\nUser: …\\nFunction: …\\nAssistant: ", then the completion."""

    def prompt(self, turns: Sequence[Turn]) -> list[TextSegment]:
        """Segments up to where the completion of the next assistant turn begins."""
        segments: list[TextSegment] = []
        newline = ""
        for turn in turns:
            segments += [TextSegment(f"{newline}{turn.role.capitalize()}: ", True), TextSegment(turn.content, False)]
            newline = "\n"
        return [*segments, TextSegment(f"{newline}Assistant: ", True)]

    def completion(self, turns: Sequence[Turn], text: str) -> Completion:
        """The assistant's `text` after `turns`; the tokenizer's end of sequence follows."""
        return Completion([TextSegment(text, False)], [])

    def parse(self, text: str, finish_offered: bool = False) -> ParsedTurn:
        """What a model wrote, without its terminator, as content and calls."""
        return parse_react(text, finish_offered)


class ChatLayout:
    """The tokenizer's chat template; function turns take a role that it renders: `tool`, else `ipython`, else `user`.

    Templates may strip a turn on either side or write it as JSON. Every rendering is checked to be made of the
    template's own words and the turns in one of these forms, so that nothing else is lost unseen: methods raise
    TemplateMisfit where one isn't.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        if not tokenizer.chat_template:
            raise UserError("the tokenizer has no chat template; set one in its folder or use template: toolbench")
        self._tokenizer = tokenizer
        self._function_role = next(role for role in ("tool", "ipython", "user") if self._renders(role))

    def prompt(self, turns: Sequence[Turn]) -> list[TextSegment]:
        """Segments up to the end of the template's generation prompt."""
        return self._segments(self._messages(turns), open_turn=True)

    def completion(self, turns: Sequence[Turn], text: str) -> Completion:
        """What the template adds to `prompt(turns)` for the assistant's `text`, words of its own before it included.

        Raises TemplateMisfit, also when the template renders the turns differently once they are answered.
        """
        prompt = "".join(segment.text for segment in self.prompt(turns))
        answered = self._segments([*self._messages(turns), {"role": "assistant", "content": text}], open_turn=False)
        *history, content, end = answered
        before = "".join(segment.text for segment in history)
        if not before.startswith(prompt):
            raise TemplateMisfit(
                "the chat template renders a prompt differently once it is answered, so that training and generation "
                "would differ; use template: toolbench or a simpler chat template"
            )
        return Completion([TextSegment(before.removeprefix(prompt), True), content], [end])

    def parse(self, text: str, finish_offered: bool = False) -> ParsedTurn:
        """What a model wrote, without its terminator, as content and calls."""
        return parse_react(text, finish_offered)

    def _renders(self, role: str) -> bool:
        messages = [
            {"role": "user", "content": "question"},
            {"role": "assistant", "content": "call"},
            {"role": role, "content": "observation"},
        ]
        try:
            return role == "user" or "observation" in self._render(messages, open_turn=True)
        except TemplateMisfit:
            return False

    def _messages(self, turns: Sequence[Turn]) -> list[dict[str, str]]:
        """The turns as messages; neighbours that share the role `user` are joined, as many templates ask for."""
        messages: list[dict[str, str]] = []
        for turn in turns:
            role = self._role(turn.role)
            if messages and role == messages[-1]["role"] == "user":
                messages[-1] = {"role": role, "content": f"{messages[-1]['content']}\n{turn.content}"}
            else:
                messages.append({"role": role, "content": turn.content})
        return messages

    def _role(self, role: Role) -> str:
        return self._function_role if role == "function" else role

    def _render(self, messages: list[dict[str, str]], open_turn: bool) -> str:
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=open_turn, date_string=TEMPLATE_DATE
                )
            )
        except (
            jinja2.TemplateError,
            TypeError,
            ValueError,
        ) as error:  # templates compute
            roles = ", ".join(message["role"] for message in messages)
            raise TemplateMisfit(
                f"the chat template refuses turns of {roles}: {error}; use template: toolbench"
            ) from None

    def _segments(self, messages: list[dict[str, str]], open_turn: bool) -> list[TextSegment]:
        """The rendering, cut where contents begin and end: found by rendering once more with marks in their place."""
        text = self._render(messages, open_turn)
        marks = [f"\ue000{index}\ue001" for index in range(len(messages))]
        rest = self._render([m | {"content": mark} for m, mark in zip(messages, marks, strict=True)], open_turn)
        segments, position = [], 0
        for message, mark in zip(messages, marks, strict=True):
            words, found, rest = rest.partition(mark)
            if not found or not text.startswith(words, position):
                raise TemplateMisfit(
                    f"the chat template drops or rewords a {message['role']} turn; use template: toolbench"
                )
            position += len(words)
            content = _form_at(text, position, message["content"], rest.partition("\ue000")[0])
            if content is None:
                raise TemplateMisfit(
                    f"the chat template alters a {message['role']} turn's text; use template: toolbench"
                )
            position += len(content)
            segments += [TextSegment(words, True), TextSegment(content, False)]
        if text[position:] != rest:
            raise TemplateMisfit("the chat template's last words depend on what the turns say; use template: toolbench")
        return [*segments, TextSegment(rest, True)]


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
