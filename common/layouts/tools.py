"""A tokenizer's chat template with `tools=`, as the layout of turns whose system prompt offers functions."""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from transformers import PreTrainedTokenizerFast

from common.errors import UserError
from common.layouts.call_form import ARGUMENTS, IDS, NAMES, CallForm, derive_call_form
from common.layouts.chat_template import Chat, ChatTemplate, Message, Put, join_users, put_answer
from common.layouts.segments import Completion, Marks, TemplateMisfit, TextSegment, joined, special_tokens
from common.layouts.toolbench import texts_kept_apart
from common.tool_calls import ParsedTurn, ToolCall
from common.toolbench.fields import BadRecord
from common.toolbench.finish import NAME, finish_with
from common.toolbench.openai_messages import to_openai
from common.toolbench.react import Span, Step, read_object, render_step, split_reasoning, with_reasoning
from common.toolbench.rows import Turn

PROBE = {"description": "probe", "parameters": {"type": "object", "properties": {}, "required": []}}
TOOLS = [{"type": "function", "function": {"name": name} | PROBE} for name in NAMES]
QUESTION: Message = {"role": "user", "content": "question"}
ANSWER: Message = {"role": "assistant", "content": "answer"}
DROPS_CALLS = "drops the assistant's calls"
NO_JSON = "writes the arguments of calls in a form that isn't JSON"
OTHER_END = "ends a turn with a call otherwise than an answer"
RESULT: Message = {"role": "tool", "tool_call_id": IDS[0], "name": NAMES[0], "content": "observation"}


class ToolsLayout:
    """The chat template given the functions that a prompt offers, calls as `tool_calls`, and results as `tool` turns.

    The text is what `apply_chat_template(messages, tools=tools)` gives. Special tokens in what callers, tools and
    models said stay text, in functions and arguments too. Raises UserError for a template that takes no tools.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._template = ChatTemplate(tokenizer)
        self._special = special_tokens(tokenizer)
        if NAMES[0] not in self._template.render(Chat([QUESTION], TOOLS), open_turn=True):
            raise _unusable("takes no tools: it renders the same with and without them")
        self._arguments_as_text, self._form = self._derive_form()
        called = [QUESTION, _probe_call(1, self._arguments_as_text), RESULT]
        if RESULT["content"] not in self._template.render(Chat(called, TOOLS), open_turn=True):
            raise _unusable("drops what tools answer")

    @property
    def openings(self) -> Sequence[str]:
        """As `Layout.openings`."""
        return self._template.openings

    def prompt(self, turns: Sequence[Turn]) -> list[TextSegment]:
        """As `Layout.prompt`."""
        return joined(self._template.segments(lambda put: self._chat(turns, put), open_turn=True), self._special)

    def completion(self, turns: Sequence[Turn], text: str) -> Completion:
        """As `Layout.completion`; `text` is a step in ReAct's form, or an answer as it is."""
        *turn, words = self._template.answer(
            lambda put: self._chat(turns, put), lambda put: self._answered(turns, text, put)
        )
        own = self._special.split(words.text, maxsplit=1)[0]
        end = TextSegment(words.text.removeprefix(own), True)
        return Completion(joined([*turn, TextSegment(own, True)], self._special), [end])

    def parse(self, text: str, finish_offered: bool = False) -> ParsedTurn:
        """As `Layout.parse`; calls have the template's own form."""
        parsed = self._form.parse(self._template.written(text))
        if not finish_offered or parsed.calls or not parsed.valid:
            return parsed
        call = ToolCall(NAME, finish_with(parsed.content).action_input)
        return ParsedTurn(parsed.reasoning, "", (call,), True)

    def react(self, text: str) -> str:
        """As `Layout.react`: of several calls the first, which is the one that is executed."""
        parsed = self.parse(text)
        if not parsed.valid:
            return text
        if not parsed.calls:
            return render_step(finish_with(parsed.content))
        return render_step(Step(parsed.content, parsed.calls[0].name, parsed.calls[0].arguments))

    def part_starts(self, text: str) -> Span:
        """As `Layout.part_starts`; an answer without a call is input of Finish, but for its reasoning."""
        start = len(text) - len(split_reasoning(self._template.written(text))[1])
        return self._form.starts(text, start) or (start, start)

    def _chat(self, turns: Sequence[Turn], put: Put) -> Chat:
        """The turns as the template takes them. What stands beside a call it may drop, as it does when generating."""
        try:
            chat = to_openai(turns)
            messages = [
                self._guarded(message, put)
                | {"content": put(message["content"], message["role"], optional="tool_calls" in message)}
                for message in join_users(chat.messages)
            ]
            functions = texts_kept_apart(chat.functions, self.openings)
            tools = [self._guarded({"type": "function", "function": each}, put) for each in functions]
        except (BadRecord, RecursionError) as error:
            raise TemplateMisfit(f"a chat template with tools can't be given these turns: {error}") from None
        return Chat(messages, tools or None)

    def _answered(self, turns: Sequence[Turn], text: str, put: Put) -> Chat:
        reasoning, said = split_reasoning(text)
        *_, answer = to_openai([*turns, Turn("assistant", said)]).messages
        content = put_answer(put, with_reasoning(reasoning, answer["content"]))
        chat = self._chat(turns, put)
        return Chat([*chat.messages, self._guarded(answer, put) | {"content": content}], chat.tools)

    def _guarded(self, message: Message, put: Put) -> Message:
        """`message` without its content, its calls' arguments as the template takes them, and its strings put that hold
        the text of a special token or of a mark."""
        others = {key: value for key, value in message.items() if key != "content"}
        if "tool_calls" in message and not self._arguments_as_text:
            others["tool_calls"] = [_with_object(call) for call in message["tool_calls"]]
        try:
            return self._put_risky(others, put)
        except RecursionError:
            raise TemplateMisfit("a call nests its arguments too deep for a chat template") from None

    def _put_risky(self, value: Any, put: Put) -> Any:
        if isinstance(value, str):
            risky = self._special.search(value) or Marks.OPENING in value
            return put(value, "tool", optional=True) if risky else value
        if isinstance(value, dict):
            return {self._put_risky(key, put): self._put_risky(each, put) for key, each in value.items()}
        return [self._put_risky(each, put) for each in value] if isinstance(value, list) else value

    def _derive_form(self) -> tuple[bool, CallForm]:
        """Whether the template wants arguments as text, and the form that it gives to calls."""
        end = self._written(ANSWER).partition(ANSWER["content"])[2]
        faults: list[UserError] = []
        for as_text in (False, True):
            try:
                one = self._written(_probe_call(1, as_text))
            except TemplateMisfit as misfit:
                faults.append(misfit)
                continue
            form = derive_call_form(one, self._both(as_text), end)
            if form and one.endswith(end):
                return as_text, form
            drops = NAMES[0] not in one
            faults.append(_unusable(DROPS_CALLS if drops else OTHER_END if form else NO_JSON))
        raise faults[0]

    def _both(self, as_text: bool) -> str:
        """What the template makes of two calls in one turn; nothing where it takes but one."""
        with suppress(TemplateMisfit):
            return self._written(_probe_call(2, as_text))
        return ""

    def _written(self, answer: Message) -> str:
        """What a model would have written for `answer` to a question. Raises TemplateMisfit."""
        asked, answered = Chat([QUESTION], TOOLS), Chat([QUESTION, answer], TOOLS)
        segments = self._template.answer(lambda put: asked, lambda put: answered)
        return self._template.written("".join(segment.text for segment in segments))


def _probe_call(number: int, as_text: bool) -> Message:
    """The assistant's message with `number` calls."""
    arguments = json.dumps(ARGUMENTS) if as_text else ARGUMENTS
    calls = [
        {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id, name in zip(IDS, NAMES, strict=True)
    ]
    return {"role": "assistant", "content": "", "tool_calls": calls[:number]}


def _with_object(call: Message) -> Message:
    """The call with its arguments as an object, which is what templates write as JSON."""
    function = call["function"]
    arguments = read_object(function["arguments"])
    if arguments is None:
        raise TemplateMisfit(
            f"a call of {function['name']!r} has arguments that aren't a JSON object, which a chat template with tools "
            "can't render; use template: toolbench"
        )
    return call | {"function": function | {"arguments": arguments}}


def _unusable(does: str) -> UserError:
    return UserError(f"the chat template {does}, so that template: tools can't be used; use toolbench or chat")
