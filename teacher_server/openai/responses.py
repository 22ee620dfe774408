"""Deltas of completions as OpenAI's answers, whole or chunk by chunk."""

import time
import uuid
from collections.abc import Sequence
from typing import Any, Protocol

from openai.types import Completion, CompletionChoice, CompletionUsage
from pydantic import BaseModel

from common.api import ServedModel
from teacher_server.engine.protocol import OutputDelta
from teacher_server.openai.logprobs import LogprobsFormatter
from teacher_server.openai.tokenization import EchoedPrompt, TextTokenizer


class Answer(Protocol):
    """One answer that is being made. Fields that were never set are left out when it is sent."""

    def whole(self, choices: Sequence[Sequence[OutputDelta]], usage: CompletionUsage) -> BaseModel:
        """The answer at once, from all deltas of each choice."""
        ...

    def chunks(self, index: int, delta: OutputDelta) -> Sequence[BaseModel]:
        """What one delta of the choice `index` adds; nothing, where it shows nothing."""
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
        self._header = header("cmpl", model) | {"object": "text_completion"}
        self._last: dict[str, Any] = {}
        self._logprobs: dict[int, LogprobsFormatter] = {}

    def whole(self, choices: Sequence[Sequence[OutputDelta]], usage: CompletionUsage) -> Completion:
        """All choices, their deltas joined."""
        made = [self._choice(index, deltas) for index, deltas in enumerate(choices)]
        return Completion(**self._header, **fingerprint(choices[0][0]), choices=made, usage=usage)

    def chunks(self, index: int, delta: OutputDelta) -> list[Completion]:
        """A completion of one choice, with this delta's text and logprobs alone."""
        if not shows(delta):
            return []
        self._last = fingerprint(delta)
        return [Completion(**self._header, **self._last, choices=[self._choice(index, [delta])], usage=None)]

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


def shows(delta: OutputDelta) -> bool:
    """Whether there is anything in it to tell."""
    return bool(delta.text) or delta.logprobs is not None or delta.finish_reason is not None


def header(kind: str, model: ServedModel) -> dict[str, Any]:
    """What each part of an answer begins with."""
    return {
        "id": f"{kind}-{uuid.uuid4().hex}",
        "created": int(time.time()),
        "model": model.name,
    }


def fingerprint(delta: OutputDelta) -> dict[str, Any]:
    """The revision that wrote it: an adapter may be replaced between a request's check and its first token."""
    return {"system_fingerprint": delta.revision}
