"""Logprobs of deltas in OpenAI's two shapes of logprobs.

Legend: k = alternatives that are shown per token.
"""

from codecs import getincrementaldecoder
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from openai.types.chat import ChatCompletionTokenLogprob
from openai.types.chat.chat_completion_token_logprob import TopLogprob
from openai.types.completion_choice import Logprobs

from teacher_server.engine.protocol import OutputDelta
from teacher_server.openai.tokenization import EchoedPrompt, TextTokenizer

LEAST_LOGPROB = -9999.0
"""OpenAI's word for a probability of nothing; JSON has no infinity."""
Alternatives = list[tuple[int, float]]


def chat_logprobs(tokenizer: TextTokenizer, deltas: Sequence[OutputDelta], k: int) -> list[ChatCompletionTokenLogprob]:
    """One entry per token, with its k most likely alternatives."""
    return [
        ChatCompletionTokenLogprob(
            **_token(tokenizer, token_id, logprob),
            top_logprobs=[TopLogprob(**_token(tokenizer, *alternative)) for alternative in alternatives],
        )
        for token_id, logprob, alternatives in _rows(deltas, k)
    ]


class LogprobsFormatter:
    """Makes the logprobs of one completion, delta after delta; it remembers how far the text goes.

    Where the prompt is `echoed`, the first delta is the prompt's: its first token, which follows nothing, has null.
    """

    def __init__(self, tokenizer: TextTokenizer, k: int, echoed: EchoedPrompt | None) -> None:
        self._tokenizer = tokenizer
        self._k = k
        self._echoed = echoed or EchoedPrompt([], "")
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._offset = self._place = 0

    def add(self, deltas: Sequence[OutputDelta]) -> Logprobs:
        """Four lists with an entry per token; `text_offset` says at which character of the completion it begins."""
        first = self._echoed.ids[:1] if self._place == 0 else []
        rows = list(_rows(deltas, self._k))
        tokens = [*first, *(token_id for token_id, _, _ in rows)]
        nothing = [None] * len(first)
        # Not validated: this type of OpenAI's doesn't allow for nulls, which its API sends.
        return Logprobs.model_construct(
            tokens=[_text(self._tokenizer, token_id) for token_id in tokens],
            token_logprobs=[*nothing, *(logprob for _, logprob, _ in rows)],
            top_logprobs=[*nothing, *(self._alternatives(*row) for row in rows)],
            text_offset=[self._step(token_id) for token_id in tokens],
        )

    def _alternatives(self, token_id: int, logprob: float, alternatives: Alternatives) -> dict[str, float]:
        """By text; of several with the same text, as broken characters have, the likeliest counts."""
        entries = sorted([(token_id, logprob), *alternatives], key=lambda entry: entry[1])
        return dict(reversed({_text(self._tokenizer, id): value for id, value in entries}.items()))

    def _step(self, token_id: int) -> int:
        """Where this token begins; behind it the text is longer by the characters that it completes.

        Broken bytes before it become characters with it, and stand before it. A special token is no text, unless the
        prompt has it as such.
        """
        self._place += 1
        if self._place == len(self._echoed.ids) + 1:
            self._offset = len(self._echoed.text)
            self._decoder.reset()
        text = _text(self._tokenizer, token_id)
        if self._tokenizer.is_special(token_id):
            completed = len(text) if self._echoed.text.startswith(text, self._offset) else 0
            begin = self._offset
        else:
            completed = len(self._decoder.decode(self._tokenizer.token_bytes(token_id)))
            begin = self._offset + max(0, completed - len(text))
        self._offset += completed
        return begin


def _rows(deltas: Sequence[OutputDelta], k: int) -> Iterator[tuple[int, float, Alternatives]]:
    """Per token: its id, its logprob, its k most likely alternatives; all logprobs are finite."""
    for logprobs in [delta.logprobs for delta in deltas if delta.logprobs is not None]:
        own = np.maximum(logprobs.token_logprobs, LEAST_LOGPROB).tolist()
        others = np.maximum(logprobs.topk_logprobs[:, :k], LEAST_LOGPROB).tolist()
        ids = logprobs.topk_ids[:, :k].tolist()
        alternatives = [list(zip(*row, strict=True)) for row in zip(ids, others, strict=True)]
        yield from zip(logprobs.token_ids.tolist(), own, alternatives, strict=True)


def _token(tokenizer: TextTokenizer, token_id: int, logprob: float) -> dict[str, Any]:
    return {"token": _text(tokenizer, token_id), "bytes": list(tokenizer.token_bytes(token_id)), "logprob": logprob}


def _text(tokenizer: TextTokenizer, token_id: int) -> str:
    return tokenizer.token_bytes(token_id).decode("utf-8", "replace")
