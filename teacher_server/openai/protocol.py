"""What OpenAI's clients may send to have text written: every field bounded, the rest refused by name.

Fields of OpenAI's that this teacher doesn't implement are taken at the values that change nothing. Of those that vLLM
adds, the ones that mean something here are taken.
"""

from abc import ABC, abstractmethod
from typing import Annotated

from pydantic import Field, StrictBool, model_validator

from common.api import MAX_SAMPLES, MAX_SEQUENCE_TOKENS, MAX_SEQUENCES, MAX_TEMPERATURE, SEEDS, Body
from teacher_server.openai.field_types import (
    Empty,
    Label,
    No,
    OnlyAt,
    Prompts,
    Stops,
    Tokens,
    TopK,
    Truncation,
    Zero,
)

DEFAULT_MAX_TOKENS = 16
"""Tokens of a completion that sets no limit, as OpenAI has it; an answer in a chat may fill the longest sequence."""
MAX_TOP_LOGPROBS = 20


class StreamOptions(Body):
    """`include_usage` sends the usage in a last chunk."""

    include_usage: StrictBool | None = None
    include_obfuscation: No = None


class WritingBody(Body, ABC):
    """What both of OpenAI's ways to write share."""

    model: str = Field(max_length=256)
    max_tokens: Tokens | None = None
    temperature: float | None = Field(default=None, strict=True, ge=0, le=MAX_TEMPERATURE, allow_inf_nan=False)
    top_p: float | None = Field(default=None, strict=True, gt=0, le=1, allow_inf_nan=False)
    n: int | None = Field(default=None, strict=True, ge=1, le=MAX_SAMPLES)
    seed: int | None = Field(default=None, strict=True, ge=-SEEDS, lt=SEEDS)
    stop: Stops = []
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    user: Label | None = None
    presence_penalty: Zero = None
    frequency_penalty: Zero = None
    logit_bias: Empty = None
    top_k: TopK | None = None
    min_tokens: int | None = Field(default=None, strict=True, ge=0, le=MAX_SEQUENCE_TOKENS)
    ignore_eos: StrictBool | None = None
    truncate_prompt_tokens: Truncation | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "WritingBody":
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options: only with stream: true")
        if self.number_of_answers > MAX_SEQUENCES:
            raise ValueError(f"got {self.number_of_answers} answers to give, prompts times n; at most {MAX_SEQUENCES}")
        return self

    @property
    def number_of_answers(self) -> int:
        """Completions to write."""
        return self.n or 1

    @property
    def scores_prompt(self) -> bool:
        """Whether the prompt's own tokens are scored, once for each answer."""
        return False

    @property
    @abstractmethod
    def shown(self) -> int | None:
        """Alternatives to show at each token; None shows no logprobs at all."""

    @abstractmethod
    def tokens(self, max_length: int) -> int:
        """Tokens given and to be written, or more: a text has at most as many as bytes, a sequence `max_length`."""


class CompletionBody(WritingBody):
    """Body of `POST /v1/completions`."""

    prompt: Prompts
    max_tokens: Annotated[int, Field(strict=True, ge=0, le=MAX_SEQUENCE_TOKENS)] | None = None
    logprobs: int | None = Field(default=None, strict=True, ge=0, le=MAX_TOP_LOGPROBS)
    best_of: Annotated[None, OnlyAt(1)] = None
    echo: StrictBool | None = None
    suffix: Annotated[None, OnlyAt("")] = None

    @model_validator(mode="after")
    def _echoes(self) -> "CompletionBody":
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("max_tokens: 0 only with echo: true, which gives the prompt back")
        if self.echo and self.truncate_prompt_tokens is not None:
            raise ValueError("truncate_prompt_tokens: not with echo: true, which gives the whole prompt back")
        return self

    @property
    def limit(self) -> int:
        """Tokens that may be written."""
        return DEFAULT_MAX_TOKENS if self.max_tokens is None else self.max_tokens

    @property
    def number_of_answers(self) -> int:
        """Completions to write."""
        return (self.n or 1) * len(self.prompt)

    @property
    def shown(self) -> int | None:
        """Alternatives to show at each token; None shows no logprobs at all."""
        return self.logprobs

    def tokens(self, max_length: int) -> int:
        """Tokens given and to be written, or more: a text has at most as many as bytes, a sequence `max_length`."""
        written = min(self.limit, max_length) * self.number_of_answers
        given = sum(min(most_tokens(prompt), max_length) for prompt in self.prompt)
        return written + given + (given * (self.n or 1) if self.scores_prompt else 0)

    @property
    def scores_prompt(self) -> bool:
        """Whether the prompt's own tokens are scored, once for each answer."""
        return bool(self.echo) and self.shown is not None


def most_tokens(prompt: str | list[int]) -> int:
    """As many tokens as the prompt can be, or more."""
    return len(prompt.encode()) + 2 if isinstance(prompt, str) else len(prompt)  # BOS and EOS around a text
