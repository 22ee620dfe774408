"""What OpenAI's clients may send: text only, every field bounded, the rest refused by name.

Fields of OpenAI's that this teacher doesn't implement are taken at the values that change nothing.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StrictBool, model_validator

from common.api import MAX_SAMPLES, MAX_SEQUENCES, MAX_TEMPERATURE, SEEDS, Body
from common.toolbench.rows import Turn
from teacher_server.openai.field_types import (
    Absent,
    Empty,
    Label,
    LongText,
    No,
    OnlyAt,
    Prompts,
    Stops,
    Tokens,
    Zero,
    as_parts,
)

MAX_MESSAGES = 1_024
MAX_PARTS = 64
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
    @abstractmethod
    def shown(self) -> int | None:
        """Alternatives to show at each token; None shows no logprobs at all."""

    @abstractmethod
    def tokens(self, max_length: int) -> int:
        """Tokens given and to be written, or more: a text has at most as many as bytes, a sequence `max_length`."""


class CompletionBody(WritingBody):
    """Body of `POST /v1/completions`."""

    prompt: Prompts
    logprobs: int | None = Field(default=None, strict=True, ge=0, le=MAX_TOP_LOGPROBS)
    best_of: Annotated[None, OnlyAt(1)] = None
    echo: No = None
    suffix: Annotated[None, OnlyAt("")] = None

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
        written = min(self.max_tokens or DEFAULT_MAX_TOKENS, max_length) * self.number_of_answers
        return written + sum(min(_most_tokens(prompt), max_length) for prompt in self.prompt)


class TextPart(Body):
    """A part of a message's content."""

    type: Literal["text"]
    text: LongText


class Message(Body):
    """One turn of a chat. An assistant's turn may come back with the fields that it was answered with."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        list[TextPart], Field(min_length=1, max_length=MAX_PARTS), BeforeValidator(as_parts, str | list[TextPart])
    ]
    name: Absent = None
    refusal: Absent = None
    audio: Absent = None
    annotations: Empty = None
    function_call: Absent = None
    tool_calls: Empty = None

    @property
    def turn(self) -> Turn:
        """The message as the renderer takes it."""
        return Turn("system" if self.role == "developer" else self.role, "".join(part.text for part in self.content))


class TextFormat(Body):
    """The one response format there is."""

    type: Literal["text"]


class ChatBody(WritingBody):
    """Body of `POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Tokens | None = None
    logprobs: StrictBool | None = None
    top_logprobs: int | None = Field(default=None, strict=True, ge=0, le=MAX_TOP_LOGPROBS)
    response_format: TextFormat | None = None
    safety_identifier: Label | None = None
    prompt_cache_key: Label | None = None
    metadata: Empty = None
    modalities: Annotated[None, OnlyAt(["text"])] = None
    service_tier: Annotated[None, OnlyAt("auto", "default")] = None
    store: No = None
    tools: Empty = None
    tool_choice: Annotated[None, OnlyAt("none", "auto")] = None
    parallel_tool_calls: Annotated[None, OnlyAt(True, False)] = None
    functions: Empty = None
    function_call: Annotated[None, OnlyAt("none", "auto")] = None
    audio: Absent = None
    moderation: Absent = None
    prediction: Absent = None
    prompt_cache_options: Absent = None
    prompt_cache_retention: Absent = None
    reasoning_effort: Absent = None
    verbosity: Absent = None
    web_search_options: Absent = None

    @model_validator(mode="after")
    def _logprobs_come_together(self) -> "ChatBody":
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs: only with logprobs: true")
        if self.max_tokens and self.max_completion_tokens and self.max_tokens != self.max_completion_tokens:
            raise ValueError("got two different limits; leave max_tokens out and keep max_completion_tokens")
        return self

    @property
    def shown(self) -> int | None:
        """Alternatives to show at each token; None shows no logprobs at all."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def tokens(self, max_length: int) -> int:
        """Tokens given, without the chat template's own, and to be written, or more.

        A text has at most as many as bytes, and an answer without a limit may fill `max_length`.
        """
        written = min(self.max_completion_tokens or self.max_tokens or max_length, max_length)
        given = sum(_most_tokens(part.text) for message in self.messages for part in message.content)
        return min(given, max_length) + written * self.number_of_answers


def _most_tokens(prompt: str | list[int]) -> int:
    return len(prompt.encode()) + 2 if isinstance(prompt, str) else len(prompt)  # BOS and EOS around a text
