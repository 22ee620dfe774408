"""Pieces of completions as OpenAI's answers, whole or chunk by chunk, for both of its APIs."""

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
from teacher_server.engine.protocol import Piece
from teacher_server.openai.logprobs import CompletionLogprobs, chat_logprobs
from teacher_server.openai.tokenization import Texts


class Answer(Protocol):
    """One answer that is being made. Fields that were never set are left out when it is sent."""

    def whole(self, choices: Sequence[Sequence[Piece]], usage: CompletionUsage) -> BaseModel:
        """The answer at once, from all pieces of each choice."""
        ...

    def chunk(self, index: int, piece: Piece) -> BaseModel:
        """What one piece of the choice `index` adds."""
        ...

    def usage_chunk(self, usage: CompletionUsage) -> BaseModel:
        """The chunk behind all others."""
        ...


class CompletionAnswer:
    """The answer to `POST /v1/completions`; its chunks have the shape of the whole.

    `shown` alternatives stand at each token; None leaves logprobs out.
    """

    def __init__(self, model: ServedModel, texts: Texts, shown: int | None) -> None:
        self._texts = texts
        self._shown = shown
        self._header = _header("cmpl", model) | {"object": "text_completion"}
        self._last: dict[str, Any] = {}
        self._logprobs: dict[int, CompletionLogprobs] = {}

    def whole(self, choices: Sequence[Sequence[Piece]], usage: CompletionUsage) -> Completion:
        """All choices, their pieces joined."""
        made = [self._choice(index, pieces) for index, pieces in enumerate(choices)]
        return Completion(**self._header, **_fingerprint(choices[0][0]), choices=made, usage=usage)

    def chunk(self, index: int, piece: Piece) -> Completion:
        """A completion of one choice, with this piece's text and logprobs alone."""
        self._last = _fingerprint(piece)
        return Completion(**self._header, **self._last, choices=[self._choice(index, [piece])], usage=None)

    def usage_chunk(self, usage: CompletionUsage) -> Completion:
        """A completion without choices."""
        return Completion(**self._header, **self._last, choices=[], usage=usage)

    def _choice(self, index: int, pieces: Sequence[Piece]) -> CompletionChoice:
        logprobs = None
        if self._shown is not None:
            logprobs = self._logprobs.setdefault(index, CompletionLogprobs(self._texts, self._shown)).add(pieces)
        text, reason = "".join(piece.text for piece in pieces), pieces[-1].finish_reason
        # Not validated: a chunk's reason is null up to the last one, which this type of OpenAI's doesn't allow for.
        return CompletionChoice.model_construct(index=index, text=text, logprobs=logprobs, finish_reason=reason)


class ChatAnswer:
    """The answer to `POST /v1/chat/completions`. `shown` alternatives stand at each token; None leaves logprobs out."""

    def __init__(self, model: ServedModel, texts: Texts, shown: int | None) -> None:
        self._texts = texts
        self._shown = shown
        self._header = _header("chatcmpl", model)
        self._last: dict[str, Any] = {}
        self._begun: set[int] = set()

    def whole(self, choices: Sequence[Sequence[Piece]], usage: CompletionUsage) -> ChatCompletion:
        """All choices, their pieces joined."""
        made = []
        for index, pieces in enumerate(choices):
            content, reason = "".join(piece.text for piece in pieces), pieces[-1].finish_reason
            assert reason in ("stop", "length")
            message = ChatCompletionMessage(role="assistant", content=content, refusal=None)
            logprobs = None if self._shown is None else whole_chat.ChoiceLogprobs(**self._entries(pieces))
            made.append(whole_chat.Choice(index=index, message=message, logprobs=logprobs, finish_reason=reason))
        head = self._header | _fingerprint(choices[0][0])
        return ChatCompletion(**head, object="chat.completion", choices=made, usage=usage)

    def chunk(self, index: int, piece: Piece) -> ChatCompletionChunk:
        """This piece's text and logprobs; a choice's first chunk gives the role."""
        delta = chat_chunk.ChoiceDelta(content=piece.text)
        if index not in self._begun:
            delta.role = "assistant"
            self._begun.add(index)
        self._last = _fingerprint(piece)
        assert piece.finish_reason != "scored"
        logprobs = None if self._shown is None else chat_chunk.ChoiceLogprobs(**self._entries([piece]))
        choice = chat_chunk.Choice(index=index, delta=delta, logprobs=logprobs, finish_reason=piece.finish_reason)
        return self._chunk([choice], None)

    def usage_chunk(self, usage: CompletionUsage) -> ChatCompletionChunk:
        """A chunk without choices."""
        return self._chunk([], usage)

    def _chunk(self, choices: list[chat_chunk.Choice], usage: CompletionUsage | None) -> ChatCompletionChunk:
        head = self._header | self._last
        return ChatCompletionChunk(**head, object="chat.completion.chunk", choices=choices, usage=usage)

    def _entries(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        return {"content": chat_logprobs(self._texts, pieces, self._shown or 0), "refusal": None}


def _header(kind: str, model: ServedModel) -> dict[str, Any]:
    return {
        "id": f"{kind}-{uuid.uuid4().hex}",
        "created": int(time.time()),
        "model": model.name,
    }


def _fingerprint(piece: Piece) -> dict[str, Any]:
    """The revision that wrote it: an adapter may be replaced between a request's check and its first token."""
    return {"system_fingerprint": piece.revision}
