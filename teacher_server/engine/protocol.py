"""The engine behind the service: a small protocol, so that routes and limits know nothing of vLLM.

Legend: P = prompt length, T = positions of the completion, k = entries per position.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from transformers import PreTrainedTokenizerFast

from common.api import GenerateOptions, ServedModel, TeacherCard
from common.errors import UserError
from common.sequences import FinishReason
from common.wire import LogprobDtype

WARM_UP_TOKENS = 4


class SequenceError(UserError):
    """One sequence that can't be answered, while its neighbours can be: it fails in its own record."""


class SequenceTooLong(SequenceError):
    """Prompt and completion together are longer than the engine takes."""


class EngineUnavailable(Exception):
    """The engine is dead, or dropped this request: the same request may succeed elsewhere or later."""


@dataclass(frozen=True)
class CompletionLogprobs:
    """What the model says at each of a completion's T positions.

    Position t describes P(x_t | x_<t), the distribution from which `token_ids[t]` came. Logprobs are natural logarithms
    over the full vocabulary at temperature 1, whatever the sampling was.
    """

    token_ids: NDArray[np.int32]  # [T]
    token_logprobs: NDArray[np.float32]  # [T]
    topk_ids: NDArray[np.int32]  # [T, k], most likely first, no duplicates
    topk_logprobs: NDArray[np.float32]  # [T, k]
    tail_logprob: NDArray[np.float32]  # [T], log of the mass outside k
    finish_reason: FinishReason
    revision: str  # of the weights that said so


class WriteOptions(GenerateOptions):
    """How text is written: what clients of OpenAI's API and of vLLM may ask for besides."""

    max_tokens: int = Field(ge=0)
    """0 asks for nothing to be written; no engine is asked to."""
    top_k: int = 0
    """Tokens are drawn from so many, the likeliest; 0 for all."""
    min_tokens: int = 0
    """Nothing ends the completion before it has so many."""
    ignore_eos: bool = False
    """Whether the model's ends of sequence are tokens like others; those of `stop_token_ids` are not."""


@dataclass(frozen=True)
class OutputDelta:
    """What was written since the delta before: some tokens, and the text that is certain by now.

    Text comes in whole characters, without the terminator or stop string; what may yet become a stop string is held
    back. So text may lag behind the tokens, and only all deltas together agree.
    """

    text: str
    token_ids: list[int]
    logprobs: CompletionLogprobs | None
    """Of these tokens, where they were asked for; the last delta's `finish_reason` is the completion's."""
    finish_reason: FinishReason | None
    """Given by the last delta alone."""
    revision: str
    """Of the weights that wrote this."""


class Adapters(Protocol):
    """Adapters that are loaded, replaced and removed while the engine runs."""

    @property
    def clients(self) -> tuple[str, ...] | None:
        """Names of the API keys that may change them; None if each may."""
        ...

    async def put(self, alias: str, relative: str) -> ServedModel:
        """Serve the adapter at the path `relative` as `alias`. Raises UserError when it can't be served."""
        ...

    async def delete(self, alias: str) -> None:
        """Serve `alias` no longer. Raises UserError when it isn't served."""
        ...


class Engine(Protocol):
    """A model, with its adapters, that scores completions and writes them. `model` is a name from the card."""

    @property
    def adapters(self) -> Adapters | None:
        """Loads, replaces and removes adapters; None where the settings don't allow it. Only after `start`."""
        ...

    async def start(self) -> None:
        """Load the weights. Raises UserError when they can't be loaded."""
        ...

    def describe(self) -> TeacherCard:
        """What is served; only after `start`."""
        ...

    async def score(
        self, model: str, prompt: Sequence[int], completion: Sequence[int], top_k: int
    ) -> CompletionLogprobs:
        """The logprobs at the T positions of `completion` after `prompt`, both of at least one token.

        Raises SequenceError or EngineUnavailable. Cancelling the call cancels the work.
        """
        ...

    async def generate(
        self, model: str, prompt: Sequence[int], options: GenerateOptions, top_k: int
    ) -> CompletionLogprobs:
        """Write one completion of at most `options.max_tokens` tokens, its terminator included.

        With stop strings, it ends with the token that completes one of them. `options.n` is the caller's business.
        Raises SequenceError or EngineUnavailable. Cancelling the call cancels the work.
        """
        ...

    def write(
        self, model: str, prompt: Sequence[int], options: WriteOptions, top_k: int | None
    ) -> AsyncGenerator[OutputDelta]:
        """What `generate` writes, as it is written and as text; `logprobs` with `top_k` entries, None for none.

        Raises SequenceError or EngineUnavailable, while iterating. Closing the generator cancels the work.
        """
        ...

    def rounded(self, logprobs: NDArray[np.float32], dtype: LogprobDtype) -> NDArray[np.floating]:
        """`logprobs` as `dtype`: an engine's own library is quicker at it than numpy."""
        ...

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The base model's tokenizer, with its chat template if it has one; only after `start`."""
        ...

    async def check_health(self) -> None:
        """Raises EngineUnavailable when the engine is dead."""
        ...

    def counters(self) -> Mapping[str, int]:
        """Totals since the start, by name: `steps`, which grows with whatever the engine's processes report.

        Others have their meaning in `metrics.METRICS`, where `teacher_engine_` stands before their names.
        """
        ...

    async def kill(self) -> None:
        """End a hung engine's processes at once: whatever was asked then raises EngineUnavailable."""
        ...

    async def close(self) -> None:
        """Stop the engine and whatever processes it started."""
        ...


async def warm_up(engine: Engine) -> None:
    """Have every model score and write once: the first request with logprobs compiles kernels for seconds."""
    card = engine.describe()
    prompt = [1] * WARM_UP_TOKENS
    for model in card.models:
        await engine.score(model.name, prompt, prompt, card.max_top_k)
        await engine.generate(model.name, prompt, GenerateOptions(max_tokens=WARM_UP_TOKENS), card.max_top_k)
