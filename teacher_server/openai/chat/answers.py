"""Deltas of a chat's next turn as OpenAI's answers, whole or chunk by chunk; turns that may call functions, too."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Literal, cast

from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage
from openai.types.chat import chat_completion as whole_chat
from openai.types.chat import chat_completion_chunk as chat_chunk

from common.api import ServedModel
from teacher_server.engine.protocol import OutputDelta
from teacher_server.openai.chat.turns import Call, SpokenTurn, TurnReader
from teacher_server.openai.logprobs import chat_logprobs
from teacher_server.openai.responses import fingerprint, header, shows
from teacher_server.openai.tokenization import TextTokenizer

Reason = Literal["stop", "length", "tool_calls"]


class ChatAnswer:
    """The answer to `POST /v1/chat/completions`. `shown` alternatives stand at each token; None leaves logprobs out."""

    def __init__(self, model: ServedModel, tokenizer: TextTokenizer, shown: int | None) -> None:
        self._tokenizer = tokenizer
        self._shown = shown
        self._header = header("chatcmpl", model)
        self._last: dict[str, Any] = {}
        self._begun: set[int] = set()

    def whole(self, choices: Sequence[Sequence[OutputDelta]], usage: CompletionUsage) -> ChatCompletion:
        """All choices, their deltas joined."""
        made = []
        for index, deltas in enumerate(choices):
            message, reason = self._message(deltas)
            logprobs = None if self._shown is None else whole_chat.ChoiceLogprobs(**self._entries(deltas))
            made.append(whole_chat.Choice(index=index, message=message, logprobs=logprobs, finish_reason=reason))
        head = self._header | fingerprint(choices[0][0])
        return ChatCompletion(**head, object="chat.completion", choices=made, usage=usage)

    def chunks(self, index: int, delta: OutputDelta) -> list[ChatCompletionChunk]:
        """This delta's text and logprobs; a choice's first chunk gives the role."""
        if not shows(delta):
            return []
        reason = None if delta.finish_reason is None else _reason(delta)
        return [self._choice_chunk(index, chat_chunk.ChoiceDelta(content=delta.text), [delta], reason)]

    def usage_chunk(self, usage: CompletionUsage) -> ChatCompletionChunk:
        """A chunk without choices."""
        return self._chunk([], usage)

    def _message(self, deltas: Sequence[OutputDelta]) -> tuple[ChatCompletionMessage, Reason]:
        content = "".join(delta.text for delta in deltas)
        return ChatCompletionMessage(role="assistant", content=content, refusal=None), _reason(deltas[-1])

    def _choice_chunk(
        self, index: int, part: chat_chunk.ChoiceDelta, deltas: Sequence[OutputDelta], reason: Reason | None
    ) -> ChatCompletionChunk:
        """`part` of the choice, with the logprobs of `deltas`."""
        if index not in self._begun:
            part.role = "assistant"
            self._begun.add(index)
        if deltas:
            self._last = fingerprint(deltas[0])
        logprobs = None if self._shown is None else chat_chunk.ChoiceLogprobs(**self._entries(deltas))
        return self._chunk([chat_chunk.Choice(index=index, delta=part, logprobs=logprobs, finish_reason=reason)], None)

    def _chunk(self, choices: list[chat_chunk.Choice], usage: CompletionUsage | None) -> ChatCompletionChunk:
        head = self._header | self._last
        return ChatCompletionChunk(**head, object="chat.completion.chunk", choices=choices, usage=usage)

    def _entries(self, deltas: Sequence[OutputDelta]) -> dict[str, Any]:
        return {"content": chat_logprobs(self._tokenizer, deltas, self._shown or 0), "refusal": None}


class ToolChatAnswer(ChatAnswer):
    """The answer where the turn may call functions: what the turn is shows when it is whole.

    So its chunks come at its end; before it, one gives the role, and some the logprobs.
    """

    def __init__(self, model: ServedModel, tokenizer: TextTokenizer, shown: int | None, reader: TurnReader) -> None:
        super().__init__(model, tokenizer, shown)
        self._reader = reader
        self._written: defaultdict[int, list[int]] = defaultdict(list)

    def chunks(self, index: int, delta: OutputDelta) -> list[ChatCompletionChunk]:
        """The whole turn in its parts behind the last delta: reasoning, content, each call's name, its arguments."""
        self._written[index] += delta.token_ids
        parts: list[chat_chunk.ChoiceDelta] = []
        reason: Reason | None = None
        if delta.finish_reason is not None:
            turn = self._reader.read(self._written[index])
            parts, reason = [*_parts(turn), chat_chunk.ChoiceDelta()], _reason_of(turn, delta)
        elif index not in self._begun or delta.logprobs is not None:
            parts = [chat_chunk.ChoiceDelta()]
        last = len(parts) - 1
        return [
            self._choice_chunk(index, part, [] if number else [delta], reason if number == last else None)
            for number, part in enumerate(parts)
        ]

    def _message(self, deltas: Sequence[OutputDelta]) -> tuple[ChatCompletionMessage, Reason]:
        turn = self._reader.read([token_id for delta in deltas for token_id in delta.token_ids])
        told: dict[str, Any] = {"role": "assistant", "content": turn.content, "refusal": None}
        if turn.calls:
            told["tool_calls"] = [_call(call) for call in turn.calls]
        extras = {"reasoning_content": turn.reasoning, "invalid_tool_call": turn.invalid}
        told |= {name: text for name, text in extras.items() if text}
        return ChatCompletionMessage.model_validate(told), _reason_of(turn, deltas[-1])


def _parts(turn: SpokenTurn) -> Iterator[chat_chunk.ChoiceDelta]:
    """The turn's message in deltas; joined, they are the message."""
    told: list[dict[str, Any]] = [{"reasoning_content": turn.reasoning}] if turn.reasoning else []
    told += [{"content": turn.content}] if turn.content is not None else []
    for index, call in enumerate(turn.calls):
        whole = _call(call)
        told.append({"tool_calls": [whole | {"index": index, "function": {"name": call.name, "arguments": ""}}]})
        told.append({"tool_calls": [{"index": index, "function": {"arguments": call.arguments}}]})
    told += [{"invalid_tool_call": turn.invalid}] if turn.invalid else []
    return map(chat_chunk.ChoiceDelta.model_validate, told)


def _call(call: Call) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _reason_of(turn: SpokenTurn, last: OutputDelta) -> Reason:
    return "tool_calls" if turn.calls else _reason(last)


def _reason(last: OutputDelta) -> Reason:
    assert last.finish_reason in ("stop", "length")
    return cast(Reason, last.finish_reason)
