"""Deltas of completions as OpenAI's answers, whole or chunk by chunk, for both of its APIs."""

import time
import uuid
from collections.abc import Sequence
from typing import Any, Protocol

from openai.types import Completion, CompletionChoice, CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage
from openai.types.chat import chat_completion as whole_chat
from openai.types.chat import chat_completion_chunk as chat_chunk
from pydantic import BaseModel

from common.api import ServedModel
from teacher_server.engine.protocol import OutputDelta
from teacher_server.openai.logprobs import LogprobsFormatter, chat_logprobs
from teacher_server.openai.tokenization import EchoedPrompt, TextTokenizer


class Answer(Protocol):
    """One answer that is being made. Fields that were never set are left out when it is sent."""

    def whole(self, choices: Sequence[Sequence[OutputDelta]], usage: CompletionUsage) -> BaseModel:
        """The answer at once, from all deltas of each choice."""
        ...

    def chunk(self, index: int, delta: OutputDelta) -> BaseModel:
        """What one delta of the choice `index` adds."""
        ...

    def usage_chunk(self, usage: CompletionUsage) -> BaseModel:
        """The chunk behind all others."""
        ...


class CompletionAnswer:
    """The answer to `POST /v1/completions`; its chunks have the shape of the whole.

    `shown` alternatives stand at each token; None leaves logprobs out. Each choice's deltas begin with its prompt where
    that is `echoed`.
    """

    def __init__(
        self, model: ServedModel, tokenizer: TextTokenizer, shown: int | None, echoed: Sequence[EchoedPrompt] = ()
    ) -> None:
        self._tokenizer = tokenizer
        self._shown = shown
        self._echoed = dict(enumerate(echoed))
        self._header = _header("cmpl", model) | {"object": "text_completion"}
        self._last: dict[str, Any] = {}
        self._logprobs: dict[int, LogprobsFormatter] = {}

    def whole(self, choices: Sequence[Sequence[OutputDelta]], usage: CompletionUsage) -> Completion:
        """All choices, their deltas joined."""
        made = [self._choice(index, deltas) for index, deltas in enumerate(choices)]
        return Completion(**self._header, **_fingerprint(choices[0][0]), choices=made, usage=usage)

    def chunk(self, index: int, delta: OutputDelta) -> Completion:
        """A completion of one choice, with this delta's text and logprobs alone."""
        self._last = _fingerprint(delta)
        return Completion(**self._header, **self._last, choices=[self._choice(index, [delta])], usage=None)

    def usage_chunk(self, usage: CompletionUsage) -> Completion:
        """A completion without choices."""
        return Completion(**self._header, **self._last, choices=[], usage=usage)

    def _choice(self, index: int, deltas: Sequence[OutputDelta]) -> CompletionChoice:
        logprobs = None
        if self._shown is not None:
            formatter = LogprobsFormatter(self._tokenizer, self._shown, self._echoed.get(index))
            logprobs = self._logprobs.setdefault(index, formatter).add(deltas)
        text, reason = "".join(delta.text for delta in deltas), deltas[-1].finish_reason
        # Not validated: a chunk's reason is null up to the last one, which this type of OpenAI's doesn't allow for.
        return CompletionChoice.model_construct(index=index, text=text, logprobs=logprobs, finish_reason=reason)


class ChatAnswer:
    """The answer to `POST /v1/chat/completions`. `shown` alternatives stand at each token; None leaves logprobs out."""

    def __init__(self, model: ServedModel, tokenizer: TextTokenizer, shown: int | None) -> None:
        self._tokenizer = tokenizer
        self._shown = shown
        self._header = _header("chatcmpl", model)
        self._last: dict[str, Any] = {}
        self._begun: set[int] = set()

    def whole(self, choices: Sequence[Sequence[OutputDelta]], usage: CompletionUsage) -> ChatCompletion:
        """All choices, their deltas joined."""
        made = []
        for index, deltas in enumerate(choices):
            content, reason = "".join(delta.text for delta in deltas), deltas[-1].finish_reason
            assert reason in ("stop", "length")
            message = ChatCompletionMessage(role="assistant", content=content, refusal=None)
            logprobs = None if self._shown is None else whole_chat.ChoiceLogprobs(**self._entries(deltas))
            made.append(whole_chat.Choice(index=index, message=message, logprobs=logprobs, finish_reason=reason))
        head = self._header | _fingerprint(choices[0][0])
        return ChatCompletion(**head, object="chat.completion", choices=made, usage=usage)

    def chunk(self, index: int, delta: OutputDelta) -> ChatCompletionChunk:
        """This delta's text and logprobs; a choice's first chunk gives the role."""
        opening = chat_chunk.ChoiceDelta(content=delta.text)
        if index not in self._begun:
            opening.role = "assistant"
            self._begun.add(index)
        self._last = _fingerprint(delta)
        assert delta.finish_reason != "scored"
        logprobs = None if self._shown is None else chat_chunk.ChoiceLogprobs(**self._entries([delta]))
        choice = chat_chunk.Choice(index=index, delta=opening, logprobs=logprobs, finish_reason=delta.finish_reason)
        return self._chunk([choice], None)

    def usage_chunk(self, usage: CompletionUsage) -> ChatCompletionChunk:
        """A chunk without choices."""
        return self._chunk([], usage)

    def _chunk(self, choices: list[chat_chunk.Choice], usage: CompletionUsage | None) -> ChatCompletionChunk:
        head = self._header | self._last
        return ChatCompletionChunk(**head, object="chat.completion.chunk", choices=choices, usage=usage)

    def _entries(self, deltas: Sequence[OutputDelta]) -> dict[str, Any]:
        return {"content": chat_logprobs(self._tokenizer, deltas, self._shown or 0), "refusal": None}


def _header(kind: str, model: ServedModel) -> dict[str, Any]:
    return {
        "id": f"{kind}-{uuid.uuid4().hex}",
        "created": int(time.time()),
        "model": model.name,
    }


def _fingerprint(delta: OutputDelta) -> dict[str, Any]:
    """The revision that wrote it: an adapter may be replaced between a request's check and its first token."""
    return {"system_fingerprint": delta.revision}
