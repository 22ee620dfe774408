"""A tokenizer's chat template: rendered, and told apart into its own words and what the messages say."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import Any, NamedTuple, Protocol

import jinja2
from transformers import PreTrainedTokenizerFast

from common.errors import UserError
from common.layouts.segments import Marks, TemplateMisfit, TextSegment, behind, special_tokens
from common.toolbench.react import split_reasoning, with_reasoning

TEMPLATE_DATE = "26 Jul 2024"
"""Llama's templates print the day: a fixed one, their own default, keeps strings equal from day to day."""

PROBED_ROLES = (("user", "assistant", "user"), ("system", "user"), ("user", "assistant", "tool"))
"""Who speaks in the chats that show how a template begins turns."""

Message = dict[str, Any]


class Put(Protocol):
    """Gives a text of a message, or what stands for it while the template's own words are looked for."""

    def __call__(self, text: str, role: str, optional: bool = False) -> str: ...


class Chat(NamedTuple):
    """What a chat template renders."""

    messages: list[Message]
    tools: list[Any] | None = None


class ChatTemplate:
    """The chat template of `tokenizer`. Raises UserError where it has none."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        if not tokenizer.chat_template:
            raise UserError("the tokenizer has no chat template; set one in its folder or use template: toolbench")
        self._tokenizer = tokenizer

    @cached_property
    def opens_reasoning(self) -> bool:
        """Whether the generation prompt ends with the mark behind which a model thinks aloud."""
        return self.render(Chat([{"role": "user", "content": "question"}]), open_turn=True).rstrip().endswith("<think>")

    @cached_property
    def openings(self) -> tuple[str, ...]:
        """Plain words with which a line begins a turn, found in what the template makes of a few chats."""
        special, found = special_tokens(self._tokenizer), set[str]()
        for roles in PROBED_ROLES:
            with suppress(TemplateMisfit):
                found |= _openings_of(self.segments(partial(_chat_of, roles), open_turn=True), special)
        return tuple(sorted(found))

    def written(self, text: str) -> str:
        """What a model wrote, with the mark before its reasoning where that stands in the prompt."""
        return f"<think>{text}" if self.opens_reasoning and "</think>" in text else text

    def render(self, chat: Chat, open_turn: bool) -> str:
        """The text of `chat`, with the generation prompt behind it where `open_turn`. Raises TemplateMisfit."""
        try:
            text = str(
                self._tokenizer.apply_chat_template(
                    chat.messages,
                    tools=chat.tools,
                    tokenize=False,
                    add_generation_prompt=open_turn,
                    date_string=TEMPLATE_DATE,
                )
            )
            text.encode()  # fails on half a character, which descriptions of functions may hold
        except (jinja2.TemplateError, TypeError, ValueError, RecursionError) as error:  # templates compute
            roles = ", ".join(message["role"] for message in chat.messages)
            raise TemplateMisfit(
                f"the chat template refuses turns of {roles}: {error}; use template: toolbench"
            ) from None
        return text

    def segments(self, chat: Callable[[Put], Chat], open_turn: bool) -> list[TextSegment]:
        """The rendering of what `chat` makes of the texts that it is given, cut where those begin and end.

        Raises TemplateMisfit where one is lost or altered.
        """
        marks = Marks()
        return marks.segments(self.render(chat(_plainly), open_turn), self.render(chat(marks.put), open_turn))

    def answer(self, asked: Callable[[Put], Chat], answered: Callable[[Put], Chat]) -> list[TextSegment]:
        """What the template adds to the prompt `asked` once it is `answered`.

        Raises TemplateMisfit, also when it then renders the prompt differently.
        """
        prompt = "".join(segment.text for segment in self.segments(asked, open_turn=True))
        whole = self.segments(answered, open_turn=False)
        if not "".join(segment.text for segment in whole).startswith(prompt):
            raise TemplateMisfit(
                "the chat template renders a prompt differently once it is answered, so that training and generation "
                "would differ; use template: toolbench or a simpler chat template"
            )
        return behind(whole, len(prompt))


def _chat_of(roles: Sequence[str], put: Put) -> Chat:
    return Chat([{"role": role, "content": put("said", role)} for role in roles])


def join_users(messages: Sequence[Message]) -> list[Message]:
    """The messages; neighbours that share the role `user` are one, as many templates ask for."""
    joined: list[Message] = []
    for message in messages:
        if joined and message["role"] == joined[-1]["role"] == "user":
            joined[-1] = message | {"content": f"{joined[-1]['content']}\n{message['content']}"}
        else:
            joined.append(message)
    return joined


def put_answer(put: Put, text: str) -> str:
    """The assistant's `text`, in which templates treat what was thought aloud by itself."""
    reasoning, rest = split_reasoning(text)
    if not reasoning or with_reasoning(reasoning, rest) != text:
        return put(text, "assistant")
    return with_reasoning(put(reasoning, "assistant"), put(rest, "assistant"))


def _plainly(text: str, role: str, optional: bool = False) -> str:
    return text


def _openings_of(segments: Sequence[TextSegment], special: re.Pattern[str]) -> set[str]:
    """The last line of each of the layout's own segments, without white space, where it is of plain words.

    Words that stand within a line, behind what was said, are not among them.
    """
    lines = [segment.text.rstrip().rpartition("\n") for segment in segments if segment.trusted]
    begun = {line.strip() for number, (_, newline, line) in enumerate(lines) if newline or number == 0}
    return {line for line in begun if re.search(r"\w", line) and not special.search(line)}
